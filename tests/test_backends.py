"""The registry of backends, and a backend of one's own that joins it from outside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import gradus.optim
from gradus.backends import BACKENDS, Backend, choose_backend
from gradus.backends.operations import OPERATIONS, REDUCTIONS
from gradus.backends.tensor_group import TensorGroup, fill
from gradus.backends.trace import Program
from gradus.errors import InvalidInput
from gradus.rules import RULES

pytestmark = pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")


class NumpyBatch:
    """Runs a program on NumPy's views of tensors, as the contract of `gradus.backends` says it."""

    def __init__(self, groups: Sequence[TensorGroup], program: Program) -> None:
        self.groups, self.program, self.calls = groups, program, list[str]()
        self.table = np.zeros((len(groups), len(program.names)))

    def is_current(self) -> bool:
        self.calls.append("is_current")
        return all(param.grad is not None for group in self.groups for param in group.params)

    def squares(self) -> float:
        self.calls.append("squares")
        return float(sum((param.grad**2).sum() for group in self.groups for param in group.params))

    def prepare(self, scale: Any) -> bool:
        self.calls.append("prepare")
        self.scalars = fill(self.table, self.program, self.groups, scale)
        return self.scalars is not None

    def update(self) -> None:
        self.calls.append("update")
        for group, row, scalars in zip(self.groups, self.table, self.scalars, strict=True):
            for param, state in zip(group.params, group.states, strict=True):
                self._update(param, state, dict(zip(self.program.names, row, strict=True)))
            group.advance(scalars)

    def _update(self, param: nn.Parameter, state: dict[str, Any], values: dict[str, Any]) -> None:
        tensors = {"param": param.detach(), "grad": param.grad, **state}
        for one in self.program.passes:
            values |= {element: tensors[name].numpy().copy() for name, element in one.reads.items()}
            for node in one.nodes:
                values[node.name] = OPERATIONS[node.op].compute(*(values[name] for name in node.args))
            for node in one.results:
                (x,) = (values[name] for name in node.args)
                values[node.name] = np.linalg.norm(x) if node.op == "norm" else np.mean(x)
            for name, element in (one.writes or {}).items():
                tensors[name].numpy()[...] = values[element]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[NumpyBatch]:
    """A backend by the name of "mine", registered; and its batches."""
    batches: list[NumpyBatch] = []

    def batch(groups: Sequence[TensorGroup], program: Program, stochastic: bool) -> NumpyBatch | None:
        if stochastic:
            return None
        batches.append(NumpyBatch(groups, program))
        return batches[-1]

    mine = Backend(lambda rule, param: not rule.needs_whole_tensor and param.dtype == torch.float64, batch)
    monkeypatch.setitem(BACKENDS, "mine", mine)
    return batches


def stepped(name: str, backend: str, **options: Any) -> list[torch.Tensor]:
    """Parameters after three updates of an optimizer."""
    generator = torch.Generator().manual_seed(0)
    ours = [nn.Parameter(torch.randn(shape, generator=generator, dtype=torch.float64)) for shape in [(3, 5), (7,), ()]]
    groups = [{"params": ours[:2]}, {"params": ours[2:], "lr": 0.05}]
    optimizer = getattr(gradus.optim, name)(groups, lr=0.01, backend=backend, **options)
    for _ in range(3):
        for param in ours:
            param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
    return [param.detach() for param in ours]


@pytest.mark.parametrize("name", ["SGD", "AdamW", "NAdam", "RAdam", "Rprop", "LAMB", "CautiousAdamW"])
def test_a_backend_of_ones_own_runs_our_rules(name: str, made: list[NumpyBatch]) -> None:
    """A backend that is registered from outside updates every rule of elements like torch's operations, by its name."""
    for got, want in zip(stepped(name, "mine"), stepped(name, "torch"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    assert made


def test_a_batchs_methods_are_called_in_order(made: list[NumpyBatch]) -> None:
    """A step asks whether the batch is current, but for the first; the squares where it clips; prepares, and updates."""
    stepped("SGD", "mine", clip_norm=1.0)
    first = ["squares", "prepare", "update"]
    assert [batch.calls for batch in made] == [[*first, "is_current", *first, "is_current", *first]]


@pytest.mark.parametrize("automatic", [True, False])
def test_a_backend_is_automatic_where_it_says_so(
    automatic: bool, made: list[NumpyBatch], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `backend="auto"` a tensor goes to the latest backend that is automatic on its device and supports it."""
    mine = BACKENDS["mine"]
    monkeypatch.setitem(BACKENDS, "mine", Backend(mine.supports, mine.batch, "cpu" if automatic else None))
    stepped("SGD", "auto")
    assert bool(made) == automatic
    single = nn.Parameter(torch.ones(2))
    single.grad = torch.ones(2)
    assert choose_backend(RULES["sgd"], single) == "cpu"


def test_what_a_backend_cannot_run_goes_to_torch(made: list[NumpyBatch]) -> None:
    """A program that a backend gives no batch for is run in torch's operations."""
    for got, want in zip(stepped("SGD", "mine", stochastic_rounding=True), stepped("SGD", "torch"), strict=True):
        assert torch.equal(got, want)
    assert not made


def test_what_a_backend_does_not_support_is_refused(made: list[NumpyBatch]) -> None:
    """A tensor or a rule that the backend asked for doesn't support is refused before anything is changed."""
    param = nn.Parameter(torch.ones(2, 2))
    param.grad = torch.ones(2, 2)
    with pytest.raises(InvalidInput, match=r"the mine backend doesn't take a torch\.float32 tensor"):
        gradus.optim.SGD([param], backend="mine").step()
    with pytest.raises(InvalidInput, match="the mine backend doesn't take muon"):
        choose_backend(RULES["muon"], param, "mine")
    with pytest.raises(InvalidInput, match="capturable=True and the mine backend exclude each other"):
        gradus.optim.SGD([param], backend="mine", capturable=True)
    with pytest.raises(InvalidInput, match=r'backend must be .*"cuda" or "mine"; got'):
        gradus.optim.SGD([param], backend="min")
    assert torch.equal(param, torch.ones(2, 2))
    assert not made


@pytest.mark.parametrize("op", OPERATIONS)
def test_operations_are_for_their_templates(op: str) -> None:
    """Each operation takes as many arguments in Numba's and Triton's sources as on constants."""
    taken = {"where": 3, "neg": 1, "abs": 1, "sqrt": 1, "exp": 1, "log": 1, "sign": 1}.get(op, 2)
    for template in filter(None, (OPERATIONS[op].numba, OPERATIONS[op].triton)):
        assert template.format(*(f"argument{index}" for index in range(taken))).count("argument") >= taken
    assert all(part.format("x") for part in REDUCTIONS["norm"])
