"""The reference experiment on Fashion-MNIST: its speed beside the textbook's loop, its figures beside the published ones.

    python benchmarks/reference_experiment.py speed DATA_DIR                  # about 10 minutes on 2 cores
    python benchmarks/reference_experiment.py figures DATA_DIR --seeds 3      # about 20 minutes

`speed` runs the candidates in turn, each in fresh processes, and gives medians over the rounds and their ratios: a machine's
mood changes from minute to minute, and a ratio within a round doesn't mind.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
IMAGES = 60_000

# 35 executed builds of the textbook's notebook (d2l.ai, chapter 12.11, PyTorch tab, 2020-09 to 2023-08), after 30 epochs:
# train loss, train accuracy: mean and standard deviation; test accuracy: mean, standard deviation, lowest, highest.
PUBLISHED = {
    "constant": ((0.166, 0.030), (0.936, 0.011), (0.883, 0.013, 0.842, 0.901)),
    "square-root": ((0.276, 0.006), (0.899, 0.002), (0.877, 0.007, 0.861, 0.887)),
    "multi-factor": ((0.194, 0.008), (0.927, 0.003), (0.886, 0.011, 0.860, 0.904)),
    "cosine": ((0.188, 0.019), (0.931, 0.007), (0.899, 0.005, 0.886, 0.908)),
    "cosine with warmup": ((0.198, 0.021), (0.927, 0.008), (0.898, 0.005, 0.877, 0.905)),
}


def compare(data_dir: Path, *arguments: str) -> dict[str, Any]:
    """Run `gradus compare` as a person would and read its results."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", "from gradus.cli import main; main()", "compare", "--task", "fashion-mnist"]
        command += ["--data-dir", str(data_dir), "--out", folder, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        results: dict[str, Any] = json.loads((Path(folder) / "results.json").read_text())
    return results


def textbook(data_dir: Path, epochs: int, workers: int) -> float:
    """Images per second of the textbook's loop, in a process of its own."""
    command = [sys.executable, str(HERE / "textbook.py"), str(data_dir), f"--epochs={epochs}", f"--workers={workers}"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def one_run(data_dir: Path, epochs: int) -> float:
    """Images per second of one run of ours that has the machine to itself."""
    results = compare(data_dir, "--only", "constant", "--epochs", str(epochs))
    return float(IMAGES * epochs / results["runs"][0]["rows"][-1]["numbers"]["time/seconds"])


def whole_comparison(data_dir: Path, epochs: int) -> float:
    """Images per second of the whole comparison, the start of its processes included."""
    results = compare(data_dir, "--epochs", str(epochs))
    return IMAGES * epochs * len(results["runs"]) / float(results["seconds"])


def speed(data_dir: Path, rounds: int, epochs: int) -> None:
    """Interleave the candidates and print medians, ratios and the largest process's memory."""
    better = max((0, 2), key=lambda workers: textbook(data_dir, 1, workers))
    seen: dict[str, list[float]] = {f"textbook, {better} workers": [], "one run": [], "whole comparison": []}
    textbook_memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    for number in range(rounds):
        figures = (textbook(data_dir, 1, better), one_run(data_dir, epochs), whole_comparison(data_dir, epochs))
        for name, value in zip(seen, figures, strict=True):
            seen[name].append(value)
        print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}" for name, values in seen.items()), flush=True)
    first = next(iter(seen.values()))
    print("\n| | images/s, median | times the textbook's: median of rounds (lowest, highest) |\n|---|--:|--:|")
    for name, values in seen.items():
        ratios = sorted(value / peer for value, peer in zip(values, first, strict=True))
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        print(f"| {name} | {statistics.median(values):,.0f} | {spread} |")
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"\npeak memory of the largest process: textbook {textbook_memory:,.0f} MiB, of all {memory:,.0f} MiB")


def figures(data_dir: Path, seeds: int, epochs: int) -> None:
    """Train the six schedules with each seed and print ours beside the published figures."""
    results = compare(data_dir, "--seeds", str(seeds), "--epochs", str(epochs))
    print("| schedule | train loss | published | train accuracy | published | test accuracy | published (lowest, highest) |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    for name in dict.fromkeys(run["run"]["name"] for run in results["runs"]):
        last = [run["rows"][-1]["numbers"] for run in results["runs"] if run["run"]["name"] == name]
        cells = [name]
        peers: tuple[Any, ...] = PUBLISHED.get(name, (None, None, None))
        for metric, published in zip(("train/loss", "train/accuracy", "test/accuracy"), peers, strict=True):
            values = [row[metric] for row in last]
            cells.append(f"{statistics.mean(values):.3f} ± {statistics.stdev(values) if len(values) > 1 else 0:.3f}")
            spread = f" ({published[2]:.3f}, {published[3]:.3f})" if published and len(published) > 2 else ""
            cells.append(f"{published[0]:.3f} ± {published[1]:.3f}{spread}" if published else "–")
        print(f"| {' | '.join(cells)} |")
    conditions = results["conditions"]
    print(f"\n{seeds} seeds, mean ± standard deviation; {len(results['runs'])} runs in {results['seconds']:.0f} s")
    spread = f"{results['settings']['workers']} processes of {conditions['threads']} threads"
    print(f"torch {conditions['torch']} on {conditions['device']}, {spread}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["speed", "figures"])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="3 for speed and 30 for figures unless given")
    options = parser.parse_args()
    if options.what == "speed":
        speed(options.data_dir, options.rounds, options.epochs or 3)
    else:
        figures(options.data_dir, options.seeds, options.epochs or 30)
