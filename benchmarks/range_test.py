"""Is the range test right, and what does it cost?

    python benchmarks/range_test.py right DATA_DIR --peers DIR --log FILE     # about an hour on 2 cores
    python benchmarks/range_test.py cost                                      # about a minute

`right` trains at the rate that each rule suggests, and at a grid of 20 rates, and compares the final test accuracies.
DATA_DIR holds Fashion-MNIST's files. The log gets a line for each training as it ends; what it has isn't done again. The
peers' finders are used where they can be imported: `pip install --target DIR --no-deps torch-lr-finder lightning
pytorch-lightning lightning-utilities torchmetrics`, with what those need on the path.
"""

import argparse
import contextlib
import functools
import io
import json
import math
import multiprocessing.pool
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # one process a core

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import gradus
from gradus.rangetest.trainer import Trainer, fetched
from gradus.schedules import Constant
from gradus.snapshot import Snapshot
from gradus.tasks import LeNet, Scores, Task, examples_in, load_task

GRID = np.geomspace(1e-5, 10, 20).tolist()
OPTIMIZERS: dict[str, Callable[[Any, float], torch.optim.Optimizer]] = {
    "SGD": lambda params, lr: torch.optim.SGD(params, lr),
    "SGD, momentum 0.9": lambda params, lr: torch.optim.SGD(params, lr, momentum=0.9),
    "RMSprop": lambda params, lr: torch.optim.RMSprop(params, lr),
    "Adam": lambda params, lr: torch.optim.Adam(params, lr),
}
UPDATES = {"fashion-mnist": 1874, "digits": 690}  # 2 passes, and 30
SEEDS = 3
EVALUATIONS = 4  # at the end, whose mean counts
APART = {"fashion-mnist": 100, "digits": 30}  # updates between them
CHANCE = 0.1  # the accuracy where a rule suggests nothing
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
                yield prepared(self.task, inputs[batch]), targets[batch]


def prepared(task: Task, inputs: Tensor) -> Tensor:
    """Stored inputs as the model takes them."""
    return inputs if task.prepare is None else task.prepare(inputs)


@torch.inference_mode()
def accuracy(model: nn.Module, task: Task) -> float:
    """The accuracy over the test examples."""
    model.eval()
    scores = Scores(task.metrics or {})
    for batch in task.data("test").batches(0, 0, 1000, shuffle=False):
        scores.add(task.loss_of(model, batch), examples_in(batch))
    return scores.values()["accuracy"]


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


_task = functools.cache(load_task)


def trained(case: Case, lr: float) -> float:
    """The test accuracy at the end at a constant rate.

    What has learned nothing in a quarter of its time is cut, and so is a rate of the grid that is below 60 % then: it won't
    be the best.
    """
    torch.set_num_threads(1)
    task, model, optimizer = case.fresh(lr)
    updates, apart = UPDATES[case.task], APART[case.task]
    evaluated = range(updates - (EVALUATIONS - 1) * apart, updates + 1, apart)
    losses: list[float] = []
    accuracies: list[float] = []
    for loss, _ in fetched(Trainer(model, optimizer, task.loss, Batches(task)).train(Constant(lr), updates)):
        losses.append(loss)  # of the batch of the update that has just been done
        hopeless = len(losses) == updates // 4 and (
            statistics.fmean(losses[-50:]) > 0.95 * math.log(10) or (lr in GRID and accuracy(model, task) < 0.6)
        )
        if hopeless or not math.isfinite(loss):
            return accuracy(model, task)
        if len(losses) in evaluated:
            accuracies.append(accuracy(model, task))
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
        return prepared(self.task, inputs[index : index + 1])[0], targets[index]


Job = tuple[Case, float | None]  # a training at a rate, or the question which rates are suggested


class Log:
    """What each job gave: kept, and in a file a line for each as it ends.

    Args:
        path: the file; what it has from a run that was cut short is taken over.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[Job, Any] = {}
        for line in path.read_text().splitlines() if path.exists() else []:
            case, lr, value = json.loads(line)
            self.known[Case(*case), lr] = value

    def work_off(self, jobs: list[Job], pool: multiprocessing.pool.Pool) -> None:
        """Do what isn't known yet."""
        wanted = [job for job in dict.fromkeys(jobs) if job not in self.known]
        for case, lr, value in pool.imap_unordered(_done, wanted):
            self.known[case, lr] = value
            with self.path.open("a") as file:
                print(json.dumps([astuple(case), lr, value]), file=file)


def _done(job: Job) -> tuple[Case, float | None, Any]:
    case, lr = job
    return case, lr, suggested(case) if lr is None else trained(case, lr)


def right(data_dir: str, names: list[str], seeds: int, log: Log) -> None:
    """Train everywhere, and print the tables."""
    cases = [Case(task, optimizer, seed, data_dir) for task in names for optimizer in OPTIMIZERS for seed in range(seeds)]
    with multiprocessing.get_context("fork").Pool(2) as pool:
        log.work_off([(case, lr) for case in cases if case.seed == 0 for lr in GRID], pool)
        log.work_off([(case, lr) for case in cases for lr in _promising(case, log)], pool)
        log.work_off([(case, None) for case in cases], pool)
        rules = [rule for rule in RULES if all(rule in log.known[case, None] for case in cases)]
        rates = [(case, log.known[case, None][rule]) for rule in rules for case in cases]
        log.work_off([(case, lr) for case, lr in rates if lr is not None], pool)
    for task in names:
        columns = [[case for case in cases if (case.task, case.optimizer) == (task, name)] for name in OPTIMIZERS]
        print(f"\n{task}\n\n| | {' | '.join(OPTIMIZERS)} |\n|---|{'--:|' * len(OPTIMIZERS)}")
        print(f"| best of the grid | {' | '.join(_best(column, log)[1] for column in columns)} |")
        for rule in rules:
            print(f"| {rule} | {' | '.join(_beside_best(column, rule, log) for column in columns)} |")


def _promising(case: Case, log: Log) -> list[float]:
    """The rates of the grid that with the first seed come within 5 points of the best; no other can be best on average."""
    first = replace(case, seed=0)
    best = max(log.known[first, lr] for lr in GRID)
    return [lr for lr in GRID if log.known[first, lr] > best - 0.05]


def _best(column: list[Case], log: Log) -> tuple[float, str]:
    """The grid's highest mean accuracy, and what to say of it."""
    means = {lr: statistics.fmean(log.known[case, lr] for case in column) for lr in _promising(column[0], log)}
    best = max(means, key=lambda lr: means[lr])
    near = [lr for lr in means if means[lr] >= means[best] - 0.005]
    return means[best], f"{100 * means[best]:.2f} at {best:.2g}; within 0.5: {near[0]:.2g} … {near[-1]:.2g}"


def _beside_best(column: list[Case], rule: str, log: Log) -> str:
    """How far a rule's mean accuracy is from that, and the rates that it suggests."""
    rates = [log.known[case, None][rule] for case in column]
    reached = [CHANCE if lr is None else log.known[case, lr] for case, lr in zip(column, rates, strict=True)]
    shown = ", ".join("none" if lr is None else f"{lr:.2g}" for lr in rates)
    return f"{100 * (statistics.fmean(reached) - _best(column, log)[0]):+.2f} ({shown})"


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
    parser.add_argument("--seeds", type=int, default=SEEDS)
    log = Path("benchmarks/range_test.jsonl")
    parser.add_argument("--log", type=Path, default=log, help="where each training goes as it ends")
    options = parser.parse_args()
    sys.path += map(str, options.peers)
    if options.what == "cost":
        cost()
    else:
        right(str(options.data_dir), options.task or list(UPDATES), options.seeds, Log(options.log))
