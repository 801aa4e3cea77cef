"""The speed of the gallery: the race in one population against a loop over its points, and every demonstration.

python benchmarks/gallery.py         # some minutes; prints the tables of benchmarks/gallery.md
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gradus.files import write_whole
from gradus.gallery import DEMONSTRATIONS, render
from gradus.gallery.demonstrations.race import ends
from gradus.gallery.entrants import ENTRANTS, Entrant
from gradus.gallery.landscapes import LANDSCAPES
from gradus.gallery.training import one_thread
from gradus.gallery.walk import is_of_tensors

POINTS, STEPS, RATE = 10_000, 150, 0.01
ROUNDS = 3
RACED = ("SGD", "momentum", "Adam", "Lion", "LAMB", "SOAP")


def timed(call: Any) -> float:
    """The seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def hypers_of(entrant: Entrant) -> dict[str, Any]:
    """All hyperparameters of a entrant."""
    defaults = {name: hyper.default for name, hyper in entrant.optimizer.rule.hypers.items()}
    return defaults | {"lr": RATE} | dict(entrant.hypers)


def run_floats(entrant: Entrant, start: tuple[float, float]) -> None:
    """One point as two plain floats, each with its own slots: the fastest loop that plain Python has."""
    rule, hypers = entrant.optimizer.rule, hypers_of(entrant)
    (x, y), of_x, of_y = start, dict.fromkeys(rule.slots, 0.0), dict.fromkeys(rule.slots, 0.0)
    for step in range(1, STEPS + 1):
        a, b = x * x + y - 11, x + y * y - 7
        along_x, along_y = 4 * x * a + 2 * b, 2 * a + 4 * y * b
        x, of_x = rule.updated(x, along_x, of_x, step, hypers)
        y, of_y = rule.updated(y, along_y, of_y, step, hypers)


def race_table() -> None:
    """All ways in turns, on Himmelblau's function; loops go over a hundredth of the points, and are multiplied."""
    landscape, part = LANDSCAPES["himmelblau"], 100
    starts = np.random.default_rng(0).uniform(-4, 4, (2, POINTS))
    print("| optimizer | loop, arrays of two | loop, plain floats | one population | fastest loop / population |")
    print("|---|--:|--:|--:|--:|")
    some = starts[:, :: POINTS // part].T
    for name in RACED:
        entrant = ENTRANTS[name]
        ways = [
            lambda r=entrant: ends(r, landscape, starts, STEPS, RATE),
            lambda r=entrant: [ends(r, landscape, one, STEPS, RATE) for one in some],
        ]
        if not is_of_tensors(entrant.optimizer.rule, hypers_of(entrant)):
            ways.append(lambda r=entrant: [run_floats(r, tuple(one)) for one in some.tolist()])
        rounds = [[timed(way) for way in ways] for _ in range(ROUNDS)]
        population, *loops = (statistics.median(way) for way in zip(*rounds, strict=True))
        loops = [POINTS / part * loop for loop in loops]
        arrays, floats = (*[f"{loop:.1f} s" for loop in loops], "–")[:2]
        print(f"| {name} | {arrays} | {floats} | {population:.3f} s | {min(loops) / population:.0f} |")


def gallery_table() -> None:
    """What `gradus gallery --all` does: each demonstration, its pictures and its films, with the seconds on the CPU."""
    print("\n| demonstration | data | pictures | CPU seconds |\n|---|--:|--:|--:|")
    begun, used = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        for name, demonstration in DEMONSTRATIONS.items():
            cpu, start = time.process_time(), time.perf_counter()
            shown = demonstration.make()
            made = time.perf_counter()
            for format_, pictures in (("png", shown.pictures()), ("gif", shown.films())):
                for picture in pictures:
                    write_whole(Path(folder) / f"{name}-{picture}.{format_}", render(shown, picture, format_))
            drawn = time.perf_counter()
            print(f"| {name} | {made - start:.1f} s | {drawn - made:.1f} s | {time.process_time() - cpu:.1f} |")
    print(f"| all, one after the other | | {time.perf_counter() - begun:.1f} s | {time.process_time() - used:.1f} |")


def command() -> None:
    """`gradus gallery --all` itself, with its imports."""
    with tempfile.TemporaryDirectory() as folder:
        line = [sys.executable, "-c", "from gradus.cli import main; main()", "gallery", "--all", "--out", folder]
        seconds = timed(lambda: subprocess.run(line, check=True, stdout=subprocess.DEVNULL))
    print(f"| `gradus gallery --all` | | {seconds:.1f} s | |")


if __name__ == "__main__":
    with one_thread():
        race_table()
    gallery_table()
    command()
