"""Programs as Triton kernels: one launch updates any number of tensors, which it finds through a table of addresses."""

import hashlib
import linecache
from collections.abc import Mapping
from functools import cache
from typing import Any

from gradus.backends.operations import OPERATIONS, REDUCTIONS, compute_dtype, line
from gradus.backends.trace import Pass, Program

__all__ = ["BLOCK", "TOTALS", "compiled", "kernel_source", "supports"]

BLOCK = 1024  # elements that one program instance updates


# Single precision is divided and rooted as IEEE 754 says, and so as torch does it; Triton's / is off by up to two units.
_EXACT = {"float32": {"/": "tl.div_rn({}, {})", "sqrt": "tl.sqrt_rn({})"}, "float64": {}}
# The tables: addresses int64 [2 + slots, tensors], of params, gradients and each slot; chunks int64 [chunks, 2], a tensor's
# number and a first element; sizes int64 [tensors]; group_of int64 [tensors], the row of its constants; constants real
# [groups, columns], the last of them the seed of stochastic rounding; reduced real [tensors, norms and means], from earlier
# passes; sums float64 [chunks, results], which a pass with results writes.
_HEAD = '''"""{title}"""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=('tensors', 'columns'))
def run(addresses, chunks, sizes, group_of, constants, reduced, sums, tensors, columns, BLOCK: tl.constexpr):
    REAL: tl.constexpr = tl.{real}
    chunk = tl.program_id(0)
    tensor = tl.load(chunks + 2 * chunk)
    index = tl.load(chunks + 2 * chunk + 1) + tl.arange(0, BLOCK)
    inside = index < tl.load(sizes + tensor)
'''
TOTALS = '''"""Add up sums [chunks, results] over each tensor's chunks, ends [tensors + 1]: totals [tensors, results]."""

import triton
import triton.language as tl


@triton.jit(do_not_specialize=('results',))
def run(sums, ends, totals, results, BLOCK: tl.constexpr):
    tensor, result = tl.program_id(0), tl.program_id(1)
    end = tl.load(ends + tensor + 1)
    total = tl.zeros((BLOCK,), tl.float64)
    for begin in range(tl.load(ends + tensor), end, BLOCK):
        chunk = begin + tl.arange(0, BLOCK)
        total += tl.load(sums + chunk * results + result, chunk < end, other=0)
    tl.store(totals + tensor * results + result, tl.sum(total))
'''
# Half of what is cut off, and so to the nearest, to even in the middle; or stochastically: `gradus.backends.rounding`.
_NEAREST = """    up = 0x7FFF + ((bits >> 16) & 1)
"""
_DRAWN = """    seed = tl.load(constants + first + {seed}).to(tl.uint32)
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


def supports(program: Program) -> bool:
    """Whether Triton has every operation of a program."""
    return all(OPERATIONS[node.op].triton is not None for one in program.passes for node in one.nodes)


def kernel_source(
    done: Pass, program: Program | None, dtypes: Mapping[str, str], title: str, *, stochastic: bool = False
) -> str:
    """The source of the kernel that runs a pass over any number of tensors.

    Args:
        done: what to do with each element. What its norms (as their squares) and means are of is added up for each chunk.
        program: the program that it is a pass of; None for a pass by itself, without constants.
        dtypes: the dtype of the parameter, the gradient and each slot, by name.
        title: what the kernel is.
        stochastic: whether a parameter in half precision is rounded stochastically; the seed is the last of the constants.
    """
    names, reduced = (program.names, program.reduced) if program else ((), ())
    real, writes = compute_dtype(dtypes["param"]), done.writes or {}
    lines = [
        f"{name}_ = tl.load(addresses + {row} * tensors + tensor).to(tl.pointer_type(tl.{dtype})) + index"
        for row, (name, dtype) in enumerate(dtypes.items())
        if name in done.tensors
    ]
    lines.append("first = tl.load(group_of + tensor) * columns")
    lines += [f"{name} = tl.load(constants + first + {index})" for index, name in enumerate(names)]
    lines += [f"{name} = tl.load(reduced + tensor * {len(reduced)} + {index})" for index, name in enumerate(reduced)]
    lines += [f"{value} = tl.load({name}_, inside, other=0).to(REAL)" for name, value in done.reads.items()]
    lines += [line(node, _EXACT[real].get(node.op) or str(OPERATIONS[node.op].triton), names) for node in done.nodes]
    for index, node in enumerate(done.results):
        term = REDUCTIONS[node.op].triton.format(*node.args)
        lines.append(f"tl.store(sums + chunk * {len(done.results)} + {index}, tl.sum(tl.where(inside, {term}, 0)))")
    body = _HEAD.format(title=title, real=real) + "".join(f"    {text}\n" for text in lines)
    for name, value in writes.items():
        seed = len(names) if stochastic and name == "param" else None
        body += _rounded(value, dtypes[name], seed) + f"    tl.store({name}_, rounded, inside)\n"
    return body


def _rounded(value: str, dtype: str, seed: int | None) -> str:
    """Lines that make of a value what is to be written; stochastically where there is the place of a seed."""
    if dtype == "bfloat16":
        return _TO_BFLOAT16.format(value=value, up=_NEAREST if seed is None else _DRAWN.format(seed=seed, mask="0xFFFF"))
    if dtype == "float16" and seed is not None:
        return _TO_FLOAT16.format(value=value, up=_DRAWN.format(seed=seed, mask="0x1FFF"))
    return f"    rounded = {value}.to(tl.{dtype})\n"


@cache
def compiled(source: str) -> Any:
    """The kernel of a source. Triton compiles it at its first launch, and keeps it on the disk."""
    name = f"<kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)  # Triton reads it there
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, name, "exec"), names)
    return names["run"]
