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
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from textwrap import indent
from typing import Any

import numba

from gradus.backends.cpu import intrinsics
from gradus.backends.cpu.arguments import Arguments
from gradus.backends.cpu.threads import Task
from gradus.backends.operations import OPERATIONS, REDUCTIONS, compute_dtype, line
from gradus.backends.trace import Pass, Program
from gradus.files import user_cache, write_whole

__all__ = ["UPDATE", "Kernel", "compiled", "kernel_source", "memory"]

Kernel = Callable[[int], None]


# Half precision lies in memory as the bits of 16-bit words, which Numba can't compute with.
_HALF = ("bfloat16", "float16")


def memory(dtype: str) -> str:
    """The type as which kernels read and write the elements of a dtype."""
    return "uint16" if dtype in _HALF else dtype


UPDATE = Arguments(
    next="the next work item, which threads claim",
    items="how many work items",
    tensors="how many columns the addresses have",
    columns="how many numbers a row of the constants has",
    work_at="int64 [items, 2]: each item's first chunk, and the one after its last",
    chunks_at="int64 [chunks, 3]: column of the addresses, first element, how many elements",
    addresses_at="int64 [2 + slots, tensors]: where the elements of params, gradients and each slot begin",
    group_of_at="int64 [tensors]: the row of its constants",
    constants_at="real [groups, columns]: the constants of the step, and last the seed of stochastic rounding",
    reduced_at="real [tensors, norms and means]: what earlier passes have found",
    sums_at="float64 [chunks, results]: what this pass adds up over each chunk",
)
_KERNEL = '''"""{title}"""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
{arguments}
    work = view(pointer_int64(work_at, 0), (items, 2))
    addresses, group_of = pointer_int64(addresses_at, 0), pointer_int64(group_of_at, 0)
    zero, one = real_{real}(0), real_{real}(1)
    item = atomic_next(pointer)
    while item < items:
        for chunk in range(work[item, 0], work[item, 1]):
            place = view(pointer_int64(chunks_at, 3 * chunk), 3)
            tensor, begin, count = place[0], place[1], place[2]
            ahead = pointer_int64(chunks_at, 3 * min(chunk + 8, work[item, 1] - 1))[0]
            constants = pointer_{real}(constants_at, group_of[tensor] * columns)
            reduced = pointer_{real}(reduced_at, tensor * {reduced})
{setting_up}
            for i in range(count):
{body}
{after}
        item = atomic_next(pointer)
'''


def kernel_source(
    done: Pass, program: Program | None, dtypes: Mapping[str, str], title: str, *, stochastic: bool = False
) -> str:
    """The source of the kernel that runs a pass over any number of tensors.

    Args:
        done: what to do with each element. What its norms (as their squares) and means are of is added up for each chunk.
        program: the program that it is a pass of; None for a pass by itself, without constants.
        dtypes: the dtype of each tensor that it reads or writes: "param", "grad", and slots by name. The table of addresses
            has a row for each, in this order.
        title: what the kernel is.
        stochastic: whether a parameter in half precision is rounded stochastically; the seed is the last of the constants.
    """
    names, reduced = (program.names, program.reduced) if program else ((), ())
    setting_up = [f"{name} = constants[{index}]" for index, name in enumerate(names)]
    setting_up += [f"{name} = reduced[{index}]" for index, name in enumerate(reduced)]
    for index, (name, dtype) in enumerate(dtypes.items()):
        address = f"addresses[{index} * tensors + "
        setting_up.append(f"{name}_ = view(pointer_{memory(dtype)}({address}tensor], begin), count)")
        if name in done.reads:
            setting_up.append(f"prefetch({address}ahead])")
    if stochastic:
        setting_up.append(f"seed = constants[{len(names)}]")
    results = list(enumerate(done.results))
    setting_up += [f"sum{index} = 0.0" for index, _ in results]
    body = [f"{value} = {_read(name, dtypes[name])}" for name, value in done.reads.items()]
    body += [line(node, OPERATIONS[node.op].numba, names) for node in done.nodes]
    body += [f"sum{index} = fast_add(sum{index}, {REDUCTIONS[node.op].numba.format(*node.args)})" for index, node in results]
    body += [
        f"{name}_[i] = {_written(value, dtypes[name], stochastic and name == 'param')}"
        for name, value in (done.writes or {}).items()
    ]
    after = [f"pointer_float64(sums_at, {len(results)} * chunk)[{index}] = sum{index}" for index, _ in results]
    return _KERNEL.format(
        title=title,
        arguments=UPDATE.unpacked(),
        real=compute_dtype(dtypes["param"]),
        reduced=len(reduced),
        setting_up=indent("\n".join(setting_up), " " * 12),
        body=indent("\n".join(body), " " * 16),
        after=indent("\n".join(after), " " * 12),
    )


def _read(name: str, dtype: str) -> str:
    return f"from_{dtype}({name}_[i])" if dtype in _HALF else f"{name}_[i]"


def _written(value: str, dtype: str, stochastic: bool) -> str:
    if dtype not in _HALF:
        return value
    return f"stochastic_to_{dtype}({value}, seed, tensor, begin + i)" if stochastic else f"to_{dtype}({value})"


_ALIVE: list[Any] = []  # kernels without a module; their code must outlive their addresses


@cache
def compiled(source: str) -> Kernel:
    """The kernel of a source, compiled, or read from the disk where it has been before."""
    basis = f"{numba.__version__} {Path(intrinsics.__file__).read_text()} {source}"
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
    """The kernel in a file, compiled beside it; compiled anew where the compiled file can't be read."""
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
