"""Programs as Triton kernels: one launch updates any number of tensors, which it finds through a table of addresses."""

import hashlib
import linecache
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from gradus.rules.trace import Node, Program, Stage

__all__ = ["BLOCK", "ELEMENTS", "TOTALS", "can", "compiled", "kernel_source", "stage_source"]

BLOCK = 1024  # elements that one program instance updates


class Element(NamedTuple):
    """How a dtype lies in memory, and the type it is calculated in."""

    memory: str
    real: str


ELEMENTS = {
    "float32": Element("float32", "float32"),
    "float64": Element("float64", "float64"),
    "bfloat16": Element("bfloat16", "float32"),
    "float16": Element("float16", "float32"),
}
# Single precision is divided and rooted as IEEE 754 says, and so as torch does it; Triton's / is off by up to two units.
_EXACT = {"float32": {"/": "tl.div_rn({}, {})", "sqrt": "tl.sqrt_rn({})"}, "float64": {}}
_OPERATIONS = {
    **{symbol: f"{{}} {symbol} {{}}" for symbol in ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=")},
    **{name: f"tl.{name}({{}})" for name in ("abs", "sqrt", "exp", "log")},
    "neg": "-{}",
    "sign": "({0} > 0).to(REAL) - ({0} < 0).to(REAL)",
    "maximum": "tl.maximum({}, {}, tl.PropagateNan.ALL)",
    "minimum": "tl.minimum({}, {}, tl.PropagateNan.ALL)",
    "where": "tl.where({}, {}, {})",
}
# What is added up for a norm and for a mean.
_TERMS = {"norm": "{0}.to(tl.float64) * {0}.to(tl.float64)", "mean": "{0}.to(tl.float64)"}
# A table holds addresses, a row for each of param, grad and the slots; a piece is a tensor's number and a first element.
_HEAD = '''"""{title}"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=('tensors', 'arguments'))
def run(addresses, pieces, sizes, rows, numbers, reduced, sums, tensors, arguments, BLOCK: tl.constexpr):
    REAL: tl.constexpr = tl.{real}
    piece = tl.program_id(0)
    tensor = tl.load(pieces + 2 * piece)
    index = tl.load(pieces + 2 * piece + 1) + tl.arange(0, BLOCK)
    inside = index < tl.load(sizes + tensor)
'''
TOTALS = '''"""The sums of a tensor's pieces, which begin and end at places of their own, each after the other."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=('results',))
def run(sums, ends, totals, results, BLOCK: tl.constexpr):
    tensor, result = tl.program_id(0), tl.program_id(1)
    end = tl.load(ends + tensor + 1)
    total = tl.zeros((BLOCK,), tl.float64)
    for begin in range(tl.load(ends + tensor), end, BLOCK):
        piece = begin + tl.arange(0, BLOCK)
        total += tl.load(sums + piece * results + result, piece < end, other=0)
    tl.store(totals + tensor * results + result, tl.sum(total))
'''
# Half of what is cut off, and so to the nearest, to even in the middle; or something by chance: `gradus.backends.rounding`.
_NEAREST = """    up = 0x7FFF + ((bits >> 16) & 1)
"""
_DRAWN = """    seed = tl.load(numbers + row + {seed}).to(tl.uint32)
    draw = index.to(tl.uint32) * 0x9E3779B9 + seed * 0x85EBCA6B + tensor.to(tl.uint32) * 0xC2B2AE35
    draw = (draw ^ (draw >> 16)) * 0x85EBCA6B
    draw = (draw ^ (draw >> 13)) * 0xC2B2AE35
    up = (draw ^ (draw >> 16)) & {mask}
"""
_TO_BFLOAT16 = """    bits = {value}.to(tl.uint32, bitcast=True)
{up}    bits = tl.where({value} - {value} == 0, bits + up, tl.where({value} == {value}, bits, 0x7FC00000))
    rounded = (bits >> 16).to(tl.uint16).to(tl.bfloat16, bitcast=True)
"""
_TO_FLOAT16 = """    bits = {value}.to(tl.uint32, bitcast=True)
{up}    large = ((bits + up) & 0xFFFFE000).to(tl.float32, bitcast=True)
    small = tl.floor(tl.abs({value}) * 16777216.0 + up.to(tl.float32) * 0.0001220703125) * 5.9604644775390625e-08
    small = (small.to(tl.uint32, bitcast=True) | (bits & 0x80000000)).to(tl.float32, bitcast=True)
    rounded = tl.where(tl.abs({value}) < 6.103515625e-05, small, large)
    rounded = tl.where({value} - {value} == 0, rounded, {value}).to(tl.float16)
"""


def can(program: Program) -> bool:
    """Whether a kernel can do what a program says."""
    parts: list[Stage | Program] = [program, *program.stages]
    return all(node.op in _OPERATIONS for part in parts for node in part.nodes)


def kernel_source(program: Program, dtypes: Mapping[str, str], title: str, *, stochastic: bool) -> str:
    """The source of the kernel that updates tensors by a program.

    Args:
        program: what to do with each element.
        dtypes: the dtype of the parameter, the gradient and each slot, by name.
        title: what it is called by whoever reads it.
        stochastic: whether a parameter in half precision is rounded by chance; the seed is the last number of a row.
    """
    body = _source(program, dtypes, title, program.arguments, program.reduced)
    for name, value in program.writes.items():
        by_chance = len(program.arguments) if stochastic and name == "param" else None
        body += _rounded(value, ELEMENTS[dtypes[name]].memory, by_chance) + f"    tl.store({name}_, rounded, inside)\n"
    return body


def stage_source(
    stage: Stage, dtypes: Mapping[str, str], title: str, arguments: Sequence[str] = (), reduced: Sequence[str] = ()
) -> str:
    """The source of the kernel that adds up, for each piece, what a stage's norms (their squares) and means are of.

    Args:
        stage: what to do with each element.
        dtypes: as in `kernel_source`.
        title: what it is called by whoever reads it.
        arguments: the names of the numbers of the step.
        reduced: those of the norms and means that there are.
    """
    body = _source(stage, dtypes, title, arguments, reduced)
    for index, node in enumerate(stage.results):
        term = _TERMS[node.op].format(*node.args)
        body += f"    tl.store(sums + piece * {len(stage.results)} + {index}, tl.sum(tl.where(inside, {term}, 0)))\n"
    return body


def _source(
    stage: Stage | Program, dtypes: Mapping[str, str], title: str, arguments: Sequence[str], reduced: Sequence[str]
) -> str:
    """The source of a kernel that does what a stage does, but for what comes of it."""
    layout = {name: ELEMENTS[dtype] for name, dtype in dtypes.items()}
    real = layout["param"].real
    written = stage.writes if isinstance(stage, Program) else ()
    lines = [
        f"{name}_ = tl.load(addresses + {number} * tensors + tensor).to(tl.pointer_type(tl.{element.memory})) + index"
        for number, (name, element) in enumerate(layout.items())
        if name in stage.reads or name in written
    ]
    lines.append("row = tl.load(rows + tensor) * arguments")
    lines += [f"{name} = tl.load(numbers + row + {index})" for index, name in enumerate(arguments)]
    lines += [f"{name} = tl.load(reduced + tensor * {len(reduced)} + {index})" for index, name in enumerate(reduced)]
    lines += [f"{value} = tl.load({name}_, inside, other=0).to(REAL)" for name, value in stage.reads.items()]
    lines += [_line(node, arguments, real) for node in stage.nodes]
    return _HEAD.format(title=title, real=real) + "".join(f"    {line}\n" for line in lines)


def _rounded(value: str, memory: str, seed: int | None) -> str:
    """Lines that make of a value what is to be written; by chance where there is the place of a seed."""
    if memory == "bfloat16":
        return _TO_BFLOAT16.format(value=value, up=_NEAREST if seed is None else _DRAWN.format(seed=seed, mask="0xFFFF"))
    if memory == "float16" and seed is not None:
        return _TO_FLOAT16.format(value=value, up=_DRAWN.format(seed=seed, mask="0x1FFF"))
    return f"    rounded = {value}.to(tl.{memory})\n"


def _line(node: Node, numbers: Sequence[str], real: str) -> str:
    args = node.args
    if node.op == "where" and args[0] in numbers:  # a condition on the whole step comes as a number
        args = (f"{args[0]} != 0", *args[1:])
    return f"{node.name} = {(_EXACT[real].get(node.op) or _OPERATIONS[node.op]).format(*args)}"


@cache
def compiled(source: str) -> Any:
    """The kernel of a source. Triton compiles it at its first launch, and keeps it on the disk."""
    name = f"<kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # Triton reads it there
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, name, "exec"), names)
    return names["run"]
