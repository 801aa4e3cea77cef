"""What a traced rule may do with elements: each operation once, with how constants, Numba and Triton compute it."""

import operator
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from gradus.rules import ops

__all__ = ["OPERATIONS", "REDUCTIONS", "Node", "Operation", "Reduction", "compute_dtype", "line"]


class Node(NamedTuple):
    """One operation: the name of its result, its key in `OPERATIONS` or `REDUCTIONS`, and the names of its arguments.

    An argument is an element, the result of a reduction, or a constant of the step.
    """

    name: str
    op: str
    args: tuple[str, ...]


class Operation(NamedTuple):
    """How an operation is computed: on constants, and in the sources of kernels; None where Triton has no such."""

    compute: Callable[..., Any]
    numba: str
    triton: str | None


class Reduction(NamedTuple):
    """What is added up over a tensor for a reduction, in double precision."""

    numba: str
    triton: str


def _same(compute: Callable[..., Any], template: str) -> Operation:
    return Operation(compute, template, template)


OPERATIONS = {
    **{
        symbol: _same(compute, f"{{}} {symbol} {{}}")
        for symbol, compute in {
            "+": operator.add,
            "-": operator.sub,
            "*": operator.mul,
            "/": operator.truediv,
            "<": operator.lt,
            "<=": operator.le,
            ">": operator.gt,
            ">=": operator.ge,
            "==": operator.eq,
            "!=": operator.ne,
        }.items()
    },
    "neg": _same(operator.neg, "-{}"),
    "abs": Operation(ops.abs, "abs({})", "tl.abs({})"),
    "sqrt": Operation(ops.sqrt, "sqrt({})", "tl.sqrt({})"),
    "exp": Operation(ops.exp, "exp({})", "tl.exp({})"),
    "log": Operation(ops.log, "log({})", "tl.log({})"),
    "power": Operation(operator.pow, "{} ** {}", None),
    "sign": Operation(
        ops.sign,
        "one if {0} > zero else (-one if {0} < zero else zero)",
        "({0} > 0).to(REAL) - ({0} < 0).to(REAL)",
    ),
    "maximum": Operation(ops.maximum, "{0} if {0} > {1} or {0} != {0} else {1}", "tl.maximum({}, {}, tl.PropagateNan.ALL)"),
    "minimum": Operation(ops.minimum, "{0} if {0} < {1} or {0} != {0} else {1}", "tl.minimum({}, {}, tl.PropagateNan.ALL)"),
    "where": Operation(ops.where, "{1} if {0} else {2}", "tl.where({}, {}, {})"),
}
# A norm is the root of its sum, a mean its sum over the number of elements; see `KernelBatch.reduced`.
REDUCTIONS = {
    "norm": Reduction("real_float64({0}) * real_float64({0})", "{0}.to(tl.float64) * {0}.to(tl.float64)"),
    "mean": Reduction("real_float64({0})", "{0}.to(tl.float64)"),
}


def line(node: Node, template: str, constants: Collection[str]) -> str:
    """The line of a kernel's source for a node."""
    args = node.args
    if node.op == "where" and args[0] in constants:  # a condition on the step as a whole comes as a number
        args = (f"({args[0]} != 0)", *args[1:])
    return f"{node.name} = {template.format(*args)}"


def compute_dtype(dtype: str) -> str:
    """The dtype that kernels compute in for parameters of a dtype: single precision for half."""
    return "float64" if dtype == "float64" else "float32"
