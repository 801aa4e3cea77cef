"""`LBFGS`: the inverse Hessian from the last steps, and a line search that is safe from NaN."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gradus.backends.layout import paired, real
from gradus.backends.sharding import copy_shard, full_tensor, local, shard_of
from gradus.checks import flag, is_number, nonnegative, one_of, python_whole
from gradus.errors import InvalidInput
from gradus.optim import state_dicts
from gradus.optim.lbfgs.history import History
from gradus.optim.lbfgs.line_search import Search, Trial
from gradus.optim.lbfgs.state import loaded
from gradus.optim.lbfgs.vectors import Direction, max_abs
from gradus.optim.optimizer import GROUP_KEYS, copied, require_known

__all__ = ["LBFGS"]


def _tolerance(name: str, value: Any) -> None:
    """Any number: below 0 a tolerance never holds, and the iteration goes on."""
    if not is_number(value) or value != value:
        raise InvalidInput(f"{name} must be a number; got {value!r}")


_CHECKS = {
    "lr": nonnegative,
    "max_iter": python_whole,
    "max_eval": python_whole,
    "tolerance_grad": _tolerance,
    "tolerance_change": _tolerance,
    "history_size": python_whole,
    "line_search_fn": one_of("strong_wolfe", None),
    "damped": flag,
}


class LBFGS(torch.optim.Optimizer):
    """Limited-memory BFGS (Liu and Nocedal 1989), with a strong-Wolfe line search on request.

    θ ← θ + t·d, where d = −H∇f and H is the inverse Hessian given by the last `history_size` pairs s = Δθ, y = Δ∇f
    (Nocedal and Wright 2006, Algorithm 7.4). H is applied in the space that the pairs span (Chen et al. 2014), so that
    the history is read twice an iteration, whatever its size.

    Args:
        params: tensors, or groups of them. All are one vector; each group's own `lr` scales its part of the direction.
        lr: t without a line search, and the first t that a search tries.
        max_iter: iterations in one `step`.
        max_eval: evaluations of the closure in one `step`; 1.25 · max_iter by default.
        tolerance_grad: stop where no gradient element is larger in absolute value.
        tolerance_change: stop where the loss, or every parameter element, changes by less.
        history_size: the number of pairs kept, each twice the size of the parameters.
        line_search_fn: "strong_wolfe" (Nocedal and Wright 2006, Algorithms 3.5 and 3.6), or None.
        damped: whether to damp pairs of little or negative curvature (Powell 1978; Nocedal and Wright 2006, eq. 18.15)
            instead of skipping them.

    Raises:
        InvalidInput: an argument is out of its range, or a step gets no closure.

    Kept with the first parameter, for all: the pairs, d and t (the last step), prev_flat_grad, prev_loss, and the numbers of
    iterations and evaluations, n_iter and func_evals.

    Source: Liu and Nocedal 1989, "On the limited memory BFGS method for large scale optimization", Algorithm 2.1, and the
    references above.

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
        python_whole("max_iter", max_iter)
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
        self._free: list[Tensor] = []  # vectors to reuse: allocating one costs as much as a pass over it
        _check(defaults)
        super().__init__(copied(params), defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with its own rate if need be; the history starts anew, since its vectors lack the new parameters.

        Raises:
            InvalidInput: an argument is out of its range, or differs from the present groups'.
        """
        if isinstance(param_group, dict):  # torch refuses others with its own message
            self._check_group(param_group)
        super().add_param_group(param_group)
        self._history, self._free = None, []
        for kept in self.state.values():
            for name in ("d", "t", "prev_flat_grad"):
                kept.pop(name, None)

    def _check_group(self, added: Mapping[str, Any]) -> None:
        require_known("LBFGS", added.keys() - GROUP_KEYS, self.defaults)
        _check(added)
        for name in self.defaults.keys() & added.keys() - {"lr"}:
            known = (self.param_groups or [self.defaults])[0][name]
            if added[name] != known:
                raise InvalidInput(
                    f"LBFGS has one {name} for all groups, which is {known!r}; got {added[name]!r} for a group; "
                    f"give it to LBFGS itself"
                )

    # The parameters as one vector

    def _params(self) -> list[Tensor]:
        return [param for group in self.param_groups for param in group["params"]]

    def _parts(self, vector: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Each parameter with its part of a vector; complex numbers are pairs of real ones."""
        params = self._params()
        shapes = [real(param).shape for param in params]
        for param, shape, part in zip(params, shapes, vector.split([*map(math.prod, shapes)]), strict=True):
            yield param, part.view(shape)

    def _vector(self) -> Tensor:
        """An uninitialized vector of all parameters' elements."""
        if self._free:
            return self._free.pop()
        params = self._params()
        length = sum(real(param).numel() for param in params)
        return torch.empty(length, dtype=params[0].real.dtype, device=params[0].device)

    def _gradient(self) -> Tensor:
        vector = self._vector()
        for param, part in self._parts(vector):
            if param.grad is None:
                part.zero_()
            else:
                part.copy_(real(param.grad.to_dense() if param.grad.is_sparse else full_tensor(param.grad)))
        return vector

    def _move(self, direction: Tensor, t: float) -> None:
        for param, part in self._parts(direction):
            local(param).add_(shard_of(param, paired(part, param)), alpha=t)

    def _place(self) -> Tensor:
        return torch.cat([full_tensor(real(param)).reshape(-1) for param in self._params()])

    def _put(self, place: Tensor) -> None:
        for param, part in self._parts(place):
            copy_shard(param, paired(part, param))

    def _scaled(self, line: Direction, gradient: Tensor) -> Direction:
        """The direction with each group's part scaled by its rate over the common one."""
        common = self._rate()
        scales = [float(group["lr"]) / common for group in self.param_groups]
        if all(scale == 1 for scale in scales):
            return line
        counts = [sum(real(param).numel() for param in group["params"]) for group in self.param_groups]
        for part, scale in zip(line.vector.split(counts), scales, strict=True):
            part *= scale
        return Direction.of(line.vector, gradient)

    def _rate(self) -> float:
        """The common rate: the first group's that isn't 0; 0 if all are."""
        return next((rate for group in self.param_groups if (rate := float(group["lr"])) > 0), 0.0)

    # The iteration

    @torch.no_grad()
    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]  # torch's asks for one too
        """Up to `max_iter` iterations.

        Args:
            closure: clears the gradients, computes the loss and the gradients, and returns the loss.
        """
        if closure is None:
            raise InvalidInput("LBFGS evaluates the loss several times in a step; give it a closure that computes it")
        for group in self.param_groups:
            _check(group)
        evaluate = torch.enable_grad()(closure)
        group, state = self.param_groups[0], self.state[self._params()[0]]
        if self._history is None:
            self._history = History(group["history_size"])
        history = self._history
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)
        first = evaluate()
        loss, gradient = float(first), self._gradient()
        size = max_abs(gradient)
        state["func_evals"] += 1
        evaluations = 1
        if not size > group["tolerance_grad"] or self._rate() == 0:
            return first
        direction, t = state.get("d"), state.get("t")
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            before = loss
            if direction is None or state["n_iter"] == 1:
                line = Direction.of(torch.neg(gradient, out=self._vector()), gradient)
                t = self._rate() / max(1.0, float(gradient.abs().sum()))
            else:
                old = state["prev_flat_grad"]
                damped = group["damped"]
                line = history.direction(direction, float(t), gradient, old, self._vector(), damped=damped)
                self._free += [direction] if old is gradient else [direction, old]
                t = self._rate()
            line = self._scaled(line, gradient)
            direction = line.vector
            state.update(d=direction, t=t, prev_flat_grad=gradient, prev_loss=loss)
            if not line.slope <= -group["tolerance_change"]:
                break
            used = 0
            if group["line_search_fn"] == "strong_wolfe":
                left = group["max_eval"] - evaluations
                loss, gradient, t, used = self._searched(evaluate, line, t, loss, gradient, left)
                state["t"] = t
            else:
                self._move(direction, t)
                if iteration < group["max_iter"]:
                    loss, gradient, used = float(evaluate()), self._gradient(), 1
            if used:
                size = max_abs(gradient)
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or not size > group["tolerance_grad"]
                or line.largest * abs(t) <= group["tolerance_change"]
                or not abs(loss - before) >= group["tolerance_change"]
            ):
                break
        return first

    def _searched(
        self, evaluate: Callable[[], Any], line: Direction, t: float, loss: float, gradient: Tensor, most: int
    ) -> tuple[float, Tensor, float, int]:
        """Loss, gradient and t at a point that satisfies the strong Wolfe conditions, and the number of evaluations.

        After `most` evaluations beyond the first, it is the best point so far.
        """
        origin, here = self._place(), 0.0

        def go(t: float) -> None:
            nonlocal here
            if here not in (0.0, t):
                self._put(origin)
            if t not in (0.0, here):
                self._move(line.vector, t)
            here = t

        def at(t: float) -> "Trial":
            go(t)
            value, there = float(evaluate()), self._gradient()
            return Trial(t, value, there, float(there.dot(line.vector)))

        search = Search(at, Trial(0.0, loss, gradient, line.slope), line.largest, most)
        found = search.run(t, self.param_groups[0]["tolerance_change"])
        go(found.t)
        return found.loss, found.gradient, found.t, search.evaluations

    # State, in torch's own form

    def state_dict(self) -> dict[str, Any]:
        """The whole state in the form of torch's LBFGS, plus the vectors' products, with which it resumes bit for bit."""
        saved = super().state_dict()
        kept = saved["state"].get(0)  # the first parameter's holds that of all
        if kept is not None:
            whole = {name: value.clone() if isinstance(value, Tensor) else value for name, value in kept.items()}
            if self._history is not None:
                whole.update(self._history.as_lists(), products={"n_iter": kept["n_iter"], **self._history.products()})
            saved["state"][0] = whole
        return saved

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Load a state of this class or of torch's LBFGS, with the same number of groups and parameters in each.

        Raises:
            InvalidInput: it is another optimizer's state, or doesn't fit these parameters. Nothing is changed.
        """
        state_dicts.between_hooks(self, state_dict, self._load)

    def _load(self, given: Mapping[str, Any]) -> None:
        groups, params = state_dicts.saved_groups(given), self._params()
        here, there = ([len(group["params"]) for group in some] for some in (self.param_groups, groups))
        if here != there:
            raise InvalidInput(f"the saved state must have groups of {here} parameters; it has groups of {there}")
        for group in groups:
            if missing := sorted(_CHECKS.keys() - group.keys() - {"damped"}):  # torch's LBFGS has none
                raise InvalidInput(f"the saved state isn't of LBFGS: its groups have no {missing[0]!r}")
            _check(group)
        first = next(param for group in groups for param in group["params"])
        if others := sorted(map(str, given["state"].keys() - {first})):
            raise InvalidInput(f"LBFGS keeps the state of all parameters with the first one; got one for {others[0]} too")
        kept, size = given["state"].get(first, {}), groups[0]["history_size"]
        state, history = loaded(kept, size, self._vector())
        for group, saved in zip(self.param_groups, groups, strict=True):
            state_dicts.fill(group, {"damped": False, **saved})
        self._history, self._free = history, []
        self.state = defaultdict(dict, {params[0]: state} if given["state"] else {})

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "history": self._history}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._history, self._free = state.pop("history", None), []
        super().__setstate__(state)


def _check(options: Mapping[str, Any]) -> None:
    for name, check in _CHECKS.items():
        if name in options:
            check(name, options[name])
