"""Programs as Numba kernels: one call updates any number of tensors, which it finds through a table of addresses.

A kernel's source is a file of its own, named after its contents, beside which Numba keeps the compiled code: a kernel is
compiled once on a machine, and can be read by whoever wants to know what runs.
"""

import contextlib
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
import platformdirs

from gradus.backends.cpu import language
from gradus.backends.cpu.team import Task
from gradus.errors import GradusError
from gradus.files import write_whole
from gradus.rules.trace import Node, Program

__all__ = ["ELEMENTS", "Element", "compiled", "kernel_source", "norm_source"]

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
# A job is numbers and addresses: the next share to claim, how many shares, how many tensors, how many numbers a row, and
# where there lie the shares (first piece, last), the pieces (tensor, first element, elements), the table of addresses (a row
# for each of param, grad and the slots), each tensor's row of numbers, and these or the sums to fill.
_HEAD = '''"""{title}"""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 9)
    shares = elements(at_int64(job[4], 0), (job[1], 2))
    addresses = at_int64(job[6], 0)
    tensors = job[2]
'''
_UPDATE = (
    _HEAD
    + """    rows = at_int64(job[7], 0)
    zero, one = real_{real}(0), real_{real}(1)
    share = claimed(pointer)
    while share < job[1]:
        for piece in range(shares[share, 0], shares[share, 1]):
            place = elements(at_int64(job[5], 3 * piece), 3)
            tensor, begin, count = place[0], place[1], place[2]
            ahead = at_int64(job[5], 3 * min(piece + 8, shares[share, 1] - 1))[0]
            for column in range({columns}):
                prefetch(addresses[column * tensors + ahead])
            numbers = elements(at_{real}(job[8], rows[tensor] * job[3]), {arguments})
{setting_up}
            for i in range(count):
{body}
        share = claimed(pointer)
"""
)
_NORM = (
    _HEAD
    + """    squares = at_float64(job[8], 0)
    share = claimed(pointer)
    while share < job[1]:
        for piece in range(shares[share, 0], shares[share, 1]):
            place = elements(at_int64(job[5], 3 * piece), 3)
            tensor, begin, count = place[0], place[1], place[2]
            grad_ = elements(at_{memory}(addresses[{row} * tensors + tensor], begin), count)
            # Eight sums side by side, because a processor adds eight numbers as fast as one.
            s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
            whole = count - count % 8
            for i in range(0, whole, 8):
{eight}
            for i in range(whole, count):
                x = real_float64({read})
                s0 += x * x
            squares[piece] = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
        share = claimed(pointer)
"""
)


def kernel_source(program: Program, dtypes: Mapping[str, str], title: str, *, stochastic: bool = False) -> str:
    """The source of a program's kernel.

    Args:
        program: what to do with each element.
        dtypes: the dtype of each tensor that it reads or writes: "param", "grad", and slots by name. The table of addresses
            has a row for each, in this order.
        title: what the kernel is.
        stochastic: whether a parameter in half precision is rounded by chance; the seed is the last number of a row.
    """
    layout = {name: ELEMENTS[dtype] for name, dtype in dtypes.items()}
    setting_up = [f"{name} = numbers[{index}]" for index, name in enumerate(program.arguments)]
    setting_up += [
        f"{name}_ = elements(at_{element.memory}(addresses[{index} * tensors + tensor], begin), count)"
        for index, (name, element) in enumerate(layout.items())
    ]
    body = [f"{value} = {layout[name].read.format(f'{name}_[i]')}" for name, value in program.reads.items()]
    body += [_line(node, program.arguments) for node in program.nodes]
    written = {name: element.write for name, element in layout.items()}
    if stochastic:
        setting_up.append(f"seed = numbers[{len(program.arguments)}]")
        written["param"] = f"rounded_to_{dtypes['param']}({{}}, seed, tensor, begin + i)"
    body += [f"{name}_[i] = {written[name].format(value)}" for name, value in program.writes.items()]
    return _UPDATE.format(
        title=title,
        real=layout["param"].real,
        columns=len(layout),
        arguments=max(1, len(program.arguments) + stochastic),
        setting_up=_indented(setting_up, 12),
        body=_indented(body, 16),
    )


def norm_source(dtype: str, row: int) -> str:
    """The source of the kernel that sums the squares of the tensors in one row of the table of addresses."""
    element = ELEMENTS[dtype]
    eight = [
        line for k in range(8) for line in (f"x = real_float64({element.read.format(f'grad_[i + {k}]')})", f"s{k} += x * x")
    ]
    title = "The sum of squares of tensors, piece by piece, in double precision."
    read = element.read.format("grad_[i]")
    return _NORM.format(title=title, memory=element.memory, row=row, read=read, eight=_indented(eight, 16))


def _line(node: Node, numbers: Sequence[str]) -> str:
    args = node.args
    if node.op == "where" and args[0] in numbers:  # a condition on the whole step comes as a number
        args = (f"{args[0]} != zero", *args[1:])
    return f"{node.name} = {_OPERATIONS[node.op].format(*args)}"


def _indented(lines: list[str], by: int) -> str:
    return "\n".join(" " * by + line for line in lines)


_ALIVE: list[Any] = []  # kernels without a module; their code must outlive their addresses


@cache
def compiled(source: str) -> Kernel:
    """The kernel of a source, compiled, or read from the disk where it has been before."""
    basis = f"{numba.__version__} {Path(language.__file__).read_text()} {source}"
    name = f"kernel_{hashlib.sha256(basis.encode()).hexdigest()[:24]}"
    path = _folder() / f"{name}.py"
    with contextlib.suppress(GradusError):  # where nothing can be kept, it is compiled for this process alone
        if not (path.exists() and path.read_bytes() == source.encode()):
            write_whole(path, source.encode())
        if os.access(path.parent, os.W_OK):
            return _kept(name, path)
    return _in_memory(name, source)


def _folder() -> Path:
    """Where kernels are kept: $GRADUS_KERNELS, or the user's cache."""
    return Path(os.environ.get("GRADUS_KERNELS") or platformdirs.user_cache_path("gradus") / "kernels")


def _kept(name: str, path: Path) -> Kernel:
    """The kernel in a file, compiled beside it; compiled anew where what lies there can't be read."""
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
