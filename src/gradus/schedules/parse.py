"""Schedules as a person types them: the printed form, read back without evaluating it as Python.

The text is taken apart by Python's own parser and rebuilt from a short list: schedules, recipes and spans by name, their
methods, `>> * / + - **`, and arithmetic on numbers. A class of the user's own goes by its import path, "own:Saw(10)".
"""

import ast
import inspect
import operator
import re
import warnings
from collections.abc import Callable
from typing import Any

from gradus.checks import is_number, shown
from gradus.errors import InvalidInput
from gradus.names import did_you_mean, hint_for_argument
from gradus.schedules import algebra, recipes, spans
from gradus.schedules.json import FORMER_NAMES, kind_of
from gradus.schedules.schedule import KINDS, Schedule

__all__ = ["parse"]

_LONGEST = 10_000  # characters
_LARGEST = 1e308  # of a number that is calculated
_PATH = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|([^\W\d][\w.]*):([^\W\d][\w.]*)(?=\s*\()""")  # outside of strings
_METHODS = ("after", "clip", "delay", "repeat", "skip", "staircase", "stretch", "take")
_LARGEST_POWER = 64  # 10**9 is a handy way to write a length; 9**9**9 is a way to hang a program
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.RShift: operator.rshift,
    ast.Mult: operator.mul,
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def _vocabulary() -> dict[str, Any]:
    leaves = {name: kind for name, kind in KINDS.items() if name not in algebra.__all__}
    named = {name: getattr(recipes, name) for name in recipes.__all__}
    former = {old: leaves[new] for old, new in FORMER_NAMES.items()}
    lengths = {name: getattr(spans, name) for name in ("epochs", "fraction", "rest", "samples", "tokens")}
    return {**leaves, **former, **named, **lengths}


def parse(text: str, *, trusted: bool = False) -> Schedule:
    """The schedule that a text describes: whatever a schedule prints can be read back.

    Args:
        text: such as "warmup(5) >> Cosine(15, end=0.03)".
        trusted: import the functions and classes that it names. Importing runs code, so only for text of your own.

    Raises:
        InvalidInput: the text can't be understood; the message names the place and what would be known there.

    >>> parse("warmup(5) >> Cosine(15, end=0.03)")
    Linear(5, start=0.0, end=1.0) >> Cosine(15, end=0.03)
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f'a schedule\'s text must be something like "warmup(5) >> Cosine(15)"; got {shown(text)}')
    if len(text) > _LONGEST:
        raise InvalidInput(f"a schedule's text has at most {_LONGEST:,} characters; this has {len(text):,}")
    value = _Reader(text.strip(), trusted).read()
    if isinstance(value, (int, float)):
        return KINDS["Constant"](value)  # type: ignore[call-arg]  # the leaf
    if not isinstance(value, Schedule):
        raise InvalidInput(f"{text!r} is no schedule but {shown(value)}")
    return value


class _Reader:
    def __init__(self, text: str, trusted: bool) -> None:
        self.text, self.trusted, self.names = text, trusted, _vocabulary()
        self.paths: dict[str, str] = {}  # "own.Saw": "own:Saw"

    def read(self) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's parser remarks on what is refused below anyway
                tree = ast.parse(_PATH.sub(self.dotted, self.text), mode="eval")
            return self.value(tree.body)
        except SyntaxError as error:
            raise InvalidInput(f"can't read {self.text!r}: {error.msg}, at character {error.offset or 1}") from None
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise InvalidInput(f"can't read {self.text!r}: {error.reason}, at character {error.start + 1}") from None
        except (RecursionError, MemoryError):
            raise InvalidInput("this schedule's text is nested too deeply") from None

    def dotted(self, found: re.Match[str]) -> str:
        """An import path with a dot for its colon, which Python's parser takes for an attribute."""
        if found[1] is None:
            return found[0]
        path = f"{found[1]}.{found[2]}"
        self.paths[path] = found[0]
        return path

    def refuse(self, node: ast.expr, why: str) -> InvalidInput:
        return InvalidInput(f"can't read {self.text!r}: {why}, at character {node.col_offset + 1}")

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.Tuple(elts=members) | ast.List(elts=members):
                return tuple(self.value(member) for member in members)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self.negated(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self.operation(node, type(op), self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id=name)):
                return self.call(node, name, self.function(node, name))
            case ast.Call(func=ast.Attribute() as path) if ast.unparse(path) in self.paths:
                return self.call(node, self.paths[ast.unparse(path)], self.own(node, self.paths[ast.unparse(path)]))
            case ast.Call(func=ast.Attribute(value=owner, attr=name)):
                return self.call(node, name, self.method(node, owner, name))
            case ast.Name(id=name):
                self.function(node, name)
                raise self.refuse(node, f"{name} needs its arguments in brackets")
        raise self.refuse(node, f"{ast.unparse(node)!r} has no place in a schedule")

    def negated(self, node: ast.expr) -> Any:
        value = self.value(node)
        if not is_number(value) and not isinstance(value, Schedule):
            raise self.refuse(node, "only a number or a schedule can be negated")
        return -value

    def operation(self, node: ast.expr, op: type[ast.operator], left: Any, right: Any) -> Any:
        numbers = is_number(left) and is_number(right)
        lessened = isinstance(left, spans.Span) and op is ast.Sub
        if not numbers and not lessened and not isinstance(left, Schedule) and not isinstance(right, Schedule):
            raise self.refuse(
                node, "between schedules there are >>, *, /, +, - and **, and a span can only be taken from rest()"
            )
        if numbers and op is ast.Pow and (abs(right) > _LARGEST_POWER or abs(left) > 1e9):
            raise self.refuse(node, f"this power is too large (the exponent is at most {_LARGEST_POWER})")
        if numbers and op is ast.RShift:
            raise self.refuse(node, ">> joins schedules, and these are two numbers")
        try:
            value = _OPERATORS[op](left, right)
        except InvalidInput as error:
            raise InvalidInput(f"in {self.text!r}: {error}") from None
        except (ArithmeticError, TypeError) as error:
            raise self.refuse(node, str(error)) from None
        if numbers and (isinstance(value, complex) or not abs(value) <= _LARGEST):
            raise self.refuse(node, "this is no finite number")
        return value

    def function(self, node: ast.expr, name: str) -> Any:
        if name not in self.names:
            hint = did_you_mean(name, self.names)
            known = ", ".join(sorted(self.names.keys() - FORMER_NAMES.keys()))
            raise self.refuse(node, f"unknown schedule {name!r}{hint}; known are {known}")
        if getattr(self.names[name], "_imports", False) and not self.trusted:
            raise self.refuse(node, f"{name} names a function to import, and importing runs code: pass trusted=True")
        return self.names[name]

    def own(self, node: ast.expr, name: str) -> Any:
        if not self.trusted:
            raise self.refuse(node, f"{name} is a class to import, and importing runs code: pass trusted=True")
        return kind_of(name, Schedule)

    def method(self, node: ast.expr, owner: ast.expr, name: str) -> Any:
        schedule = self.value(owner)
        if not isinstance(schedule, Schedule) or name not in _METHODS:
            hint = did_you_mean(name, _METHODS)
            raise self.refuse(node, f"no method .{name} here{hint}; a schedule has .{', .'.join(_METHODS)}")
        return getattr(schedule, name)

    def call(self, node: ast.Call, name: str, function: Any) -> Any:
        if any(keyword.arg is None for keyword in node.keywords) or any(isinstance(a, ast.Starred) for a in node.args):
            raise self.refuse(node, "* and ** have no place in a schedule's arguments")
        names = [keyword.arg for keyword in node.keywords]
        if len(set(names)) < len(names):
            raise self.refuse(node, f"{name} is given {max(names, key=names.count)} twice")
        arguments = [self.value(argument) for argument in node.args]
        named = {str(keyword.arg): self.value(keyword.value) for keyword in node.keywords}
        try:
            inspect.signature(function).bind(*arguments, **named)
        except TypeError as error:
            hint = hint_for_argument(function, named)
            raise self.refuse(node, f"{name}{_signature(function)}: {error}{hint}") from None
        try:
            return function(*arguments, **named)
        except InvalidInput as error:
            raise InvalidInput(f"in {self.text!r}: {error}") from None
        except TypeError as error:
            raise self.refuse(node, f"{name}{_signature(function)}: {error}") from None


def _signature(function: Any) -> str:
    """Names and defaults of a call, without annotations."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    return str(inspect.Signature(parameters))
