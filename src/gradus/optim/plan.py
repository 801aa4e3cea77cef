"""`Plan`: which backend updates which tensors of an optimizer; made once, and valid until something changes."""

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gradus.backends import BACKENDS, choose_backend, kind_of, make_batch
from gradus.backends.layout import has_memory, overlapping
from gradus.backends.sharding import local
from gradus.backends.tensor_group import TensorGroup
from gradus.errors import InvalidInput
from gradus.optim.state_watch import StateWatch
from gradus.rules import ops
from gradus.rules.rule import Rule

__all__ = ["Plan", "empty_slot", "used_slots"]

_WIDE = {torch.bfloat16: torch.float32, torch.float16: torch.float32}


class Plan:
    """The batches of an optimizer's tensors.

    Args:
        rule_for: the rule that updates a parameter of a group.
        groups: the parameter groups.
        state: the optimizer's state; slots are made when they are first needed.
        backend: the one to use, or "auto".
        scaled: whether gradients are multiplied by a factor as they are read.
        stochastic: whether parameters in half precision are rounded stochastically.
        bound: the absolute value that gradients' elements are clipped to, if any.

    Raises:
        InvalidInput: a gradient doesn't fit its parameter, or the backend doesn't support a tensor.
    """

    # Without a __dict__, so that tools which save and restore objects' attributes leave it alone: it follows from the state.
    __slots__ = (
        "_groups",
        "_idle",
        "_scale",
        "_scaled",
        "_state",
        "batches",
        "bound",
        "capturable",
        "largest_norm",
        "rows",
        "watch",
    )

    def __init__(
        self,
        rule_for: Callable[[Tensor, Mapping[str, Any]], Rule],
        groups: Sequence[dict[str, Any]],
        state: Mapping[Tensor, dict[str, Any]],
        backend: str,
        *,
        scaled: bool,
        stochastic: bool,
        bound: float | None,
    ) -> None:
        self._groups = [(group, group["params"], list(group["params"])) for group in groups]
        self._state, self._scaled, self.bound = state, scaled, bound
        self.watch: StateWatch | None = None
        self._scale: Any = None  # of the last update
        self.capturable = any(group["capturable"] for group in groups)
        rows: dict[Any, TensorGroup] = {}
        self._idle: list[Tensor] = []
        alone = _sharing_memory(groups)
        for index, group in enumerate(groups):
            for param in group["params"]:
                if param.grad is None:
                    self._idle.append(param)
                    continue
                _check_gradient(param)
                rule, kept = rule_for(param, group), state[param]
                step, scalars = int(kept.get("step", 0)), _scalars(rule, group, kept)
                chosen = choose_backend(rule, param, backend)
                if group["capturable"] and not BACKENDS[chosen].capturable:
                    raise _not_capturable(rule, param)
                key = (index, rule, step, *scalars.values(), alone.get(param), chosen, kind_of(param))
                row = rows.setdefault(key, TensorGroup(rule, group, step, scalars, bound))
                row.params.append(param)
                row.states.append(kept)
        together: defaultdict[Any, list[TensorGroup]] = defaultdict(list)
        for (*_, turn, chosen, kind), row in rows.items():
            program = row.program(1.0 if scaled else None)
            for param, kept in zip(row.params, row.states, strict=True):
                _make_slots(row.rule, program.slots, param, kept, row.param_group)
            together[turn, chosen, program, kind, row.param_group["capturable"]].append(row)
        self.rows = list(rows.values())
        _count_on_device(
            [row for row in self.rows if row.param_group["capturable"]], [state.get(param, {}) for param in self._idle]
        )
        # Up to this norm the squares of gradients, which most rules keep, and their sums are finite.
        wide = [_WIDE.get(row.params[0].dtype, row.params[0].dtype) for row in self.rows]
        self.largest_norm = min((torch.finfo(dtype).max ** 0.5 for dtype in wide), default=float("inf"))
        self.batches = [
            make_batch(chosen, rows, program, stochastic=stochastic) for (_, chosen, program, *_), rows in together.items()
        ]

    def is_current(self, groups: Sequence[dict[str, Any]], scaled: bool) -> bool:
        """Whether the plan still fits; binds the gradients."""
        if (scaled and not self._scaled) or len(groups) != len(self._groups):
            return False
        watch = self.watch
        if watch is not None and watch.is_watched and not watch.is_as_left():
            return False
        for group, (known, params, members) in zip(groups, self._groups, strict=True):
            now = group["params"]
            if (
                group is not known
                or now is not params
                or len(now) != len(members)
                or not all(map(operator.is_, now, members))
            ):
                return False
        for param in self._idle:
            if param.grad is not None:
                return False
        for batch in self.batches:  # noqa: SIM110 - a generator would be a good part of a step
            if not batch.is_current():
                return False
        return True

    def norm(self) -> Any:
        """The norm of all gradients together."""
        return ops.sqrt(sum(batch.squares() for batch in self.batches))

    def prepare(self, scale: Any) -> bool:
        """Compute the step's constants; whether the plan was made for them. Nothing is changed yet."""
        if scale is None and self._scaled:
            scale = 1.0
        self._scale = scale
        for batch in self.batches:  # noqa: SIM110 - as above
            if not batch.prepare(scale):
                return False
        return True

    def update(self) -> None:
        """One update of every tensor."""
        for batch in self.batches:
            batch.update()
        watch = self.watch
        if watch is not None and watch.is_watched:
            watch.catch_up()

    def as_read(self, grad: Tensor) -> Tensor:
        """A gradient as the last update read it: scaled and clipped."""
        scaled = grad if self._scale is None else grad * self._scale
        return scaled if self.bound is None else scaled.clamp(-self.bound, self.bound)

    @property
    def is_watched(self) -> bool:
        """Whether somebody may hold the state."""
        return self.watch is not None and self.watch.is_watched

    def show(self) -> None:
        """Show the steps and scalar slots in the state, from now on for as long as anybody holds it."""
        if self.watch is None:
            self.watch = StateWatch(self._state, self.rows)
        else:
            self.watch.look()

    def sync_state(self) -> None:
        """Write the steps and the scalar slots into the tensors' states, unless they are there."""
        if self.watch is None:
            for row in self.rows:
                row.write_back()
        elif not self.watch.is_watched:
            self.watch.catch_up()


def _sharing_memory(groups: Sequence[Mapping[str, Any]]) -> dict[Tensor, int]:
    """A number for each parameter that shares memory with an earlier one: they must be updated one after another."""
    params = [param for group in groups for param in group["params"] if param.grad is not None]
    strided = [param for param in params if has_memory(local(param))]
    return {strided[place]: place for place in overlapping([*map(local, strided)])}


def empty_slot(rule: Rule, slot: str, param: Tensor, hypers: Mapping[str, Any]) -> Tensor | None:
    """An empty slot in the parameter's memory format, single precision for half; None if it has no such slot."""
    shape, dtype = rule.shape(slot, tuple(param.shape), hypers), _WIDE.get(param.dtype, param.dtype)
    if shape is None:
        return None
    return torch.empty_like(param, dtype=dtype) if shape == param.shape else param.new_empty(shape, dtype=dtype)


def _scalars(rule: Rule, group: Mapping[str, Any], kept: Mapping[str, Any]) -> dict[str, Any]:
    begun = [name for name in rule.slots if name in rule.scalars]
    return {name: _scalar(kept[name], group) if name in kept else rule.begun(name, group) for name in begun}


def _scalar(value: Any, group: Mapping[str, Any]) -> Any:
    """A number; or a tensor of one element if autograd is to follow it."""
    return value if group["differentiable"] and isinstance(value, Tensor) else float(value)


def _make_slots(rule: Rule, slots: Sequence[str], param: Tensor, kept: dict[str, Any], group: Mapping[str, Any]) -> None:
    kept.setdefault("step", 0)
    for name in slots:
        if kept.get(name) is None:
            if (slot := empty_slot(rule, name, param, group)) is not None:
                kept[name] = _begun(slot, rule, name, group)
        elif not _fits(kept[name], rule, name, param, group):
            kept[name] = _laid_out(kept[name], rule, name, param, group)


def _begun(slot: Tensor, rule: Rule, name: str, group: Mapping[str, Any]) -> Tensor:
    """Fill a slot with its value before the first update."""
    start, most = rule.begun(name, group), torch.finfo(slot.dtype).max
    if not abs(start) <= most:
        raise InvalidInput(
            f"{rule.name}'s {name} starts at {start:g}, its {rule.start[name]}; {slot.dtype} holds {most:g} at most"
        )
    # Both parts of a complex number start at this value: they are updated separately.
    (torch.view_as_real(slot) if slot.is_complex() else slot).fill_(start)
    return slot


def used_slots(rule: Rule, param: Tensor, group: Mapping[str, Any]) -> list[str]:
    """The slots that the rule uses for a parameter with a group's hyperparameters."""
    scalars = {name: rule.begun(name, group) for name in rule.slots if name in rule.scalars}
    used = TensorGroup(rule, {**group, "capturable": False}, 0, scalars).program(None).slots
    return [*(name for name in used if rule.shape(name, tuple(param.shape), group) is not None), *scalars]


def _fits(slot: Tensor, rule: Rule, name: str, param: Tensor, group: Mapping[str, Any]) -> bool:
    """Whether a slot has the dtype, device, shape and strides of a new one."""
    dtype, device = _WIDE.get(param.dtype, param.dtype), param.device
    shape = rule.shape(name, tuple(param.shape), group)
    if slot.dtype != dtype or slot.device != device or slot.shape != shape:
        return False
    # A slot of another shape than its parameter's is read by torch's operations, whatever its strides.
    return slot.shape != param.shape or (
        slot.stride() == param.stride() or slot.stride() == torch.empty_like(param, device="meta").stride()
    )


def _laid_out(slot: Tensor, rule: Rule, name: str, param: Tensor, group: Mapping[str, Any]) -> Tensor:
    """Copy a slot to its parameter's dtype, device and memory format, which have changed."""
    new = empty_slot(rule, name, param, group)
    if new is None or new.shape != slot.shape:
        raise InvalidInput(
            f"the state's {name} must have the shape that its parameter of shape {tuple(param.shape)} and the group's "
            f"hyperparameters give it; got {tuple(slot.shape)}; load states by load_state_dict, which says what doesn't "
            f"fit; hyperparameters that decide on shapes can't be changed between updates"
        )
    return new.copy_(slot)


def _not_capturable(rule: Rule, param: Tensor) -> InvalidInput:
    why = "is a rule of whole matrices" if rule.needs_whole_tensor else f"has a {param.dtype} parameter on {param.device}"
    return InvalidInput(
        f"capturable=True takes the CUDA backend, which needs Triton, and dense parameters and gradients on a GPU; "
        f"{rule.name} {why}, which it doesn't support; leave capturable out"
    )


def _count_on_device(rows: Sequence[TensorGroup], idle: Sequence[Mapping[str, Any]]) -> None:
    """Make steps and scalar slots tensors in the states, shared within a row.

    Present tensors are kept, because a captured graph refers to them.
    """
    taken = {id(value) for kept in idle for value in kept.values()}
    for row in rows:
        known = {"step": row.step, **row.scalars}
        found = {name: row.states[0].get(name) for name in known}
        for name, number in known.items():
            tensor = found[name]
            there = isinstance(tensor, Tensor) and tensor.dtype == torch.float64 and tensor.device == row.params[0].device
            if not there or id(tensor) in taken:
                tensor = torch.full((), number, dtype=torch.float64, device=row.params[0].device)
            taken.add(id(tensor))
            known[name] = tensor
        row.step = known.pop("step")
        row.scalars = known
        row.write_back()


def _check_gradient(param: Tensor) -> None:
    grad = param.grad
    assert grad is not None
    if grad.shape != param.shape or grad.device != param.device:
        raise InvalidInput(
            f"a gradient must have its parameter's shape and device, {tuple(param.shape)} on {param.device}; "
            f"got {tuple(grad.shape)} on {grad.device}; run backward again after changing a parameter"
        )
