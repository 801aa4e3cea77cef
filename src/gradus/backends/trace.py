"""What a rule does, found by running it once on stand-ins: the program from which kernels are made.

What depends only on hyperparameters and the step is a constant of the step: `Program.constants` computes it once a step, in
double precision. A kernel does the rest for each element. A condition on a hyperparameter (`if momentum != 0`) is
decided here, and the program notes for which outcome it was made.
"""

import functools
import math
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np

from gradus.backends.operations import OPERATIONS, REDUCTIONS, Node
from gradus.checks import as_float
from gradus.errors import InvalidInput
from gradus.rules import ops
from gradus.rules.rule import Rule

__all__ = ["NORM", "Pass", "Program", "flattened", "trace"]


@dataclass(frozen=True, eq=False)
class Pass:
    """What is done with each element of the tensors, in one pass over them.

    Args:
        reads: the tensors that it reads, "param", "grad" or a slot, with the names of their elements.
        nodes: the operations, in order.
        results: the norms and means over each tensor that it finds, for the passes after it.
        writes: the tensors that it writes, with the names of their new elements.
    """

    reads: Mapping[str, str]
    nodes: tuple[Node, ...] = ()
    results: tuple[Node, ...] = ()
    writes: Mapping[str, str] | None = None

    @property
    def tensors(self) -> tuple[str, ...]:
        """The tensors that it reads or writes."""
        return tuple(dict.fromkeys([*self.reads, *(self.writes or ())]))


NORM = Pass({"grad": "grad_i"}, (), (Node("norm", "norm", ("grad_i",)),))  # the gradient's, as clipping needs it


@dataclass(frozen=True, eq=False)
class Program:
    """A rule as passes over elements.

    Args:
        passes: those that find norms and means, and last the one that writes.
        names: the names of the constants that the passes use, in the order of a row of their table.
        constants: `(step, *hyperparameters, *scalar slots) -> (constants, new scalar slots)`, of floats, of arrays
            `[groups]` or of 0-dimensional tensors; None where a condition has another outcome than in this program.
    """

    passes: tuple[Pass, ...]
    names: tuple[str, ...]
    constants: Callable[..., Any]

    @property
    def slots(self) -> tuple[str, ...]:
        """The slots that it reads or writes."""
        tensors = [name for one in self.passes for name in one.tensors]
        return tuple(name for name in dict.fromkeys(tensors) if name not in ("param", "grad"))

    @property
    def reduced(self) -> tuple[str, ...]:
        """The names of the norms and means, pass by pass."""
        return tuple(node.name for one in self.passes for node in one.results)


class _Tape:
    """What has been done so far."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.lines: list[str] = []
        self.count = 0

    def name(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def constant(self, text: str, value: Any) -> "_Constant":
        """A constant of the step, kept under a name of its own."""
        name = self.name("n")
        self.lines.append(f"{name} = {text}")
        return _Constant(self, name, value)

    def argument(self, value: Any) -> str:
        """The name of an operand; plain numbers are constants of the step too."""
        if isinstance(value, _Traced):
            return value.name
        if not isinstance(value, Real):
            raise InvalidInput(f"a rule calculates with numbers and elements, and returns them; got {value!r}")
        return self.constant(repr(float(value)), float(value)).name

    def element(self, op: str, *operands: Any) -> "_Element":
        arguments = tuple(self.argument(operand) for operand in operands)
        node = Node(self.name("x"), op, arguments)
        self.nodes.append(node)
        return _Element(self, node.name)


def _apply(op: str, *operands: Any) -> Any:
    """Note an operation: one on elements is a node, one on constants alone a line of the step's arithmetic."""
    if not all(isinstance(operand, (_Traced, Real)) for operand in operands):
        return NotImplemented
    tape = next(operand.tape for operand in operands if isinstance(operand, _Traced))
    are_elements = [isinstance(operand, _Element) for operand in operands]
    if op == "where" and are_elements[0] and not any(are_elements[1:]):
        raise InvalidInput("ops.where must choose between two values of which one is an element, not between numbers")
    if are_elements[0] and op == "power" and type(operands[1]) is int and 1 <= operands[1] <= 4:
        return functools.reduce(operator.mul, [operands[0]] * operands[1])
    if any(are_elements):
        return tape.element(op, *operands)
    texts, values = map(_text, operands), map(_value, operands)
    symbol = {"power": "**"}.get(op, op)
    text = f"ops.{op}({', '.join(texts)})" if symbol.isalpha() else f" {symbol} ".join(texts)
    return tape.constant(text, OPERATIONS[op].compute(*values))


def _binary(op: str, *, swapped: bool = False) -> Any:
    return (lambda self, other: _apply(op, other, self)) if swapped else (lambda self, other: _apply(op, self, other))


class _Traced:
    """A stand-in that notes what is done with it."""

    def __init__(self, tape: _Tape, name: str) -> None:
        self.tape, self.name = tape, name

    __add__, __radd__ = _binary("+"), _binary("+", swapped=True)
    __sub__, __rsub__ = _binary("-"), _binary("-", swapped=True)
    __mul__, __rmul__ = _binary("*"), _binary("*", swapped=True)
    __truediv__, __rtruediv__ = _binary("/"), _binary("/", swapped=True)
    __pow__, __rpow__ = _binary("power"), _binary("power", swapped=True)
    __lt__, __le__, __gt__, __ge__ = _binary("<"), _binary("<="), _binary(">"), _binary(">=")
    __eq__, __ne__ = _binary("=="), _binary("!=")
    __hash__ = object.__hash__

    def __neg__(self) -> Any:
        return _apply("neg", self) if isinstance(self, _Element) else 0.0 - self

    def __pos__(self) -> Any:
        return self


class _Element(_Traced):
    """A tensor's element."""

    def __bool__(self) -> bool:
        raise InvalidInput(
            "a rule can't branch on an element, which differs within a tensor; use ops.where(condition, a, b)"
        )

    def __float__(self) -> float:
        raise InvalidInput("a rule can't make a Python number of an element; it is plain arithmetic and gradus.rules.ops")


class _Constant(_Traced):
    """A constant of the step: its value in this run, and its name in the program."""

    def __init__(self, tape: _Tape, name: str, value: Any) -> None:
        super().__init__(tape, name)
        self.value = value

    def __bool__(self) -> bool:
        outcome = bool(self.value)
        condition = (
            self.name if isinstance(self.value, (bool, np.bool_)) else f"{self.name} != 0"
        )  # `if decay:` asks a number
        # Of floats it is True or False itself; of arrays and tensors `held` looks at every group.
        self.tape.lines.append(f"if ({condition}) is not {outcome} and not held({condition}, {outcome}): return None")
        return outcome

    def __float__(self) -> float:
        raise InvalidInput("a rule can't fix a hyperparameter as a Python number; it may change from step to step")


def _text(operand: Any) -> str:
    if isinstance(operand, _Constant):
        return operand.name
    return repr(operand if isinstance(operand, int) else float(operand))  # NumPy writes its numbers otherwise


def _value(operand: Any) -> Any:
    return operand.value if isinstance(operand, _Constant) else operand


def _called(op: str) -> Callable[..., Any]:
    """An operation called by name, which refuses what an operator would leave to the other operand."""

    def call(*operands: Any) -> Any:
        result = _apply(op, *operands)
        if result is NotImplemented:
            raise InvalidInput(f"ops.{op} takes numbers and elements in a rule; got {operands!r}")
        return result

    return call


ops.register(
    _Traced,
    SimpleNamespace(
        **{op: _called(op) for op in ("sqrt", "exp", "log", "abs", "sign", "power", "maximum", "minimum", "where")},
        norm=lambda x: _apply("norm" if isinstance(x, _Element) else "abs", x),
        mean=lambda x: _apply("mean", x) if isinstance(x, _Element) else x,
    ),
)


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
    if rule.needs_whole_tensor:
        return Program((Pass({slot: slot for slot in rule.slots}),), (), lambda *_: ((), ()))
    tape = _Tape()
    names: list[str] = []

    def number(name: str, value: Any) -> _Constant:
        names.append(name)
        return _Constant(tape, name, as_float(value))

    def stand_in(name: str, value: Any) -> Any:
        if _is_number(value):
            return number(f"{name}_t", value)
        if isinstance(value, (tuple, list)) and all(map(_is_number, value)):
            return tuple(number(f"{name}_t{index}", member) for index, member in enumerate(value))
        return value

    # What a rule calls its slots and hyperparameters must not be what a program or a kernel calls something of its own,
    # such as x1: so elements are called exp_avg_i, and constants lr_t.

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
    passes = _passes(tape.nodes, writes, inputs)
    every = [node for one in passes for node in (*one.nodes, *one.results)]
    used = {argument for node in every for argument in node.args} | set(writes.values())
    used -= {node.name for node in every} | set(inputs.values())
    constants = tuple(sorted(used, key=lambda name: (len(name), name)))
    kept = [_text(new[name]) for name in rule.slots if name in rule.scalars]
    body = [*tape.lines, f"return ({_listed(constants)}), ({_listed(kept)})"]
    return Program(passes, constants, _defined("\n    ".join([f"def constants({', '.join(names)}):", *body])))


def _passes(nodes: Sequence[Node], writes: Mapping[str, str], inputs: Mapping[str, str]) -> tuple[Pass, ...]:
    """The passes of a program: one for each depth of norms within norms, and last the one that writes."""
    ends = set(writes.values())
    depths: dict[str, int] = {}
    for node in nodes:
        depths[node.name] = max(depths.get(name, 0) for name in node.args) + (node.op in REDUCTIONS)
    results = [node for node in _needed(nodes, ends, through=True) if node.op in REDUCTIONS]
    passes = []
    for depth in sorted({depths[node.name] for node in results}):
        of_pass = tuple(node for node in results if depths[node.name] == depth)
        reduced = {name for node in of_pass for name in node.args}
        needed = _needed(nodes, reduced)
        passes.append(Pass(_reads(inputs, needed, reduced), needed, of_pass))
    needed = _needed(nodes, ends)
    return (*passes, Pass(_reads(inputs, needed, ends), needed, (), writes))


def _needed(nodes: Sequence[Node], ends: Collection[str], *, through: bool = False) -> tuple[Node, ...]:
    """The nodes that an end depends on, in order: after norms and means, which are known then, or through them too."""
    wanted, kept = set(ends), []
    for node in reversed(nodes):
        if node.name in wanted and (through or node.op not in REDUCTIONS):
            wanted.update(node.args)
            kept.append(node)
    return tuple(reversed(kept))


def _reads(inputs: Mapping[str, str], nodes: Sequence[Node], ends: Collection[str]) -> dict[str, str]:
    """The tensors whose elements nodes, or what comes of them, are made of."""
    used = {argument for node in nodes for argument in node.args} | set(ends)
    return {name: element for name, element in inputs.items() if element in used}


def _listed(names: Sequence[str]) -> str:
    return "".join(f"{name}, " for name in names)


def _held(outcome: Any, expected: bool) -> bool:
    """Whether a condition comes out as it did, for every row where there are several."""
    if isinstance(outcome, np.ndarray):
        return bool(np.all(outcome) if expected else not np.any(outcome))
    return bool(outcome == expected)


def _defined(source: str) -> Callable[..., Any]:
    names: dict[str, Any] = {"ops": ops, "held": _held, "inf": float("inf"), "nan": float("nan")}
    exec(compile(source, "<constants of the step>", "exec"), names)  # built above from names and numbers alone
    defined: Callable[..., Any] = names["constants"]
    return defined
