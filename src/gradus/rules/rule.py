"""`Rule`: an optimizer's update for one element, as a plain function whose signature says the rest."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints, overload

from gradus.checks import Check, finite, flag, nonnegative, several
from gradus.errors import InvalidInput

__all__ = ["Hyper", "Rule", "Scalar", "Shape", "matrix_rule", "rule"]

Shape = tuple[int, ...]
# A slot that holds one number for each tensor, such as NAdam's product of momenta; others are laid out like the parameter.
Scalar = Annotated[Any, "one number for each tensor"]
_NEVER_NEGATIVE = frozenset(("eps", "lr", "momentum", "weight_decay"))
# The shape of a slot, of its parameter's and the hyperparameters; None where the parameter has no such slot.
SlotShape = Callable[[Shape, Mapping[str, Any]], Shape | None]
_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@dataclass(frozen=True)
class Hyper:
    """A hyperparameter: its default, and the check that its annotation carries, or its name and default imply."""

    default: Any
    check: Check | None = None


class Rule:
    """An update rule: `(param, grad, *slots, step, **hyperparameters) -> (param, *slots)`.

    It is the function itself, and can be called as such: on floats, on NumPy arrays, on tensors, within other rules.

    Args:
        function: the update, in + - * /, comparisons and the names of `gradus.rules.ops`. What follows param and grad are
            its slots; what is named after a star, its hyperparameters, and `step`, the update's number from 1, if it asks.
        start: what slots hold before the first update: a number, or the name of a hyperparameter; 0 where none is given.
        shapes: for a rule of whole tensors, in torch's operations, which the reference backend alone can run: the shape of
            each slot that isn't the parameter's, as a function of that and of the hyperparameters; None where the parameter
            has no such slot.

    Raises:
        InvalidInput: the signature isn't a rule's, or a slot to start that there isn't.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        start: Mapping[str, float | str],
        shapes: Mapping[str, SlotShape] | None = None,
    ) -> None:
        parameters = inspect.signature(function).parameters
        hints = get_type_hints(function, include_extras=True)
        given = [name for name, parameter in parameters.items() if parameter.kind is not inspect.Parameter.KEYWORD_ONLY]
        named = [name for name in parameters if name not in given]
        if given[:2] != ["param", "grad"] or "step" in given or any(one.kind in _VARIADIC for one in parameters.values()):
            raise InvalidInput(
                f"a rule takes param, grad and its slots, then after a star its hyperparameters and step, each by name; "
                f"{function.__name__} takes {inspect.signature(function)}"
            )
        self.function, self.start = function, start
        self.needs_whole_tensor, self._shapes = shapes is not None, shapes or {}
        self.name, self.slots = function.__name__, tuple(given[2:])
        self.scalars = frozenset(slot for slot in self.slots if hints.get(slot) == Scalar)
        defaults = {name: parameters[name].default for name in named if name != "step"}
        self.hypers = {
            name: Hyper(default, _check_of(hints.get(name)) or _implied(name, default)) for name, default in defaults.items()
        }
        self.counts_steps = "step" in named
        if unknown := start.keys() - set(self.slots):
            raise InvalidInput(f"{self.name} has no slot {sorted(unknown)[0]!r} to start; it has {', '.join(self.slots)}")
        functools.update_wrapper(self, function)

    def with_defaults(self, name: str, checks: Mapping[str, Any], /, **defaults: Any) -> "Rule":
        """The same rule under another name, with other defaults.

        Args:
            name: the new rule's name.
            checks: other annotations of hyperparameters, by name; {} for none.
            defaults: the defaults that differ.

        >>> from gradus.rules.classical import sgd
        >>> sgd.with_defaults("heavy_ball", {}, momentum=0.9).hypers["momentum"].default
        0.9
        """

        def renamed(*args: Any, **hypers: Any) -> Any:
            return self.function(*args, **{**defaults, **hypers})

        signature = inspect.signature(self.function)
        if unknown := defaults.keys() - self.hypers.keys():
            raise InvalidInput(f"{self.name} has no hyperparameter {min(unknown)!r}; it has {', '.join(self.hypers)}")
        changed = [one.replace(default=defaults.get(one.name, one.default)) for one in signature.parameters.values()]
        functools.update_wrapper(renamed, self.function)
        renamed.__name__ = renamed.__qualname__ = name
        renamed.__annotations__ = {**self.function.__annotations__, **checks}
        renamed.__signature__ = signature.replace(parameters=changed)  # type: ignore[attr-defined]
        return Rule(renamed, self.start, self._shapes if self.needs_whole_tensor else None)

    def __call__(self, *args: Any, **hypers: Any) -> Any:
        return self.function(*args, **hypers)

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def updated(self, param: Any, grad: Any, slots: Mapping[str, Any], step: Any, hypers: Mapping[str, Any]) -> Any:
        """The new parameter, and the new slots by name; slots that aren't given hold None, and are expected to be unused."""
        counted = {"step": step} if self.counts_steps else {}
        new = self.function(param, grad, *(slots.get(name) for name in self.slots), **counted, **hypers)
        if not isinstance(new, tuple):
            new = (new,)
        if len(new) != 1 + len(self.slots):
            raise InvalidInput(
                f"{self.name} must return param and its {len(self.slots)} slots; it returned {len(new)} values"
            )
        return new[0], dict(zip(self.slots, new[1:], strict=True))

    def shape(self, slot: str, param: Shape, hypers: Mapping[str, Any]) -> Shape | None:
        """The shape of a slot, for a parameter of this shape; None where it has no such slot."""
        return self._shapes[slot](param, hypers) if slot in self._shapes else param

    def begun(self, slot: str, hypers: Mapping[str, Any]) -> float:
        """What a slot holds before the first update."""
        start = self.start.get(slot, 0.0)
        return float(hypers[start] if isinstance(start, str) else start)


def _check_of(hint: Any) -> Check | None:
    return next(iter(getattr(hint, "__metadata__", ())), None)


def _implied(name: str, default: Any) -> Check | None:
    """The check of a hyperparameter without one: what its name means everywhere, or that it is of its default's kind."""
    if name in _NEVER_NEGATIVE:
        return nonnegative
    if isinstance(default, bool):
        return flag
    if isinstance(default, (int, float)):
        return finite
    if isinstance(default, tuple) and all(isinstance(number, (int, float)) for number in default):
        return several(len(default))
    return None


@overload
def rule(function: Callable[..., Any], /) -> Rule: ...
@overload
def rule(**start: float | str) -> Callable[[Callable[..., Any]], Rule]: ...
def rule(function: Callable[..., Any] | None = None, /, **start: float | str) -> Any:
    """Make a rule of a function: `@rule`, or `@rule(slot=value)` where a slot doesn't start at 0.

    >>> @rule
    ... def sign_descent(param, grad, *, lr=0.01):
    ...     return param - lr * ops.sign(grad)
    >>> from gradus.rules import ops
    >>> sign_descent(1.0, -3.0)
    1.01
    """
    if function is not None:
        return Rule(function, {})
    return lambda function: Rule(function, start)


def matrix_rule(**shapes: SlotShape) -> Callable[[Callable[..., Any]], Rule]:
    """Make a rule of a function of whole tensors, in torch's operations; see `Rule` for `shapes`."""
    return lambda function: Rule(function, {}, shapes)
