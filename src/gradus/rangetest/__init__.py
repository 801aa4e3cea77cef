"""The range test: find the learning rate by a short training in which it grows, and leave everything as it was."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from gradus.names import hinting
from gradus.rangetest.bars import Bar
from gradus.rangetest.checks import check_data, check_training, check_whole
from gradus.rangetest.finding import Mode, Settings, found_by
from gradus.rangetest.found import Found, find_lr
from gradus.rangetest.result import RangeTest
from gradus.rangetest.trainer import Trainer

__all__ = ["Bar", "Found", "RangeTest", "find_lr", "range_test"]


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
    progress: bool | Bar = True,
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
        progress: whether a bar shows how far it is, in a terminal; or a bar of your own, with `begin` and `step` as `Bar`.
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
    settings = Settings(start, end, steps, mode, smoothing, stop_factor, seeds, verify, memory_limit)
    check_whole("accumulate", accumulate, 1)
    check_training(model, optimizer, loss_fn, step_fn, amp)
    check_data(loader, val_loader, again=verify or seeds > 1)
    trainer = Trainer(model, optimizer, loss_fn, _apart(loader), accumulate, amp, val_loader, metric, step_fn)
    return found_by(trainer, settings, progress)


def _apart(loader: Iterable[Any]) -> Iterable[Any]:
    """The loader itself; or a copy with workers of its own, where others may be in the middle of its one iterator."""
    if not (isinstance(loader, DataLoader) and loader.persistent_workers):
        return loader
    apart: DataLoader[Any] = copy.copy(loader)
    apart._iterator = None
    return apart
