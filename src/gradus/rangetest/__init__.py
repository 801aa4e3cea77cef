"""The range test: find the learning rate by a short training in which it grows, and leave everything as it was."""

import copy
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradus.errors import InvalidInput
from gradus.names import hinting
from gradus.progress import StepBar
from gradus.rangetest.checks import check_data, check_numbers, check_range, check_training
from gradus.rangetest.curve import Curve, good_interval, mean_of
from gradus.rangetest.findings import finds_its_own_step, is_unbounded, of_optimizer
from gradus.rangetest.result import RangeTest
from gradus.rangetest.suggestions import metric_turn
from gradus.rangetest.sweep import Trainer
from gradus.rangetest.trials import Trials
from gradus.schedules import Exponential, Linear, Schedule
from gradus.snapshot import Snapshot

__all__ = ["RangeTest", "range_test"]

Mode = Literal["exponential", "linear"]


@hinting
def range_test(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: Callable[[Any, Any], Tensor] | None,
    loader: Iterable[Any],
    *,
    start: float = 1e-7,
    end: float = 10.0,
    steps: int = 100,
    mode: Mode = "exponential",
    smoothing: float = 0.7,
    stop_factor: float = 4.0,
    accumulate: int = 1,
    amp: torch.dtype | torch.amp.GradScaler | None = None,
    val_loader: Iterable[Any] | None = None,
    metric: Callable[[Any, Any], Any] | None = None,
    step_fn: Callable[[nn.Module, Any], Tensor] | None = None,
    seeds: int = 1,
    verify: bool = True,
    progress: bool = True,
    memory_limit: int = 2**32,
) -> RangeTest:
    """Train while the rate grows from tiny to huge, see where learning starts and where it breaks, and put everything back.

    The rate of update t is start·(end/start)^(t/(steps − 1)), or start + (end − start)·t/(steps − 1), for the group whose
    rate is highest; the others keep their ratios to it. A loss belongs to the rate of the update before it. The test ends
    early when a loss is no number, when the smoothed loss passes `stop_factor` times its best, or when five losses in a
    row are back where the descent began.

    One curve says where to look, and no more: it spends a handful of updates at each rate. So short trainings follow: of
    `steps` updates at rates halved from the edge of the curve down until learning slows, and, from the highest of them that
    learns nearly as fast as the fastest, of four times as many at rates a factor √2 apart. The suggestion is the lowest
    rate whose loss has fallen at least 98.5 % as far as the best one's: what is gained by more in a short training is often
    lost in a long one. With `verify=False` it is the middle of the curve's interval, where the curve falls clearly.

    Afterwards, and after any exception or Ctrl-C, all is bit for bit as before: parameters, buffers, gradients, training
    flags, `requires_grad`, the optimizer, the scaler, the generators of torch, Python, NumPy and the loader. Not put back
    are the position of an iterator that can be read once only, and what functions of yours do elsewhere.

    Args:
        model: trained as it is; if it is in evaluation mode as a whole, in training mode.
        optimizer: any; one whose step asks for a closure is given one.
        loss_fn: `loss_fn(output, target)`, a mean over the batch; None with a `step_fn`.
        loader: gives batches `(input, target)`, moved to the model's device; any with a `step_fn`. At least two; it begins
            anew as often as needed.
        start: the lowest rate.
        end: the highest rate.
        steps: updates, 10 or more.
        mode: "exponential" or "linear": how the rate grows.
        smoothing: β of the curve's mean over neighbours, from 0 to below 1.
        stop_factor: above 1.
        accumulate: batches in an update.
        amp: `torch.bfloat16` or `torch.float16` to compute in, or a GradScaler, which takes float16 with it.
        val_loader: batches to measure on after each update, in evaluation mode, in place of those trained on.
        metric: `metric(output, target)`, higher is better, for Smith's criterion; accuracy where targets are classes.
        step_fn: `step_fn(model, batch)` gives the loss of any other kind of batch, which it finds as the loader gave it.
        seeds: how often the whole is repeated, each time from the same state with another shuffle.
        verify: whether short trainings settle the suggestion.
        progress: whether a bar shows how far it is, in a terminal.
        memory_limit: bytes of what is kept for putting back that may lie in memory; more go to a temporary file.

    Returns:
        The curve and what it suggests. Where it says nothing, `suggestion` is None and `remark` says why.

    Raises:
        InvalidInput: an argument, a batch or a loss can't be used; a batch has a loss or a gradient that is no finite number
            whatever the rate.
        GradusError: what is to be put back can't be kept.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks, 2017, section 3.3.

    >>> import torch
    >>> from gradus import range_test
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(4, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> inputs = torch.randn(640, 4)
    >>> loader = list(zip(inputs.split(64), inputs.sum(1, keepdim=True).split(64)))
    >>> found = range_test(model, optimizer, torch.nn.functional.mse_loss, loader)
    >>> 0.001 < found.suggestion < 1, optimizer.param_groups[0]["lr"]
    (True, 0.1)
    """
    check_range(start, end, steps, mode)
    check_numbers(smoothing, stop_factor, accumulate, seeds, memory_limit)
    check_training(model, optimizer, loss_fn, step_fn, amp)
    check_data(loader, val_loader, again=verify or seeds > 1)
    said = list(of_optimizer(optimizer))
    verify = verify and not finds_its_own_step(optimizer)
    loader = _apart(loader)
    generators = _generators_of(loader)
    trainer = Trainer(model, optimizer, loss_fn, loader, accumulate, amp, val_loader, metric, step_fn)
    with (
        StepBar(shown=progress and _is_first()) as bar,
        Snapshot([model, optimizer, amp, generators], memory_limit=memory_limit) as snapshot,
    ):
        trials = Trials(trainer, snapshot, generators, bar, steps, stop_factor)
        schedule = _rising(start, end, steps, mode)
        trained = [trials.run(schedule, "growing rate", seed) for seed in range(seeds)]
        curve = Curve.of(trained, smoothing)
        if not curve.lrs:
            if not curve.diverged:
                raise InvalidInput("the data end after the first update; give more")
            raise InvalidInput(f"the first update, at rate {start:g}, ended the test: {curve.reason}; start lower")
        settled = trials.settle(curve, start, end, seeds) if verify and not curve.constant else []
    found = _judged(curve, [Curve.of([one], smoothing) for one in trained], settled, snapshot.nbytes)
    return _with_findings(found, curve, said, end, finds_its_own_step(optimizer))


def _with_findings(found: RangeTest, curve: Curve, said: list[str], end: float, own_step: bool) -> RangeTest:
    """With what else there is to say; without a suggestion where there can be none."""
    remark, suggestion = found.remark, found.suggestion
    if curve.unbounded or is_unbounded(*_columns(found.trials), curve.first, curve.noise):
        suggestion = None
        remark = (
            f"The loss falls without end, the faster the higher the rate, to {min(curve.losses):.3g} and on, so no rate is "
            f"best: give a loss that has a lowest value. If yours has one, take a higher end or more steps."
        )
    elif own_step:
        suggestion, remark = None, ""
    elif suggestion is not None and found.interval is not None and found.interval[1] > 0.99 * end:
        remark += f" Of the rates up to {end:g}, the highest learned best; take a higher end."
    return replace(found, suggestion=suggestion, remark=" ".join([remark, *said]).strip())


def _columns(pairs: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [one for one, _ in pairs], [other for _, other in pairs]


def _rising(start: float, end: float, steps: int, mode: Mode) -> Schedule:
    if mode == "linear":
        return Linear(steps - 1, start=start, end=end)
    return Exponential((end / start) ** (1 / (steps - 1)), start=start)


def _apart(loader: Iterable[Any]) -> Iterable[Any]:
    """The loader itself; or a copy with workers of its own, where others may be in the middle of its one iterator."""
    if not (isinstance(loader, DataLoader) and loader.persistent_workers):
        return loader
    apart: DataLoader[Any] = copy.copy(loader)
    apart._iterator = None
    return apart


def _generators_of(loader: Iterable[Any]) -> list[Any]:
    """The random generators that a loader draws from, besides the global ones."""
    sources = [loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    sources.append(getattr(sources[2], "sampler", None))
    kinds = (torch.Generator, random.Random, np.random.Generator, np.random.RandomState)
    held = [value for source in sources for value in getattr(source, "__dict__", {}).values()]
    return [value for value in held if isinstance(value, kinds)]


def _is_first() -> bool:
    """Whether this is the one process that speaks for all."""
    distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not distributed or torch.distributed.get_rank() == 0


def _judged(curve: Curve, alone: list[Curve], trials: list[dict[float, float]], nbytes: int) -> RangeTest:
    found, remark = curve.suggestions(), curve.remark()
    means = mean_of(trials)
    bounds = curve.interval if curve.clear else None
    each = [one.suggestions().get("middle") for one in alone]
    suggestion = found.get("middle")
    if trials:
        good = good_interval(means, curve)
        suggestion, bounds = (good[0], good) if good else (None, bounds)
        each = [one[0] if one else None for one in (good_interval(trial, curve) for trial in trials)]
        if good:
            found["verified"] = good[0]
        else:
            remark = f"No rate learned anything in short trainings; take more steps. {remark}".strip()
    if suggestion is not None:
        how = "the lowest that learns nearly as fast as the fastest" if trials else "the middle of the interval"
        remark = f"Train with a rate of {suggestion:.3g}, {how}."
    said = [rate for rate in each if rate is not None]
    spread = (min(said), max(said)) if len(each) > 1 and said else None
    if spread is not None:
        remark += f" Of {len(each)} shuffles, each alone says {spread[0]:.3g} to {spread[1]:.3g}."
    return RangeTest(
        lrs=tuple(curve.lrs),
        losses=tuple(curve.losses),
        smoothed=tuple(curve.smoothed),
        metrics=tuple(curve.metrics),
        first=curve.first,
        suggestion=suggestion,
        suggestions=found,
        interval=bounds,
        spread=spread,
        cycle=metric_turn(curve.lrs, curve.metrics) if curve.metrics and curve.clear else None,
        trials=tuple(means.items()),
        stopped_because=curve.reason,
        remark=remark,
        snapshot_bytes=nbytes,
    )
