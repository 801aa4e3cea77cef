"""L-BFGS: the inverse Hessian from the last steps, and a line search that is safe from NaN."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradus.backends.local import gathered, keep_part, local, part_of
from gradus.backends.pairs import Line, greatest
from gradus.errors import InvalidInput
from gradus.optim.history import History
from gradus.optim.optimizer import copied
from gradus.rules.fields import nonnegative

__all__ = ["LBFGS"]

_ENOUGH_DESCENT, _ENOUGH_FLATTENING = 1e-4, 0.9  # Nocedal and Wright's c₁ and c₂ for quasi-Newton directions
_TRIALS = 25  # of a line search


class LBFGS(torch.optim.Optimizer):
    """Limited-memory BFGS (Liu and Nocedal 1989), with a strong-Wolfe line search on request.

    θ ← θ + t·d, where d = −H∇f and H is the inverse Hessian that the last `history_size` pairs s = Δθ, y = Δ∇f say
    (Nocedal and Wright 2006, Algorithm 7.4). H is applied in the space that the pairs span (Chen et al. 2014), so that
    the history is read twice an iteration, whatever its size.

    Args:
        params: tensors, or groups of them. All are one vector; each group's own `lr` scales its part of the direction.
        lr: t without a line search, and the first t that a search tries.
        max_iter: iterations in one `step`.
        max_eval: evaluations of the closure in one `step`; 1.25 · max_iter by default.
        tolerance_grad: a greatest gradient element that counts as arrived.
        tolerance_change: a change of loss or of parameters that counts as none.
        history_size: how many pairs are kept, each twice the size of the parameters.
        line_search_fn: "strong_wolfe" (Nocedal and Wright 2006, Algorithms 3.5 and 3.6), or None.
        damped: whether pairs of little or negative curvature are mended (Powell 1978; Nocedal and Wright 2006, eq. 18.15)
            where they would be left out.

    Raises:
        InvalidInput: an argument out of its range, or a step without a closure.

    >>> point = torch.nn.Parameter(torch.tensor([-1.5, 2.0]))
    >>> def rosenbrock():
    ...     optimizer.zero_grad()
    ...     loss = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
    ...     loss.backward()
    ...     return loss
    >>> optimizer = LBFGS([point], line_search_fn="strong_wolfe", max_iter=100)
    >>> _ = optimizer.step(rosenbrock)
    >>> torch.allclose(point, torch.ones(2), atol=1e-3)
    True
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
        *,
        damped: bool = False,
    ) -> None:
        nonnegative("lr", lr)
        if line_search_fn not in (None, "strong_wolfe"):
            raise InvalidInput(f'line_search_fn must be "strong_wolfe" or None; got {line_search_fn!r}')
        if not (isinstance(history_size, int) and history_size > 0):
            raise InvalidInput(f"history_size must be a whole number above 0; got {history_size!r}")
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
            "damped": damped,
        }
        self._history: History | None = None
        self._free: list[Tensor] = []  # vectors that nothing needs any more; memory that is new costs as much as a pass
        super().__init__(copied(params), defaults)

    # The parameters as one vector

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _parts(self, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter with its part of a vector."""
        params = [_real(param) for param in self._params()]
        for param, part in zip(params, vector.split([param.numel() for param in params]), strict=True):
            yield param, part.view(param.shape)

    def _vector(self) -> Tensor:
        """A vector to write to."""
        if self._free:
            return self._free.pop()
        params = self._params()
        total = sum(_real(param).numel() for param in params)
        return torch.empty(total, dtype=params[0].real.dtype, device=params[0].device)

    def _gradient(self) -> Tensor:
        vector = self._vector()
        for param, (_, part) in zip(self._params(), self._parts(vector), strict=True):
            if param.grad is None:
                part.zero_()
            else:
                part.copy_(_real(param.grad.to_dense() if param.grad.is_sparse else gathered(param.grad)))
        return vector

    def _move(self, direction: Tensor, t: float) -> None:
        for param, part in self._parts(direction):
            local(param).add_(part_of(param, part), alpha=t)

    def _place(self) -> Tensor:
        return torch.cat([gathered(_real(param)).reshape(-1) for param in self._params()])

    def _put(self, place: Tensor) -> None:
        for param, part in self._parts(place):
            keep_part(param, part)

    def _scaled(self, line: Line, gradient: Tensor) -> Line:
        """A direction with each group's part scaled by its rate, relative to the first group's."""
        rates = [float(group["lr"]) for group in self.param_groups]
        if all(rate == rates[0] for rate in rates):
            return line
        begin = 0
        for group, rate in zip(self.param_groups, rates, strict=True):
            count = sum(_real(param).numel() for param in group["params"])
            line.direction[begin : begin + count] *= rate / rates[0]
            begin += count
        return Line.of(line.direction, gradient)

    # The iteration

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # torch's asks for one too
        """Up to `max_iter` iterations.

        Args:
            closure: clears the gradients, computes the loss and the gradients, and returns the loss.
        """
        if closure is None:
            raise InvalidInput("LBFGS evaluates the loss several times in a step; give it a closure that computes it")
        evaluate = torch.enable_grad()(closure)
        group, state = self.param_groups[0], self.state[self._params()[0]]
        history = self._history_of(state)
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = evaluate()
        loss, gradient = float(first), self._gradient()
        size = greatest(gradient)
        state["func_evals"] += 1
        evaluations = 1
        if not size > group["tolerance_grad"]:
            return first
        direction, t = state.get("d"), state.get("t")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            before = loss
            if direction is None or state["n_iter"] == 1:
                line = Line.of(torch.neg(gradient, out=self._vector()), gradient)
                t = float(group["lr"]) / max(1.0, float(gradient.abs().sum()))
            else:
                old = state["prev_flat_grad"]
                damped = group.get("damped", False)
                line = history.newton(direction, float(t), gradient, old, self._vector(), damped=damped)
                self._free += [direction] if old is gradient else [direction, old]
                t = float(group["lr"])
            line = self._scaled(line, gradient)
            direction = line.direction
            state.update(d=direction, t=t, prev_flat_grad=gradient, prev_loss=loss)
            if not line.slope <= -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] == "strong_wolfe":
                loss, gradient, t, used = self._searched(evaluate, line, t, loss, gradient)
                state["t"] = t
            else:
                self._move(direction, t)
                if iteration < group["max_iter"]:
                    loss, gradient, used = float(evaluate()), self._gradient(), 1
            if used:
                size = greatest(gradient)
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or not size > group["tolerance_grad"]
                or line.greatest * abs(t) <= group["tolerance_change"]
                or not abs(loss - before) >= group["tolerance_change"]
            ):
                break
        return first

    def _searched(
        self, evaluate: Callable[[], Any], line: Line, t: float, loss: float, gradient: Tensor
    ) -> tuple[float, Tensor, float, int]:
        """The loss, the gradient and t of a point that satisfies the strong Wolfe conditions, and the evaluations."""
        origin, here = self._place(), 0.0

        def go(t: float) -> None:
            nonlocal here
            if here not in (0.0, t):
                self._put(origin)
            if t not in (0.0, here):
                self._move(line.direction, t)
            here = t

        def at(t: float) -> "_Trial":
            go(t)
            value, there = float(evaluate()), self._gradient()
            return _Trial(t, value, there, float(there.dot(line.direction)))

        search = _Search(at, _Trial(0.0, loss, gradient, line.slope), line.greatest)
        found = search.run(t, self.param_groups[0]["tolerance_change"])
        go(found.t)
        return found.loss, found.gradient, found.t, search.evaluations

    # State, in torch's own form

    def _history_of(self, state: dict[str, Any]) -> History:
        if self._history is None:
            self._history = History(self.param_groups[0]["history_size"])
            torchs = {name: state.pop(name, None) for name in ("old_stps", "old_dirs", "ro", "al", "H_diag")}
            products = state.pop("products", {})
            if products.get("n_iter") != state.get("n_iter", 0):  # torch's LBFGS passes on those that it loads, grown old
                products = {}
            given = torchs["old_stps"] or [], torchs["old_dirs"] or []
            self._history.load(*given, state.get("prev_flat_grad"), products)
        return self._history

    def state_dict(self) -> dict[str, Any]:
        """The whole state, in the form of torch's LBFGS; and products of its vectors, with which it goes on bit for bit."""
        saved = super().state_dict()
        pairs, products = (self._history.as_lists(), self._history.products()) if self._history is not None else ({}, {})
        saved["state"] = {
            key: {**_cloned(kept), **pairs, **({"products": {"n_iter": kept["n_iter"], **products}} if products else {})}
            for key, kept in saved["state"].items()
        }
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state of this class or of torch's LBFGS."""
        self._history, self._free = None, []
        super().load_state_dict(state_dict)
        for param, kept in self.state.items():
            self.state[param] = _cloned(kept)
        for group in self.param_groups:
            group.setdefault("damped", False)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "history": self._history}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._history, self._free = state.pop("history", None), []
        super().__setstate__(state)


def _cloned(state: dict[str, Any]) -> dict[str, Any]:
    """A state whose vectors are its own, for they are written to again."""
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in state.items()}


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


class _Trial(NamedTuple):
    """A point on the line, and what was found there."""

    t: float
    loss: float
    gradient: Tensor
    slope: float


class _Search:
    """A line search for the strong Wolfe conditions; a loss that is no number counts as too high."""

    def __init__(self, at: Callable[[float], _Trial], origin: _Trial, size: float) -> None:
        self.at, self.origin, self.size = at, origin, size
        self.evaluations = 0

    def run(self, t: float, tolerance: float) -> _Trial:
        """The best point found; it satisfies the conditions unless the trials ran out."""
        low, high = self._bracket(t)
        return low if high is None else self._zoom(low, high, tolerance)

    def _try(self, t: float) -> _Trial:
        self.evaluations += 1
        return self.at(t)

    def _descends(self, trial: _Trial) -> bool:
        return trial.loss <= self.origin.loss + _ENOUGH_DESCENT * trial.t * self.origin.slope

    def _is_flat(self, trial: _Trial) -> bool:
        return abs(trial.slope) <= -_ENOUGH_FLATTENING * self.origin.slope

    def _bracket(self, t: float) -> tuple[_Trial, _Trial | None]:
        """Two points between which the conditions hold somewhere; or one where they do (Algorithm 3.5)."""
        before, trial = self.origin, self._try(t)
        for count in range(_TRIALS):
            if not self._descends(trial) or (count > 1 and trial.loss >= before.loss):
                return before, trial
            if self._is_flat(trial):
                return trial, None
            if trial.slope >= 0:
                return before, trial
            farther = _between(before, trial, trial.t + 0.01 * (trial.t - before.t), 10 * trial.t)
            before, trial = trial, self._try(farther)
        return self.origin, trial

    def _zoom(self, one: _Trial, other: _Trial, tolerance: float) -> _Trial:
        """Narrow two points down to one that satisfies the conditions (Algorithm 3.6); `low` is always the better."""
        low, high = (one, other) if one.loss <= other.loss or not other.loss < math.inf else (other, one)
        stalled = False
        while self.evaluations <= _TRIALS and abs(high.t - low.t) * self.size >= tolerance:
            left, right = sorted((low.t, high.t))
            t = _between(low, high, left, right)
            # A point close to an end says little: the second time, it is moved away from it.
            margin = 0.1 * (right - left)
            close = min(right - t, t - left) < margin
            if close and (stalled or not left < t < right):
                t = right - margin if right - t < t - left else left + margin
                close = False
            stalled = close
            trial = self._try(t)
            if not self._descends(trial) or trial.loss >= low.loss:
                high = trial
                if high.loss < low.loss:
                    low, high = high, low
                continue
            if self._is_flat(trial):
                return trial
            if trial.slope * (high.t - low.t) >= 0:
                high = low
            low = trial
        return low


def _between(a: _Trial, b: _Trial, lowest: float, highest: float) -> float:
    """The minimum of the cubic through two points with their slopes, within bounds (Nocedal and Wright 2006, eq. 3.59)."""
    if a.t > b.t:
        a, b = b, a
    d1 = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    square = d1 * d1 - a.slope * b.slope
    if not 0 <= square < math.inf:
        return (lowest + highest) / 2
    d2 = math.sqrt(square)
    denominator = b.slope - a.slope + 2 * d2
    if denominator == 0:
        return (lowest + highest) / 2
    return min(max(b.t - (b.t - a.t) * ((b.slope + d2 - d1) / denominator), lowest), highest)
