"""The speed of the gallery: the race in one population against a loop over its points, and every demonstration.

python benchmarks/gallery.py         # some minutes; prints the tables of benchmarks/gallery.md
"""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gradus.files import write_whole
from gradus.gallery import DEMONSTRATIONS, whole
from gradus.gallery.landscapes import LANDSCAPES
from gradus.gallery.race import RACERS, ends

POINTS, STEPS, RATE = 10_000, 150, 0.01
ROUNDS = 3
RACED = ("SGD", "momentum", "Adam", "Lion")


def timed(call: Any) -> float:
    """The seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def race_table() -> None:
    """Both ways in turns, on Himmelblau's function; the loop goes over a hundredth of the points, and is multiplied."""
    landscape, part = LANDSCAPES["himmelblau"], 100
    starts = np.random.default_rng(0).uniform(-4, 4, (2, POINTS))
    print("| optimizer | loop over 10,000 points | one population | ratio |\n|---|--:|--:|--:|")
    for name in RACED:
        racer, loops, populations = RACERS[name], [], []
        for _ in range(ROUNDS):
            some = starts[:, :: POINTS // part].T
            loops.append(POINTS / part * timed(lambda r=racer, s=some: [ends(r, landscape, one, STEPS, RATE) for one in s]))
            populations.append(timed(lambda r=racer: ends(r, landscape, starts, STEPS, RATE)))
        loop, population = statistics.median(loops), statistics.median(populations)
        print(f"| {name} | {loop:.1f} s | {population:.3f} s | {loop / population:.0f} |")


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
                    write_whole(Path(folder) / f"{name}-{picture}.{format_}", whole(shown, picture, format_))
            drawn = time.perf_counter()
            print(f"| {name} | {made - start:.1f} s | {drawn - made:.1f} s | {time.process_time() - cpu:.1f} |")
    print(f"| all | | {time.perf_counter() - begun:.1f} s | {time.process_time() - used:.1f} |")


if __name__ == "__main__":
    race_table()
    gallery_table()
