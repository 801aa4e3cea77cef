"""Whether a task's parts fit together, tried on a few examples before anything is trained."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gradus.errors import GradusError, InvalidInput
from gradus.tasks.batches import examples_in, kind_of, moved
from gradus.tasks.drawing import seeded
from gradus.tasks.scores import Outcome, Scores
from gradus.tasks.task import Task

__all__ = ["check_task"]

_EXAMPLES = 5  # a number that seldom is another dimension's, so shapes tell what they mean
_ONE_SHAPE = "let both have one shape: unsqueeze(1) makes [n, 1] of [n], and squeeze(1) the reverse"
_TORCHS_WARNING = "Using a target size"  # of its own losses, where outputs and targets are broadcast


def check_task(
    task: Task,
    model: nn.Module,
    *,
    valid: bool = True,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Try a few examples of each split, and refuse whatever can't be trained or scored; random states are as before.

    Args:
        task: what is to be trained.
        model: a network that isn't needed any more: averages in it may move.
        valid: whether examples are held out for validation, as `Task.data` takes it.
        device: where the network is; the CPU unless given.
        dtype: the precision of its parameters.

    Raises:
        InvalidInput: a part doesn't fit; the message says which, and what to do.

    >>> from gradus.tasks import load_task
    >>> task = load_task("digits")
    >>> check_task(task, task.model())
    """
    device = device or torch.device("cpu")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), seeded(0):
        for which in ("train", "valid", "test") if valid else ("train", "test"):
            batch = moved(task.data(which, valid=valid).replayed(_EXAMPLES), device)
            if which == "train" and task.augment is not None:
                with _sentences(task, f"augment fails on a batch of {kind_of(batch)}", "it takes (batch, generator)"):
                    batch = task.augment(batch, torch.Generator(device).manual_seed(0))
            model.train(which == "train")
            with torch.set_grad_enabled(which == "train"):
                _check_batch(task, model, batch, dtype)


def _check_batch(task: Task, model: nn.Module, batch: Any, dtype: torch.dtype) -> None:
    examples, kind = examples_in(batch), kind_of(batch)
    if task.step is not None:
        with _sentences(task, f"step fails on a batch of {kind}", "it takes (model, batch)"):
            outcome = task.loss_of(model, batch, dtype)
        task.refuse_objective_without(outcome.extra)
        Scores({}).add(outcome, examples)
        return
    with _sentences(task, f"the model can't take inputs of a batch of {kind}", "prepare= changes them first"):
        outputs, targets = task.outputs_of(model, batch, dtype)
    given = f"outputs {kind_of(outputs)} and targets {kind_of(targets)}"
    with _sentences(task, f"the loss can't take {given}", _way_out(outputs)), _Comparisons(task, "loss", outputs, targets):
        loss = task.sound(task.loss(outputs, targets))
    for name, metric in task.metrics.items() if task.metrics else ():
        said = f"the metric {name!r}"
        with _sentences(task, f"{said} can't take {given}", _way_out(outputs)), _Comparisons(task, said, outputs, targets):
            scores = Scores({name: metric})
            scores.add(Outcome(loss, outputs, targets, {}), examples)
            scores.values()


def _way_out(outputs: Any) -> str:
    if isinstance(outputs, Tensor):
        return (
            "the two must be of shapes and dtypes that it compares (unsqueeze(1) makes [n, 1] of [n]; classes are int64, as "
            ".long() makes them)"
        )
    return (
        f"the model returned a {type(outputs).__name__}, and what is usual takes a tensor: let the model return one tensor, "
        f"or give loss= and metrics= that take what it returns, or step=, a function (model, batch) -> loss"
    )


@contextmanager
def _sentences(task: Task, what: str, way_out: str) -> Iterator[None]:
    """What fails inside is one sentence that says what was tried."""
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", _TORCHS_WARNING, UserWarning)
            yield
    except (GradusError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        said = " ".join(str(error).split())
        if said.startswith(_TORCHS_WARNING):
            raise InvalidInput(f"task {task.name!r}: {what}, which torch would broadcast; {_ONE_SHAPE}") from None
        raise InvalidInput(f"task {task.name!r}: {what}: {type(error).__name__}: {said}; {way_out}") from error


class _Comparisons(TorchFunctionMode):
    """Inside, an operation on something of outputs `[n, 1]` and something of targets `[n]`, or the other way round, is
    refused: torch makes `[n, n]` of them, whose mean looks like any other number.

    Pairs that are wanted, as in ranking, compare outputs with outputs.
    """

    def __init__(self, task: Task, what: str, outputs: Any, targets: Any) -> None:
        super().__init__()
        self._what = f"task {task.name!r}: {what if what.startswith('the') else f'the {what}'}"
        self._origins: dict[int, tuple[Tensor, frozenset[str]]] = {}  # the tensor is kept, so that no other has its number
        for name, part in (("outputs", outputs), ("targets", targets)):
            if isinstance(part, Tensor):
                self._note(part, frozenset({name}))

    def _note(self, tensor: Tensor, origins: frozenset[str]) -> None:
        self._origins[id(tensor)] = tensor, origins

    def _of(self, tensor: Tensor) -> frozenset[str]:
        return self._origins.get(id(tensor), (tensor, frozenset[str]()))[1]

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See an operation."""
        del types
        result = func(*args, **(kwargs or {}))
        given = [one for one in (*args, *(kwargs or {}).values()) if isinstance(one, Tensor)]
        if isinstance(result, Tensor) and given:
            self._note(result, frozenset[str]().union(*map(self._of, given)))
            if len(given) == 2:
                self._look(given[0], given[1], result)
        return result

    def _look(self, one: Tensor, other: Tensor, result: Tensor) -> None:
        n = max(len(one) if one.ndim else 0, 2)
        shapes = {tuple(one.shape), tuple(other.shape)}
        if shapes == {(n,), (n, 1)} and result.shape == (n, n) and self._of(one) ^ self._of(other) == {"outputs", "targets"}:
            first, second = (one, other) if "outputs" in self._of(one) else (other, one)
            raise InvalidInput(
                f"{self._what} compares outputs {kind_of(first)} with targets {kind_of(second)}, which gives [n, n]; "
                f"{_ONE_SHAPE}"
            )
