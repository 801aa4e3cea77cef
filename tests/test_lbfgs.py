"""L-BFGS, against torch's and against what the theory says."""

import copy
import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gradus.optim
from gradus.errors import InvalidInput
from gradus.optim import LBFGS
from gradus.optim.lbfgs import history
from gradus.optim.lbfgs.history import History
from gradus.optim.lbfgs.vectors import HistoryVectors
from gradus.optim.lbfgs.vectors_cpu import HistoryVectorsCpu

KINDS = {"kernels": HistoryVectorsCpu, "torch's operations": HistoryVectors}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the history's passes over its vectors run."""
    monkeypatch.setattr(history, "vectors_for", KINDS[request.param])
    return str(request.param)


class Problem:
    """A small regression, whose loss is the closure's; it counts its evaluations."""

    def __init__(self, dtype: torch.dtype = torch.float64) -> None:
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(torch.nn.Linear(5, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).to(dtype)
        self.inputs = torch.randn(64, 5, dtype=dtype)
        self.targets = torch.sin(self.inputs.sum(1, keepdim=True))
        self.evaluations = 0

    def closure(self) -> Tensor:
        self.net.zero_grad()
        loss = ((self.net(self.inputs) - self.targets) ** 2).mean()
        loss.backward()
        self.evaluations += 1
        return loss

    def losses(self, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
        return [float(optimizer.step(self.closure).detach()) for _ in range(steps)]


OPTIONS: dict[str, dict[str, Any]] = {
    "defaults": {},
    "rate": {"lr": 0.5},
    "strong Wolfe": {"line_search_fn": "strong_wolfe"},
    "short history": {"lr": 0.5, "history_size": 5, "max_iter": 10},
    "few evaluations": {"line_search_fn": "strong_wolfe", "max_eval": 3},
    "no change is small enough": {"tolerance_change": 0.0, "max_iter": 5, "lr": 0.1},
}


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("name", OPTIONS)
def test_it_goes_torchs_way(name: str) -> None:
    """In double precision it takes torch's steps, with torch's evaluations, while rounding hasn't grown yet."""
    ours, theirs = Problem(), Problem()
    got = ours.losses(LBFGS(ours.net.parameters(), **OPTIONS[name]), 4)
    want = theirs.losses(torch.optim.LBFGS(theirs.net.parameters(), **OPTIONS[name]), 4)
    assert got == pytest.approx(want, rel=1e-5)
    assert ours.evaluations == theirs.evaluations


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("pairs", [1, 4, 7, 8, 12])
def test_the_direction_is_the_two_loops(pairs: int) -> None:
    """The direction is that of the two-loop recursion over the last pairs of positive curvature (Nocedal and Wright 2006,
    Algorithm 7.4).
    """
    torch.manual_seed(pairs)
    remembered, kept, size = History(7), [], 30
    gradient = torch.randn(size, dtype=torch.float64)
    for number in range(2 * pairs - 1):
        step, before = torch.randn(size, dtype=torch.float64), gradient
        change = step * (torch.rand(size, dtype=torch.float64) + 0.5) * (-1) ** number
        gradient = before + change
        line = remembered.direction(step / 2, 2.0, gradient, before, torch.empty_like(gradient), damped=False)
        kept = kept if number % 2 else [*kept, (step, change)][-7:]
    q, alphas = -gradient, []
    for step, change in reversed(kept):
        alphas.append(step @ q / (step @ change))
        q = q - alphas[-1] * change
    step, change = kept[-1]
    r = q * (step @ change) / (change @ change)
    for (step, change), alpha in zip(kept, reversed(alphas), strict=True):
        r = r + step * (alpha - change @ r / (step @ change))
    torch.testing.assert_close(line.vector, r, rtol=1e-9, atol=1e-11)
    assert line.slope == pytest.approx(float(gradient @ r), rel=1e-9)
    assert line.largest == pytest.approx(float(r.abs().max()), rel=1e-9)


# Of vectors: shorter than what is added at once, of one piece, and of several, the last of which is shorter.
LENGTHS = st.one_of(st.integers(0, 40), st.integers(8_000, 8_400), st.integers(16_300, 40_000))


class Passes:
    """Pairs of random vectors, some of whose places are kept and the others no numbers."""

    def __init__(self, kind: str, dtype: torch.dtype, size: int, data: st.DataObject) -> None:
        self.generator, self.size, self.dtype = torch.Generator().manual_seed(data.draw(st.integers(0, 99))), size, dtype
        places = data.draw(st.integers(1, 6))
        self.first, self.kept = data.draw(st.integers(0, places - 1)), data.draw(st.integers(1, places))
        self.gradient = self.vector()
        self.pairs = KINDS[kind](self.gradient)
        self.pairs.grow(places)
        for place in range(places):
            for row in self.pairs[place]:
                row.fill_(math.nan)
        self.rows = [self.pairs[(self.first + pair) % places] for pair in range(self.kept)]
        for row in (row for pair in self.rows for row in pair):
            row.copy_(self.vector())
        # The kernels add up in double precision, torch in its own way in the dtype's.
        self.epsilon = 1e-14 if kind == "kernels" else 64 * torch.finfo(dtype).eps

    def vector(self) -> Tensor:
        return torch.randn(self.size, generator=self.generator, dtype=self.dtype)

    def check_product(self, got: float, one: Tensor, other: Tensor) -> None:
        """A product is that in double precision, but for a rounding of the sum of its terms' sizes."""
        terms = one.double() * other.double()
        assert abs(got - float(terms.sum())) <= self.epsilon * float(terms.abs().sum())

    def check_products(self, got: np.ndarray) -> None:
        assert got.shape == (self.kept, 2)
        for pair, products in zip(self.rows, got.tolist(), strict=True):
            for row, product in zip(pair, products, strict=True):
                self.check_product(product, row, self.gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", KINDS)
@given(size=LENGTHS, data=st.data())
@settings(max_examples=40)
def test_a_pair_is_written_with_its_products(engine: str, dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    """A step is t times the direction and a change the difference of gradients, to the bit; all products are those in double
    precision, but for the rounding of their own sums.
    """
    passes = Passes(engine, dtype, size, data)
    direction, old = passes.vector(), passes.vector()
    found = passes.pairs.write(passes.first, passes.kept - 1, direction, -0.7, passes.gradient, old)
    step, change = passes.rows[-1]
    assert torch.equal(step, -0.7 * direction)
    assert torch.equal(change, passes.gradient - old)
    passes.check_products(found[:-1])
    passes.check_product(found[-1, 0], step, change)
    passes.check_product(found[-1, 1], change, change)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", KINDS)
@given(size=LENGTHS, data=st.data())
@settings(max_examples=40)
def test_products_are_those_of_double_precision(engine: str, dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    """The products of the kept pairs with a gradient are those in double precision, in the pairs' order."""
    passes = Passes(engine, dtype, size, data)
    passes.check_products(passes.pairs.products(passes.first, passes.kept, passes.gradient))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("engine", KINDS)
@given(size=LENGTHS, data=st.data())
@settings(max_examples=40)
def test_a_line_is_its_sum(engine: str, dtype: torch.dtype, size: int, data: st.DataObject) -> None:
    """A direction is the sum in double precision but for a rounding a term, with its slope and its greatest element."""
    passes = Passes(engine, dtype, size, data)
    numbers = torch.randn(2, passes.kept, generator=passes.generator, dtype=torch.float64)
    line = passes.pairs.combine(passes.first, numbers.numpy(), -1.3, passes.gradient, torch.empty(size, dtype=dtype))
    rows = [row for pair in passes.rows for row in pair]
    scales = numbers.to(dtype).double().T.flatten().tolist()
    terms = torch.stack([-1.3 * passes.gradient.double()] + [a * row.double() for a, row in zip(scales, rows, strict=True)])
    rounding = 2 * len(terms) * torch.finfo(dtype).eps
    assert ((line.vector - terms.sum(0)).abs() <= rounding * terms.abs().sum(0)).all()
    passes.check_product(line.slope, line.vector, passes.gradient)
    assert line.largest == float(line.vector.abs().max() if size else 0)


@given(size=LENGTHS, data=st.data())
@settings(max_examples=20)
def test_any_number_of_threads_finds_the_same(size: int, data: st.DataObject) -> None:
    """The products and the direction have the same bits however many threads share the work."""
    passes, threads = Passes("kernels", torch.float32, size, data), torch.get_num_threads()
    numbers, found = torch.randn(2, passes.kept, generator=passes.generator).numpy(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            products = passes.pairs.products(passes.first, passes.kept, passes.gradient)
            line = passes.pairs.combine(passes.first, numbers, 0.3, passes.gradient, torch.empty(size))
            found.append((products.tolist(), line.vector.tolist(), line.slope, line.largest))
    finally:
        torch.set_num_threads(threads)
    assert found[0] == found[1] == found[2]


def test_a_state_is_nobody_elses() -> None:
    """A state that was saved or loaded stays as it is, bit for bit, while the optimizer goes on."""
    problem = Problem()
    optimizer = LBFGS(problem.net.parameters(), max_iter=3)
    problem.losses(optimizer, 2)
    saved = optimizer.state_dict()
    copied = copy.deepcopy(saved)
    problem.losses(optimizer, 2)
    optimizer.load_state_dict(saved)
    problem.losses(optimizer, 2)
    torch.testing.assert_close(saved, copied, rtol=0, atol=0)


@pytest.mark.parametrize(("first", "second"), [("torch", "gradus"), ("gradus", "torch"), ("gradus", "gradus")])
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_state_moves_between_torchs_and_ours(first: str, second: str, search: str | None) -> None:
    """A state saved by one is loaded by the other, and training goes on as if nothing had happened."""
    classes: dict[str, Callable[..., torch.optim.Optimizer]] = {"torch": torch.optim.LBFGS, "gradus": LBFGS}
    options = {"max_iter": 5, "line_search_fn": search, "lr": 0.5}
    whole, parted = Problem(), Problem()
    want = whole.losses(torch.optim.LBFGS(whole.net.parameters(), **options), 6)
    before = classes[first](parted.net.parameters(), **options)
    got = parted.losses(before, 3)
    after = classes[second](parted.net.parameters(), **options)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    assert got + parted.losses(after, 3) == pytest.approx(want, rel=1e-6)


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_loaded_state_goes_on_bit_for_bit(search: str | None, dtype: torch.dtype, steps: int) -> None:
    """A saved state goes on to the same bits, before and after the history is full."""
    whole, parted = Problem(dtype), Problem(dtype)
    options = {"max_iter": 4, "line_search_fn": search, "lr": 0.1, "history_size": 6}
    want = whole.losses(LBFGS(whole.net.parameters(), **options), 2 * steps)
    before = LBFGS(parted.net.parameters(), **options)
    got = parted.losses(before, steps)
    after = LBFGS(parted.net.parameters(), **options)
    after.load_state_dict(copy.deepcopy(before.state_dict()))
    assert got + parted.losses(after, steps) == want


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize("steps", [0, 2])
def test_a_copy_goes_on_bit_for_bit(copied: Callable[..., Any], steps: int) -> None:
    """A network and its optimizer, copied or pickled together, train on like the first, and leave it alone."""
    problem = Problem()
    optimizer = LBFGS(problem.net.parameters(), max_iter=4, history_size=6, line_search_fn="strong_wolfe")
    problem.losses(optimizer, steps)
    other, again = copied((problem, optimizer))
    assert other.losses(again, 3) == problem.losses(optimizer, 3)


def test_an_old_pickle_goes_on() -> None:
    """An optimizer pickled before its history had modules of its own takes the same next step as it did then."""
    point, optimizer = pickle.loads((Path(__file__).parent / "assets" / "lbfgs_0.pickle").read_bytes())
    (param,) = optimizer.param_groups[0]["params"]
    assert torch.equal(param, point)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (1 - param[0]) ** 2 + 100 * (param[1] - param[0] ** 2) ** 2
        loss.backward()
        return loss

    optimizer.step(closure)
    torch.testing.assert_close(param.detach(), torch.tensor([-1.4157015085220337, 2.0127391815185547]))


def test_products_of_an_older_state_are_not_taken() -> None:
    """A state that has been through torch's LBFGS, which passes on what it doesn't know, goes on from torch's history."""
    whole, parted = Problem(), Problem()
    options = {"max_iter": 3, "line_search_fn": "strong_wolfe", "history_size": 3}
    want = whole.losses(torch.optim.LBFGS(whole.net.parameters(), **options), 9)
    got = []
    state: dict[str, Any] | None = None
    for kind in (LBFGS, torch.optim.LBFGS, LBFGS):
        optimizer = kind(parted.net.parameters(), **options)
        if state is not None:
            optimizer.load_state_dict(state)
        got += parted.losses(optimizer, 3)
        state = copy.deepcopy(optimizer.state_dict())
    assert got == pytest.approx(want, rel=1e-6)


def test_hooks_may_look_at_the_state_and_load_another() -> None:
    """What a hook puts into a state is in what is saved, and what it gives instead of a state is what is loaded."""
    problem, same = Problem(), Problem()
    optimizer = LBFGS(problem.net.parameters(), max_iter=3)
    problem.losses(optimizer, 2)
    whole = copy.deepcopy(optimizer.state_dict())
    hook = optimizer.register_state_dict_pre_hook(lambda optimizer: optimizer.state.update(note=7))
    assert optimizer.state_dict()["state"]["note"] == 7
    hook.remove()
    same.net.load_state_dict(problem.net.state_dict())
    other = LBFGS(same.net.parameters())
    other.register_load_state_dict_pre_hook(lambda *_: whole)
    other.load_state_dict({"anything": "else"})
    assert same.losses(other, 2) == problem.losses(optimizer, 2)


def test_groups_are_one_vector_with_rates_of_their_own() -> None:
    """Several groups take the steps of one, and a group of rate 0 stands still."""
    one, many, frozen = Problem(), Problem(), Problem()
    want = one.losses(LBFGS(one.net.parameters(), lr=0.5), 3)
    got = many.losses(LBFGS([{"params": [param]} for param in many.net.parameters()], lr=0.5), 3)
    assert got == pytest.approx(want, rel=1e-9)
    still = frozen.net[0].weight.detach().clone()
    groups = [{"params": frozen.net[2].parameters()}, {"params": frozen.net[0].parameters(), "lr": 0.0}]
    losses = frozen.losses(LBFGS(groups, lr=0.5), 5)
    assert torch.equal(frozen.net[0].weight, still)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_rate_of_0_stands_still(search: str | None) -> None:
    """Whichever groups have the rate 0 stand still, the first one as well as the last, or all of them."""
    leading, trailing, whole = Problem(), Problem(), Problem()
    losses = []
    for problem, order in ((leading, 1), (trailing, -1)):
        first, *others = problem.net.parameters()
        before = first.detach().clone()
        groups = [{"params": [first], "lr": 0.0}, {"params": others}][::order]
        losses.append(problem.losses(LBFGS(groups, lr=0.5, line_search_fn=search), 3))
        assert torch.equal(first, before)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert losses[0][-1] < losses[0][0]
    losses = whole.losses(LBFGS(whole.net.parameters(), lr=0.0, line_search_fn=search), 3)
    assert losses[0] == losses[-1]


def test_a_group_that_comes_later_begins_the_history_anew() -> None:
    """Once a group is added, the vectors are longer, and the training goes on as one that begins there."""
    first, second = Problem(), Problem()
    params = [*first.net.parameters()]
    optimizer = LBFGS(params[1:], lr=0.1)
    first.losses(optimizer, 2)
    optimizer.add_param_group({"params": params[:1], "lr": 0.1})
    second.net.load_state_dict(first.net.state_dict())
    params = [*second.net.parameters()]
    again = LBFGS([{"params": params[1:]}, {"params": params[:1]}], lr=0.1)
    assert first.losses(optimizer, 3) == second.losses(again, 3)
    optimizer.load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"max_iter": 7}, "LBFGS has one max_iter for all groups, which is 20; got 7 for a group; give it to LBFGS itself"),
        ({"lr": -1.0}, r"lr must be a finite number that isn't negative; got -1\.0"),
        ({"max_itre": 5}, "LBFGS has no hyperparameter 'max_itre'; did you mean 'max_iter'"),
    ],
)
def test_groups_have_rates_of_their_own_and_nothing_else(group: dict[str, Any], message: str) -> None:
    """What a group says that no group can have is refused, when it is built with it and when it comes later."""
    one, other = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))
    with pytest.raises(InvalidInput, match=message):
        LBFGS([{"params": [one]}, {"params": [other], **group}])
    optimizer = LBFGS([one])
    with pytest.raises(InvalidInput, match=message):
        optimizer.add_param_group({"params": [other], **group})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state, _: state.clear(), "this is no optimizer's state: it must have 'state' and 'param_groups'"),
        (
            lambda state, _: state["param_groups"][0]["params"].pop(),
            r"must have groups of \[4\] parameters; it has groups of \[3\]",
        ),
        (
            lambda state, _: state["param_groups"][0].pop("max_eval"),
            "the saved state isn't of LBFGS: its groups have no 'max_eval'",
        ),
        (lambda state, _: state["param_groups"][0].update(lr=-1), "lr must be a finite number that isn't negative; got -1"),
        (
            lambda state, _: state["state"].update({1: {}}),
            "LBFGS keeps the state of all parameters with the first one; got one for 1 too",
        ),
        (lambda _, kept: kept.update(exp_avg=1), "the saved state isn't of LBFGS: it has 'exp_avg'; H_diag, al, "),
        (lambda _, kept: kept.update(n_iter=-1), "a saved n_iter is a count; got -1"),
        (lambda _, kept: kept.update(t=""), "a saved t must be a finite number; got ''"),
        (
            lambda _, kept: kept.pop("d"),
            "a saved state of LBFGS must have d, t, prev_flat_grad, or none of them; got t, prev_flat_grad",
        ),
        (
            lambda _, kept: kept.update(d=torch.ones(3)),
            r"the saved d must be a vector of \d+ real numbers; got one of shape \(3,\) and torch.float32",
        ),
        (lambda _, kept: kept.update(old_dirs=7), "the saved old_dirs must be a list of vectors; got 7"),
        (lambda _, kept: kept["old_dirs"].pop(), "the saved old_stps and old_dirs must be pairs; got 3 and 2"),
        (lambda _, kept: kept.update(products=[1]), r"the saved products must be a dict; got \[1\]"),
        (
            lambda _, kept: kept["products"].update(numbers=[[1.0]]),
            r"the saved products of 3 pairs must be 2 matrices and 2 vectors of as many numbers; got \[\[1\.0\]\]",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused(change: Callable[[Any, Any], None], message: str) -> None:
    """A damaged state, or another optimizer's, is refused with what is wrong, and the training goes on as it was."""
    problem, same = Problem(), Problem()
    options = {"max_iter": 3, "history_size": 6}
    optimizer, undisturbed = (LBFGS(one.net.parameters(), **options) for one in (problem, same))
    problem.losses(optimizer, 2)
    state = copy.deepcopy(optimizer.state_dict())
    change(state, state["state"][0])
    with pytest.raises(InvalidInput, match=message):
        optimizer.load_state_dict(state)
    assert problem.losses(optimizer, 2) == same.losses(undisturbed, 4)[2:]


def test_a_loss_that_is_no_number_is_stepped_back_from() -> None:
    """The line search takes NaN for a loss that is too high, and the parameters stay finite."""
    param = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = LBFGS([param], lr=100.0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (param - 4 * torch.log(param)).sum()  # beyond 0 there is no logarithm
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)
    assert param.item() == pytest.approx(4.0, rel=1e-4)


def test_damping_mends_pairs_of_negative_curvature() -> None:
    """Where the curvature is negative, pairs are left out, or damped to a fifth of what the model says, and kept."""

    def curvatures(damped: bool) -> list[float]:
        param = torch.nn.Parameter(torch.linspace(0.05, 0.1, 4, dtype=torch.float64))
        optimizer = LBFGS([param], lr=0.05, damped=damped, max_iter=6)

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = torch.cos(param).sum()  # at the top of its hill
            loss.backward()
            return loss

        optimizer.step(closure)
        return [1 / float(ro) for ro in optimizer.state_dict()["state"][0].get("ro", [])]

    assert curvatures(damped=False) == []
    assert len(curvatures(damped=True)) == 5
    assert all(curvature > 0 for curvature in curvatures(damped=True))


def test_complex_and_sparse_are_taken() -> None:
    """Complex parameters are pairs of real ones, and sparse gradients are made dense, as in torch."""
    torch.manual_seed(0)
    target = torch.randn(6, dtype=torch.complex128)
    param = torch.nn.Parameter(torch.zeros(6, dtype=torch.complex128))
    table = torch.nn.Embedding(5, 3, sparse=True)
    optimizer = LBFGS([param], line_search_fn="strong_wolfe")
    rows = LBFGS(table.parameters(), line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((param - target).abs() ** 2).sum()
        loss.backward()
        return loss

    def lookup() -> Tensor:
        rows.zero_grad()
        loss = ((table(torch.tensor([1, 3, 3])) - 1) ** 2).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    rows.step(lookup)
    torch.testing.assert_close(param.detach(), target)
    torch.testing.assert_close(table.weight[[1, 3]].detach(), torch.ones(2, 3), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, r"lr must be a finite number that isn't negative; got -1\.0"),
        ({"line_search_fn": "armijo"}, r"line_search_fn must be one of 'strong_wolfe', None; got 'armijo'"),
        ({"max_iter": 0}, r"max_iter must be a whole number from 1; got 0"),
        ({"max_eval": 2.5}, r"max_eval must be a whole number from 1; got 2\.5"),
        ({"tolerance_change": math.nan}, r"tolerance_change must be a number; got nan"),
        ({"damped": 1}, r"damped must be True or False; got 1"),
        ({"history_size": 0}, r"history_size must be a whole number from 1; got 0"),
    ],
)
def test_refused_with_a_reason(options: dict[str, Any], message: str) -> None:
    """What can't be is refused, with what must hold and what was given."""
    with pytest.raises(InvalidInput, match=message):
        LBFGS([torch.nn.Parameter(torch.ones(1))], **options)


def test_a_gradient_of_zeros_moves_nothing() -> None:
    """Where the gradient is nothing at all, a step that goes on regardless stays where it is."""
    point = torch.nn.Parameter(torch.ones(3))
    optimizer = gradus.optim.LBFGS([point], tolerance_grad=-math.inf)
    assert optimizer.step(lambda: torch.tensor([10.0])) == 10
    assert torch.equal(point, torch.ones(3))


def test_a_step_needs_its_closure() -> None:
    """Without a closure a step is refused."""
    with pytest.raises(InvalidInput, match="give it a closure"):
        gradus.optim.LBFGS([torch.nn.Parameter(torch.ones(1))]).step(None)
