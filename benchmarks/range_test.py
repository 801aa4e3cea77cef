"""Is the range test right, and what does it cost?

    python benchmarks/range_test.py right DATA_DIR --peers DIR     # about 25 minutes on 2 cores
    python benchmarks/range_test.py cost                           # about a minute

`right` trains at the rate that each rule suggests, and at a grid of 20 rates, and compares the final test accuracies.
DATA_DIR holds Fashion-MNIST's files. The peers' finders are used where they can be imported: `pip install --target DIR
--no-deps torch-lr-finder lightning pytorch-lightning lightning-utilities torchmetrics`, with what those need on the path.
"""

import argparse
import contextlib
import functools
import io
import json
import math
import multiprocessing
import os
import statistics
import sys
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradus
from gradus.rangetest.snapshot import Snapshot
from gradus.rangetest.sweep import Trainer, fetched
from gradus.schedules import Constant
from gradus.tasks import LeNet, Task, load_task
from gradus.training import score

GRID = np.geomspace(1e-5, 10, 20).tolist()
OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "SGD": lambda params, lr: torch.optim.SGD(params, lr),
    "SGD, momentum 0.9": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    "RMSprop": lambda params, lr: torch.optim.RMSprop(params, lr),
    "Adam": lambda params, lr: torch.optim.Adam(params, lr),
}
UPDATES = {"digits": 690, "fashion-mnist": 600}  # 30 passes over the digits, 2 over a third of Fashion-MNIST
SEEDS = {"digits": 3, "fashion-mnist": 2}
IMAGES = {"digits": 1437, "fashion-mnist": 20_000}
EVALUATIONS = {"digits": 1, "fashion-mnist": 1}  # at the end, whose mean counts
APART = {"digits": 30, "fashion-mnist": 100}  # updates between them
BATCH = 64
RULES = ("verified", "middle", "valley", "minimum/10", "steepest", "smith", "torch-lr-finder", "Lightning")


class Batches:
    """Shuffled batches of a task, short ones left out."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        inputs, targets = self.task.train
        for batch in torch.randperm(len(inputs)).split(BATCH):
            if len(batch) == BATCH:
                yield self.task.prepare(inputs[batch]), targets[batch]

    def __len__(self) -> int:
        return len(self.task.train.inputs) // BATCH


@dataclass(frozen=True)
class Case:
    """A task, an optimizer and a seed."""

    task: str
    optimizer: str
    seed: int
    data_dir: str

    def fresh(self, lr: float = 0.1) -> tuple[Task, nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(self.seed)
        task = _task(self.task, self.data_dir)
        model = task.model()
        return task, model, OPTIMIZERS[self.optimizer](model.parameters(), lr)


@functools.cache
def _task(name: str, data_dir: str) -> Task:
    task = load_task(name, data_dir)
    return replace(task, train=tuple(part[: IMAGES[name]] for part in task.train))  # type: ignore[arg-type]


def trained(case: Case, lr: float) -> float:
    """The test accuracy at the end at a constant rate; what has learned nothing in a quarter of its time is cut."""
    torch.set_num_threads(1)
    task, model, optimizer = case.fresh(lr)
    updates, apart = UPDATES[case.task], APART[case.task]
    evaluated = range(updates - (EVALUATIONS[case.task] - 1) * apart, updates + 1, apart)
    losses: list[float] = []
    accuracies: list[float] = []
    for loss, _ in fetched(Trainer(model, optimizer, task.loss, Batches(task)).train(Constant(lr), updates)):
        losses.append(loss)  # of the batch of the update that has just been done
        stuck = len(losses) == updates // 4 and statistics.fmean(losses[-50:]) > 0.95 * math.log(10)
        if stuck or not math.isfinite(loss):
            return score(model, task)[1]
        if len(losses) in evaluated:
            accuracies.append(score(model, task)[1])
            model.train()
    return statistics.fmean(accuracies)


def suggested(case: Case) -> dict[str, float | None]:
    """What each rule suggests; None where it says nothing."""
    torch.set_num_threads(1)
    task, model, optimizer = case.fresh()
    found = gradus.range_test(model, optimizer, task.loss, Batches(task), progress=False)
    rates: dict[str, float | None] = dict.fromkeys(RULES[:6]) | dict(found.suggestions)
    for name, peer in (("torch-lr-finder", torch_lr_finder), ("Lightning", lightning)):
        with contextlib.suppress(ImportError):
            rates[name] = peer(case)
    return rates


def torch_lr_finder(case: Case) -> float | None:
    """pytorch-lr-finder's suggestion, over the same range in as many steps."""
    from torch_lr_finder import LRFinder

    task, model, optimizer = case.fresh(1e-7)
    finder = LRFinder(model, optimizer, task.loss, device="cpu")
    loader = torch.utils.data.DataLoader(_Shuffled(task), batch_size=BATCH, shuffle=True, drop_last=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        finder.range_test(loader, end_lr=10, num_iter=100)
        import matplotlib.pyplot as plt

        _, axes = plt.subplots()
        chosen = finder.plot(ax=axes, suggest_lr=True)
        plt.close("all")
    return float(chosen[1]) if isinstance(chosen, tuple) else None


def lightning(case: Case) -> float | None:
    """Lightning's suggestion, over the same range in as many steps."""
    import logging

    import lightning
    from lightning.pytorch.tuner import Tuner

    task, model, _ = case.fresh()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.lr = model, 0.1

        def training_step(self, batch: Any, _: int) -> Tensor:
            return task.loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return OPTIMIZERS[case.optimizer](self.parameters(), self.lr)

    loader = torch.utils.data.DataLoader(_Shuffled(task), batch_size=BATCH, shuffle=True, drop_last=True)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
        }
        trainer = lightning.Trainer(accelerator="cpu", max_epochs=-1, default_root_dir="/tmp", **options)
        finder = Tuner(trainer).lr_find(Module(), loader, min_lr=1e-7, max_lr=10, num_training=100, update_attr=False)
    return finder.suggestion()


class _Shuffled(torch.utils.data.Dataset[Any]):
    def __init__(self, task: Task) -> None:
        self.task = task

    def __len__(self) -> int:
        return len(self.task.train.inputs)

    def __getitem__(self, index: int) -> Any:
        inputs, targets = self.task.train
        return self.task.prepare(inputs[index : index + 1])[0], targets[index]


def _job(job: tuple[Case, float | None]) -> Any:
    case, lr = job
    return suggested(case) if lr is None else trained(case, lr)


def right(data_dir: Path, seeds: dict[str, int], log: Path | None) -> None:
    """Train everywhere, and print the table."""
    accuracies: dict[tuple[str, str], dict[Any, list[float]]] = {}
    rates: dict[tuple[str, str], dict[str, list[float | None]]] = {}
    began = time.perf_counter()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for task in seeds:
            cases = [Case(task, name, seed, str(data_dir)) for name in OPTIMIZERS for seed in range(seeds[task])]
            found = dict(zip(cases, pool.imap(_job, [(case, None) for case in cases], chunksize=1), strict=True))
            jobs: list[tuple[Case, Any]] = [(case, lr) for case in cases for lr in GRID]
            jobs += [(case, lr) for case in cases for lr in sorted({lr for lr in found[case].values() if lr is not None})]
            ended = dict(zip(jobs, pool.imap(_job, jobs, chunksize=1), strict=True))
            for case in cases:
                by_rate = accuracies.setdefault((task, case.optimizer), defaultdict(list))
                for lr in GRID:
                    by_rate[lr].append(ended[case, lr])
                for rule, lr in found[case].items():
                    rates.setdefault((task, case.optimizer), defaultdict(list))[rule].append(lr)
                    by_rate[rule].append(0.1 if lr is None else ended[case, lr])
            _print(task, accuracies, rates)
    print(f"\n{time.perf_counter() - began:.0f} s")
    if log is not None:
        log.write_text(
            json.dumps([[*key, {str(k): v for k, v in value.items()}, rates[key]] for key, value in accuracies.items()])
        )


def _print(task: str, accuracies: dict[tuple[str, str], Any], rates: dict[tuple[str, str], Any]) -> None:
    print(f"\n{task}\n\n| | {' | '.join(OPTIMIZERS)} |\n|---|{'--:|' * len(OPTIMIZERS)}")
    cells = []
    for name in OPTIMIZERS:
        means = {lr: statistics.fmean(accuracies[task, name][lr]) for lr in GRID}
        best = max(means, key=lambda lr: means[lr])
        near = [lr for lr in GRID if means[lr] >= means[best] - 0.005]
        cells.append(f"{100 * means[best]:.2f} at {best:.2g}; within 0.5: {near[0]:.2g} … {near[-1]:.2g}")
    print(f"| best of the grid | {' | '.join(cells)} |")
    for rule in RULES:
        cells = []
        for name in OPTIMIZERS:
            by_rate = accuracies[task, name]
            if rule not in by_rate:
                cells.append("–")
                continue
            best = max(statistics.fmean(by_rate[lr]) for lr in GRID)
            shown = ", ".join("none" if lr is None else f"{lr:.2g}" for lr in rates[task, name][rule])
            cells.append(f"{100 * (statistics.fmean(by_rate[rule]) - best):+.2f} ({shown})")
        print(f"| {rule} | {' | '.join(cells)} |", flush=True)


class Turns:
    """Batches for a range test of LeNet, with a plain step of a twin before each; the seconds of CPU of both.

    Step by step, because a shared machine's speed changes from one second to the next.
    """

    def __init__(self, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.batches = batches
        self.model, self.optimizer = lenet()
        self.plain: list[float] = []
        self.tested: list[float] = []

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for inputs, targets in self.batches:
            start = time.process_time()
            self.optimizer.zero_grad()
            functional.cross_entropy(self.model(inputs), targets).backward()
            self.optimizer.step()
            end = time.process_time()
            self.plain.append(end - start)
            yield inputs, targets
            self.tested.append(time.process_time() - end)


def lenet() -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network with plain SGD."""
    model = LeNet()
    return model, torch.optim.SGD(model.parameters(), lr=1e-7)


def cost(rounds: int = 7, steps: int = 300) -> None:
    """Seconds of CPU, on one thread, of a range test's steps beside those of plain training steps, and of its snapshot."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    batches = [(torch.randn(BATCH, 1, 28, 28), torch.randint(10, (BATCH,))) for _ in range(20)]
    model, optimizer = lenet()
    ratios, plain, kept = [], [], []
    for _ in range(rounds):
        turns = Turns(batches)
        options: dict[str, Any] = {"start": 1e-9, "end": 1e-7, "steps": steps, "verify": False, "progress": False}
        gradus.range_test(model, optimizer, functional.cross_entropy, turns, **options)
        ratios.append(sum(turns.tested) / sum(turns.plain[: len(turns.tested)]))
        plain.append(statistics.median(turns.plain))
        start = time.process_time()
        with Snapshot([model, optimizer]):
            pass
        kept.append(time.process_time() - start)
    ratios.sort()
    print(f"a plain step: {1e3 * statistics.median(plain):.2f} ms, of {rounds} rounds of {steps}")
    print(f"a step of the range test / a plain one: {statistics.median(ratios):.3f} ({ratios[0]:.3f}, {ratios[-1]:.3f})")
    print(f"the snapshot, taken and put back: {1e3 * statistics.median(kept):.2f} ms")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["right", "cost"])
    parser.add_argument("data_dir", type=Path, nargs="?")
    parser.add_argument("--peers", type=Path, action="append", default=[], help="a folder with the peers; repeatable")
    parser.add_argument("--task", choices=UPDATES, action="append", help="both unless given")
    parser.add_argument("--seeds", type=int, help="3 for digits and 2 for Fashion-MNIST unless given")
    parser.add_argument("--images", type=int, help="how many images of Fashion-MNIST; 20,000 unless given")
    parser.add_argument("--updates", type=int, help="of a training on Fashion-MNIST; 600 unless given")
    parser.add_argument("--evaluations", type=int, default=1, help="at the end of a training, whose mean counts")
    parser.add_argument("--log", type=Path, help="where every number goes, as JSON")
    options = parser.parse_args()
    sys.path += map(str, options.peers)
    if options.what == "cost":
        cost()
    else:
        IMAGES["fashion-mnist"] = options.images or IMAGES["fashion-mnist"]
        UPDATES["fashion-mnist"] = options.updates or UPDATES["fashion-mnist"]
        EVALUATIONS.update(dict.fromkeys(EVALUATIONS, options.evaluations))
        right(options.data_dir, {task: options.seeds or SEEDS[task] for task in options.task or UPDATES}, options.log)
