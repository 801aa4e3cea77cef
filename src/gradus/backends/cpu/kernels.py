"""Programs as Numba kernels: one call updates any number of tensors, which it finds through a table of addresses.

A kernel's source is a file of its own, named after its contents, beside which Numba keeps the compiled code: a kernel is
compiled once on a machine, and can be read by whoever wants to know what runs.
"""

import errno
import hashlib
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numba

from gradus.backends.cpu import language
from gradus.backends.cpu.team import Task
from gradus.files import user_cache, write_whole
from gradus.rules.trace import Node, Program, Stage

__all__ = ["ELEMENTS", "Element", "compiled", "kernel_source", "stage_source"]

Kernel = Callable[[int], None]


class Element(NamedTuple):
    """How a dtype lies in memory, the type it is calculated in, and how it is read and written."""

    memory: str
    real: str
    read: str = "{}"
    write: str = "{}"


ELEMENTS = {
    "float32": Element("float32", "float32"),
    "float64": Element("float64", "float64"),
    "bfloat16": Element("uint16", "float32", "from_bfloat16({})", "to_bfloat16({})"),
    "float16": Element("uint16", "float32", "from_float16({})", "to_float16({})"),
}
_OPERATIONS = {
    **{symbol: f"{{}} {symbol} {{}}" for symbol in ("+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!=")},
    **{name: f"{name}({{}})" for name in ("abs", "sqrt", "exp", "log")},
    "neg": "-{}",
    "power": "{} ** {}",
    "sign": "one if {0} > zero else (-one if {0} < zero else zero)",
    "maximum": "{0} if {0} > {1} or {0} != {0} else {1}",
    "minimum": "{0} if {0} < {1} or {0} != {0} else {1}",
    "where": "{1} if {0} else {2}",
}
# What is added up for a norm and for a mean.
_TERMS = {"norm": "real_float64({0}) * real_float64({0})", "mean": "real_float64({})"}
# A job is numbers and addresses: the next share to claim, how many shares, how many tensors, how many numbers a row, and
# where there lie the shares (first piece, last), the pieces (tensor, first element, elements), the table of addresses (a row
# for each of param, grad and the slots), each tensor's row of numbers, these, and the tensors' norms and means; and sums to
# fill, piece by piece.
_KERNEL = '''"""{title}"""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 11)
    shares = elements(at_int64(job[4], 0), (job[1], 2))
    addresses, rows, tensors = at_int64(job[6], 0), at_int64(job[7], 0), job[2]
    zero, one = real_{real}(0), real_{real}(1)
    share = claimed(pointer)
    while share < job[1]:
        for piece in range(shares[share, 0], shares[share, 1]):
            place = elements(at_int64(job[5], 3 * piece), 3)
            tensor, begin, count = place[0], place[1], place[2]
            ahead = at_int64(job[5], 3 * min(piece + 8, shares[share, 1] - 1))[0]
            numbers, reduced = at_{real}(job[8], rows[tensor] * job[3]), at_{real}(job[9], tensor * {reduced})
{setting_up}
            for i in range(count):
{body}
{after}
        share = claimed(pointer)
'''


def kernel_source(program: Program, dtypes: Mapping[str, str], title: str, *, stochastic: bool = False) -> str:
    """The source of the kernel that updates tensors by a program.

    Args:
        program: what to do with each element.
        dtypes: the dtype of each tensor that it reads or writes: "param", "grad", and slots by name. The table of addresses
            has a row for each, in this order.
        title: what the kernel is.
        stochastic: whether a parameter in half precision is rounded by chance; the seed is the last number of a row.
    """
    written = {name: ELEMENTS[dtype].write for name, dtype in dtypes.items()}
    seed = [f"seed = numbers[{len(program.arguments)}]"] if stochastic else []
    if stochastic:
        written["param"] = f"rounded_to_{dtypes['param']}({{}}, seed, tensor, begin + i)"
    writing = [f"{name}_[i] = {written[name].format(value)}" for name, value in program.writes.items()]
    return _source(program, dtypes, title, program.arguments, program.reduced, before=seed, each=writing)


def stage_source(
    stage: Stage, dtypes: Mapping[str, str], title: str, arguments: Sequence[str] = (), reduced: Sequence[str] = ()
) -> str:
    """The source of the kernel that adds up, for each piece, what a stage's norms (their squares) and means are of.

    Args:
        stage: what to do with each element.
        dtypes: as in `kernel_source`.
        title: what the kernel is.
        arguments: the names of the numbers of the step.
        reduced: those of the norms and means that there are.
    """
    results = list(enumerate(stage.results))
    zeros = [f"sum{index} = 0.0" for index, _ in results]
    adding = [f"sum{index} = added(sum{index}, {_TERMS[node.op].format(*node.args)})" for index, node in results]
    sums = [f"at_float64(job[10], {len(results)} * piece)[{index}] = sum{index}" for index, _ in results]
    return _source(stage, dtypes, title, arguments, reduced, before=zeros, each=adding, after=sums)


def _source(
    stage: Stage | Program,
    dtypes: Mapping[str, str],
    title: str,
    arguments: Sequence[str],
    reduced: Sequence[str],
    *,
    before: Sequence[str],
    each: Sequence[str],
    after: Sequence[str] = (),
) -> str:
    """The source of a kernel that does what a stage does, and a few lines more: before, with, and after each element."""
    layout = {name: ELEMENTS[dtype] for name, dtype in dtypes.items()}
    setting_up = [f"{name} = numbers[{index}]" for index, name in enumerate(arguments)]
    setting_up += [f"{name} = reduced[{index}]" for index, name in enumerate(reduced)]
    for index, (name, element) in enumerate(layout.items()):
        address = f"addresses[{index} * tensors + "
        setting_up.append(f"{name}_ = elements(at_{element.memory}({address}tensor], begin), count)")
        if name in stage.reads:
            setting_up.append(f"prefetch({address}ahead])")
    body = [f"{value} = {layout[name].read.format(f'{name}_[i]')}" for name, value in stage.reads.items()]
    body += [_line(node, arguments) for node in stage.nodes]
    return _KERNEL.format(
        title=title,
        real=layout["param"].real,
        reduced=len(reduced),
        setting_up=_indented([*setting_up, *before], 12),
        body=_indented([*body, *each], 16),
        after=_indented(after, 12),
    )


def _line(node: Node, numbers: Sequence[str]) -> str:
    args = node.args
    if node.op == "where" and args[0] in numbers:  # a condition on the whole step comes as a number
        args = (f"{args[0]} != zero", *args[1:])
    return f"{node.name} = {_OPERATIONS[node.op].format(*args)}"


def _indented(lines: Sequence[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)


_ALIVE: list[Any] = []  # kernels without a module; their code must outlive their addresses


@cache
def compiled(source: str) -> Kernel:
    """The kernel of a source, compiled, or read from the disk where it has been before."""
    basis = f"{numba.__version__} {Path(language.__file__).read_text()} {source}"
    name = f"kernel_{hashlib.sha256(basis.encode()).hexdigest()[:24]}"
    try:
        return _kept(name, source)
    except Exception:  # there may be no folder, no right to it, no room: then it is compiled for this process alone
        return _in_memory(name, source)


def _folder() -> Path:
    """Where kernels are kept: $GRADUS_KERNELS, or the user's cache."""
    named = os.environ.get("GRADUS_KERNELS")
    return Path(named) if named else user_cache() / "kernels"


def _kept(name: str, source: str) -> Kernel:
    """The kernel in a file, compiled beside it; compiled anew where what lies there can't be read."""
    path = _folder() / f"{name}.py"
    if not (path.exists() and path.read_bytes() == source.encode()):
        write_whole(path, source.encode())
    if not os.access(path.parent, os.W_OK):  # Numba would look for another place
        raise PermissionError(errno.EACCES, "nothing can be kept", str(path.parent))
    try:
        return _loaded(name, path)
    except Exception:  # a damaged file of Numba's may raise anything
        for damaged in (path.parent / "__pycache__").glob(f"{name}.*"):
            damaged.unlink(missing_ok=True)
        return _loaded(name, path)


def _loaded(name: str, path: Path) -> Kernel:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba looks for it there
    spec.loader.exec_module(module)
    return Task(module.run.address)


def _in_memory(name: str, source: str) -> Kernel:
    linecache.cache[f"<{name}>"] = (len(source), None, source.splitlines(keepends=True), f"<{name}>")
    names: dict[str, Any] = {}
    exec(compile(source.replace("@kernel\n", "@uncached\n"), f"<{name}>", "exec"), names)
    _ALIVE.append(names["run"])
    return Task(names["run"].address)
