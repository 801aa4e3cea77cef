"""What a rule does, found by running it once on stand-ins: the program that kernels are made from.

Everything that depends on hyperparameters and the step alone is arithmetic of the step: it is done once per step, in
double precision, by `Program.numbers`. The rest is done for each element, by a kernel. A condition on a hyperparameter
(`if momentum != 0`) is decided here, and the program says for which outcome it was made.
"""

import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from gradus.checks import as_float
from gradus.errors import InvalidInput
from gradus.rules import ops
from gradus.rules.rule import Rule

__all__ = ["NORM", "Node", "Program", "Stage", "flattened", "trace"]

_REDUCTIONS = {"norm", "mean"}
_COMPARED = {"<", "<=", ">", ">=", "==", "!="}


@dataclass(frozen=True)
class Node:
    """One operation on elements; its arguments are elements, or numbers of the step, by name."""

    name: str
    op: str
    args: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Stage:
    """What is done with each element for norms and means over its tensor, which are known before the next stage.

    Args:
        reads: the tensors that it reads, with the names of their elements.
        nodes: the operations, in order.
        results: the norms and means, each of the elements that its argument names.
    """

    reads: Mapping[str, str]
    nodes: tuple[Node, ...]
    results: tuple[Node, ...]


NORM = Stage({"grad": "grad_i"}, (), (Node("norm", "norm", ("grad_i",)),))  # the gradient's, as clipping needs it


@dataclass(frozen=True, eq=False)
class Program:
    """A rule as elementwise operations in order.

    Args:
        stages: what is done before, where the rule has norms or means of tensors.
        reads: the tensors that it reads, "param", "grad" or a slot, with the names of their elements.
        nodes: the operations, in order.
        writes: the tensors that it writes, with the names of their new elements.
        arguments: the names of the numbers of the step that the nodes use, those of the stages too.
        numbers: `(step, *hyperparameters, *scalar slots) -> (arguments, new scalar slots)`, on floats or on arrays of them;
            None where a condition comes out otherwise than in this program.
    """

    stages: tuple[Stage, ...]
    reads: Mapping[str, str]
    nodes: tuple[Node, ...]
    writes: Mapping[str, str]
    arguments: tuple[str, ...]
    numbers: Callable[..., Any]

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that it reads or writes."""
        stages = [name for stage in self.stages for name in stage.reads]
        return tuple(name for name in dict.fromkeys([*stages, *self.reads, *self.writes]) if name not in ("param", "grad"))

    @property
    def reduced(self) -> tuple[str, ...]:
        """The names of the norms and means, stage by stage."""
        return tuple(node.name for stage in self.stages for node in stage.results)


class _Tape:
    """What has been done so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.lines: list[str] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def number(self, text: str, value: Any) -> "_Number":
        """A number of the step, kept under a name of its own."""
        name = self.name("n")
        self.lines.append(f"{name} = {text}")
        return _Number(self, name, value)

    def argument(self, value: Any) -> str:
        """The name of an operand; plain numbers are numbers of the step too."""
        if isinstance(value, (_Element, _Number)):
            return value.name
        if not isinstance(value, Real):
            raise InvalidInput(f"a rule calculates with numbers and elements, and returns them; got {value!r}")
        return self.number(repr(float(value)), float(value)).name

    def element(self, op: str, *operands: Any) -> "_Element":
        arguments = tuple(self.argument(operand) for operand in operands)
        node = Node(self.name("x"), op, arguments)
        self.nodes.append(node)
        return _Element(self, node.name)


def _infix(symbol: str, function: Callable[[Any, Any], Any], *, swapped: bool = False) -> Any:
    def method(self: Any, other: Any) -> Any:
        a, b = (other, self) if swapped else (self, other)
        return _applied(symbol, function, a, b)

    return method


class _Traced:
    """A stand-in that notes what is done with it."""

    def __init__(self, tape: _Tape, name: str) -> None:
        self.tape, self.name = tape, name

    __add__, __radd__ = _infix("+", operator.add), _infix("+", operator.add, swapped=True)
    __sub__, __rsub__ = _infix("-", operator.sub), _infix("-", operator.sub, swapped=True)
    __mul__, __rmul__ = _infix("*", operator.mul), _infix("*", operator.mul, swapped=True)
    __truediv__, __rtruediv__ = _infix("/", operator.truediv), _infix("/", operator.truediv, swapped=True)
    __lt__, __le__, __gt__, __ge__ = (
        _infix("<", operator.lt),
        _infix("<=", operator.le),
        _infix(">", operator.gt),
        _infix(">=", operator.ge),
    )
    __eq__, __ne__ = _infix("==", operator.eq), _infix("!=", operator.ne)
    __hash__ = object.__hash__

    def __neg__(self) -> Any:
        return 0.0 - self if isinstance(self, _Number) else self.tape.element("neg", self)

    def __pos__(self) -> Any:
        return self

    def __pow__(self, exponent: Any) -> Any:
        return _TRACES.power(self, exponent)

    def __rpow__(self, base: Any) -> Any:
        return _TRACES.power(base, self)


class _Element(_Traced):
    """A tensor's element."""

    def __bool__(self) -> bool:
        raise InvalidInput(
            "a rule can't branch on an element, which differs within a tensor; use ops.where(condition, a, b)"
        )

    def __float__(self) -> float:
        raise InvalidInput("a rule can't make a Python number of an element; it is plain arithmetic and gradus.rules.ops")


class _Number(_Traced):
    """A number of the step: its value in this run, and its name in the program."""

    def __init__(self, tape: _Tape, name: str, value: Any) -> None:
        super().__init__(tape, name)
        self.value = value

    def __bool__(self) -> bool:
        outcome = bool(self.value)
        condition = (
            self.name if isinstance(self.value, (bool, np.bool_)) else f"{self.name} != 0"
        )  # `if decay:` asks a number
        # Of floats it is True or False itself; of arrays and tensors `held` looks at every row.
        self.tape.lines.append(f"if ({condition}) is not {outcome} and not held({condition}, {outcome}): return None")
        return outcome

    def __float__(self) -> float:
        raise InvalidInput("a rule can't fix a hyperparameter as a Python number; it may change from step to step")


def _tape_of(*operands: Any) -> _Tape:
    return next(operand.tape for operand in operands if isinstance(operand, _Traced))


def _text(operand: Any) -> str:
    if isinstance(operand, _Number):
        return operand.name
    return repr(operand if isinstance(operand, int) else float(operand))  # NumPy writes its numbers otherwise


def _applied(symbol: str, function: Callable[..., Any], a: Any, b: Any) -> Any:
    if not all(isinstance(operand, (_Traced, Real)) for operand in (a, b)):
        return NotImplemented
    tape = _tape_of(a, b)
    if isinstance(a, _Element) or isinstance(b, _Element):
        return tape.element(symbol, a, b)
    return tape.number(f"{_text(a)} {symbol} {_text(b)}", function(*map(_value, (a, b))))


def _value(operand: Any) -> Any:
    return operand.value if isinstance(operand, _Number) else operand


def _called(name: str) -> Callable[..., Any]:
    def call(*operands: Any) -> Any:
        tape = _tape_of(*operands)
        if any(isinstance(operand, _Element) for operand in operands):
            if name == "where" and not any(isinstance(operand, _Element) for operand in operands[1:]):
                raise InvalidInput(
                    "ops.where must choose between two values of which one is an element, not between numbers"
                )
            return tape.element(name, *operands)
        value = getattr(ops, name)(*map(_value, operands))
        return tape.number(f"ops.{name}({', '.join(map(_text, operands))})", value)

    return call


class _Traces:
    """`gradus.rules.ops` for stand-ins."""

    sqrt, exp, log, abs, sign = (staticmethod(_called(name)) for name in ("sqrt", "exp", "log", "abs", "sign"))
    maximum, minimum, where = (staticmethod(_called(name)) for name in ("maximum", "minimum", "where"))

    @staticmethod
    def norm(x: Any) -> Any:
        return _called("norm" if isinstance(x, _Element) else "abs")(x)

    @staticmethod
    def mean(x: Any) -> Any:
        return _called("mean")(x) if isinstance(x, _Element) else x

    @staticmethod
    def power(x: Any, exponent: Any) -> Any:
        if not isinstance(x, _Element) and not isinstance(exponent, _Element):
            return _applied("**", operator.pow, x, exponent)
        if not isinstance(x, _Element) or type(exponent) is not int or not 1 <= exponent <= 4:
            return _called("power")(x, exponent)
        product = x
        for _ in range(exponent - 1):
            product = product * x
        return product


_TRACES = _Traces()
ops.register(_Traced, _TRACES)


def flattened(hypers: Mapping[str, Any]) -> tuple[list[float], tuple[Any, ...]]:
    """Hyperparameters as the numbers among them, in order, and the rest, which a program is made for."""
    numbers: list[float] = []
    fixed: list[Any] = []
    for name, value in hypers.items():
        if _is_number(value):
            numbers.append(value)
        elif isinstance(value, (tuple, list)) and all(map(_is_number, value)):
            numbers.extend(value)
            fixed.append((name, len(value)))
        else:
            fixed.append((name, value))
    return numbers, tuple(fixed)


def _is_number(value: Any) -> bool:
    return hasattr(value, "__float__") and not isinstance(value, (bool, str))


def trace(
    rule: Rule,
    hypers: Mapping[str, Any],
    step: float,
    scalars: Mapping[str, float],
    *,
    scaled: bool = False,
    bounded: bool = False,
) -> Program:
    """The program of a rule, for these hyperparameters and what else has the same outcome of its conditions.

    Args:
        rule: the rule.
        hypers: its hyperparameters, by name.
        step: the number of the update, from 1.
        scalars: what its scalar slots hold.
        scaled: whether gradients are multiplied by one more number of the step, which comes after the others.
        bounded: whether they are clipped to one more number of the step, from above and below, which comes last.

    Raises:
        InvalidInput: the rule does something that no program can be made of; the message says what.
    """
    if rule.of_tensors:
        return Program((), {slot: slot for slot in rule.slots}, (), {}, (), _no_numbers)
    tape = _Tape()
    names: list[str] = []

    def number(name: str, value: Any) -> _Number:
        names.append(name)
        return _Number(tape, name, as_float(value))

    def stand_in(name: str, value: Any) -> Any:
        if _is_number(value):
            return number(f"{name}_t", value)
        if isinstance(value, (tuple, list)) and all(map(_is_number, value)):
            return tuple(number(f"{name}_t{index}", member) for index, member in enumerate(value))
        return value

    # What a rule calls its slots and hyperparameters must not be what a program or a kernel calls something of its own,
    # such as x1: so elements are called exp_avg_i, and numbers of the step lr_t.

    counted = number("step", step)
    given = {name: stand_in(name, value) for name, value in hypers.items()}
    elements = {name: _Element(tape, f"{name}_i") for name in ("param", "grad", *rule.slots) if name not in rule.scalars}
    slots = {name: stand_in(name, scalars[name]) if name in rule.scalars else elements[name] for name in rule.slots}
    grad = elements["grad"]
    grad = grad * number("grad_scale", 1.0) if scaled else grad
    if bounded:
        bound = number("grad_bound", math.inf)
        grad = ops.minimum(ops.maximum(grad, -bound), bound)
    try:
        param, new = rule.updated(elements["param"], grad, slots, counted, given)
    except (TypeError, AttributeError) as error:
        raise InvalidInput(
            f"{rule.name} does what no kernel can be made of: {error}. A rule is + - * /, comparisons and the names in "
            f"gradus.rules.ops; one in torch's operations is made by gradus.rules.matrix_rule"
        ) from error
    after = {"param": param, **{name: value for name, value in new.items() if name not in rule.scalars}}
    writes = {name: tape.argument(value) for name, value in after.items() if value is not elements[name]}
    inputs = {name: element.name for name, element in elements.items()}
    ends = set(writes.values())
    stages, nodes = _stages(tape.nodes, ends, inputs), _needed(tape.nodes, ends)
    every = [*nodes, *(node for stage in stages for node in (*stage.nodes, *stage.results))]
    numbered = {argument for node in every for argument in node.args} | ends
    numbered -= {node.name for node in every} | set(inputs.values())
    arguments = tuple(sorted(numbered, key=lambda name: (len(name), name)))
    kept = [_text(new[name]) for name in rule.slots if name in rule.scalars]
    body = [*tape.lines, f"return ({_listed(arguments)}), ({_listed(kept)})"]
    source = "\n    ".join([f"def numbers({', '.join(names)}):", *body])
    return Program(stages, _reads(inputs, nodes, ends), nodes, writes, arguments, _defined(source))


def _stages(nodes: Sequence[Node], ends: Collection[str], inputs: Mapping[str, str]) -> tuple[Stage, ...]:
    """The stages before the ends can be reached: one after another where a norm is of what depends on another."""
    depths: dict[str, int] = {}
    for node in nodes:
        depths[node.name] = max(depths.get(name, 0) for name in node.args) + (node.op in _REDUCTIONS)
    results = [node for node in _needed(nodes, ends, through=True) if node.op in _REDUCTIONS]
    stages = []
    for depth in sorted({depths[node.name] for node in results}):
        of_stage = tuple(node for node in results if depths[node.name] == depth)
        reduced = {name for node in of_stage for name in node.args}
        needed = _needed(nodes, reduced)
        stages.append(Stage(_reads(inputs, needed, reduced), needed, of_stage))
    return tuple(stages)


def _needed(nodes: Sequence[Node], ends: Collection[str], *, through: bool = False) -> tuple[Node, ...]:
    """The nodes that an end depends on, in order: after norms and means, which are known then, or through them too."""
    wanted, kept = set(ends), []
    for node in reversed(nodes):
        if node.name in wanted and (through or node.op not in _REDUCTIONS):
            wanted.update(node.args)
            kept.append(node)
    return tuple(reversed(kept))


def _reads(inputs: Mapping[str, str], nodes: Sequence[Node], ends: Collection[str]) -> dict[str, str]:
    """The tensors whose elements nodes, or what comes of them, are made of."""
    used = {argument for node in nodes for argument in node.args} | set(ends)
    return {name: element for name, element in inputs.items() if element in used}


def _no_numbers(*_: Any) -> tuple[tuple[()], tuple[()]]:
    return (), ()


def _listed(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _held(outcome: Any, expected: bool) -> bool:
    """Whether a condition comes out as it did, for every row where there are several."""
    if isinstance(outcome, np.ndarray):
        return bool(np.all(outcome) if expected else not np.any(outcome))
    return bool(outcome == expected)


def _defined(source: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"ops": ops, "held": _held, "inf": float("inf"), "nan": float("nan")}
    exec(compile(source, "<numbers of the step>", "exec"), names)  # built above from names and numbers alone
    defined: Callable[..., Any] = names["numbers"]
    return defined
