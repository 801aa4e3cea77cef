"""What kernels are written in: Numba, with memory by address, and bfloat16 and float16, which Numba lacks."""

import math
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "atomic_next",
    "call_aoti",
    "dot2",
    "exp",
    "fast_add",
    "from_bfloat16",
    "from_float16",
    "kernel",
    "log",
    "max_abs",
    "pointer_float32",
    "pointer_float64",
    "pointer_int64",
    "pointer_uint16",
    "prefetch",
    "real_float32",
    "real_float64",
    "sqrt",
    "stochastic_to_bfloat16",
    "stochastic_to_float16",
    "to_bfloat16",
    "to_float16",
    "uncached",
    "view",
]

_OPTIONS: dict[str, Any] = {"error_model": "numpy"}  # division by zero gives infinity, as in torch
_TASK = types.void(types.CPointer(types.int64))

view = numba.carray
real_float32, real_float64 = np.float32, np.float64
exp, log, sqrt = math.exp, math.log, math.sqrt


def kernel(function: Any) -> Any:
    """Compile a kernel, or read it from the disk."""
    return numba.cfunc(_TASK, cache=True, **_OPTIONS)(function)


def uncached(function: Any) -> Any:
    """Compile a kernel for this process alone."""
    return numba.cfunc(_TASK, **_OPTIONS)(function)


@numba.njit(fastmath={"reassoc", "contract"})  # in whatever order, so that a processor adds many numbers at once
def dot2(x: Any, a: Any, b: Any) -> Any:
    """x·a and x·b, in double precision."""
    with_a = with_b = 0.0
    for i in range(len(x)):
        element = real_float64(x[i])
        with_a += element * real_float64(a[i])
        with_b += element * real_float64(b[i])
    return with_a, with_b


@numba.njit(fastmath={"nnan", "nsz"})  # likewise; NaN is passed over
def max_abs(x: Any) -> Any:
    """The largest absolute value of an element."""
    found = abs(x[0])
    for i in range(len(x)):
        found = max(found, abs(x[i]))
    return real_float64(found)


@intrinsic
def fast_add(context: Any, a: Any, b: Any) -> Any:  # noqa: ARG001 - Numba's signature
    """a + b, in double precision, as a term of a sum in whatever order, so that a processor adds many numbers at once."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.fadd(*args, flags=("reassoc",))

    return types.float64(types.float64, types.float64), build


@intrinsic
def atomic_next(context: Any, counter: Any) -> Any:  # noqa: ARG001 - Numba's signature
    """The next number of a counter that several threads draw from."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.atomic_rmw("add", args[0], ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(types.CPointer(types.int64)), build


@intrinsic
def call_aoti(context: Any, question: Any, tensor: Any, answer: Any) -> Any:  # noqa: ARG001
    """Call a C function by address, `int question(tensor, answer)`, with two addresses; 0 if it could be answered."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(64), ir.IntType(64)])
        return builder.call(builder.inttoptr(args[0], kind.as_pointer()), args[1:])

    return types.int32(types.int64, types.int64, types.int64), build


@intrinsic
def prefetch(context: Any, address: Any) -> Any:  # noqa: ARG001
    """Have the processor fetch the memory at an address, without waiting for it."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        pointer, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [builder.inttoptr(args[0], pointer), *(number(n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.void(types.int64), build


def _pointer(kind: Any, size: int) -> Any:
    @intrinsic
    def at(context: Any, address: Any, first: Any) -> Any:  # noqa: ARG001 - Numba's signature
        def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            offset = builder.mul(args[1], args[1].type(size))
            return builder.inttoptr(builder.add(args[0], offset), context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64, types.int64), build

    return at


pointer_float32, pointer_float64 = _pointer(types.float32, 4), _pointer(types.float64, 8)
pointer_int64, pointer_uint16 = _pointer(types.int64, 8), _pointer(types.uint16, 2)


@intrinsic
def from_float16(context: Any, bits: Any) -> Any:  # noqa: ARG001
    """A float16's bits as a float32."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), build


@intrinsic
def to_float16(context: Any, x: Any) -> Any:  # noqa: ARG001
    """A float32 as the bits of the nearest float16."""

    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), build


@intrinsic
def _float32_of(context: Any, bits: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.FloatType())

    return types.float32(types.uint32), build


@intrinsic
def _bits_of(context: Any, x: Any) -> Any:  # noqa: ARG001
    def build(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), build


@numba.njit(inline="always")
def from_bfloat16(bits: Any) -> Any:
    """A bfloat16's bits as a float32."""
    return _float32_of(np.uint32(np.uint32(bits) << np.uint32(16)))


@numba.njit(inline="always")
def to_bfloat16(x: Any) -> Any:
    """A float32 as the bits of the nearest bfloat16, to even in the middle; NaN stays NaN."""
    bits = _bits_of(x)
    nearest = np.uint32(bits + np.uint32(0x7FFF) + np.uint32((bits >> np.uint32(16)) & np.uint32(1)))
    return np.uint16((nearest if x == x else np.uint32(0x7FC00000)) >> np.uint32(16))


@numba.njit(inline="always")
def hash32(seed: Any, tensor: Any, index: Any) -> Any:
    """32 bits for an element; see `gradus.backends.rounding`."""
    draw = np.uint32(index) * np.uint32(0x9E3779B9) + np.uint32(seed) * np.uint32(0x85EBCA6B)
    draw = np.uint32(draw + np.uint32(tensor) * np.uint32(0xC2B2AE35))
    draw = np.uint32((draw ^ (draw >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    draw = np.uint32((draw ^ (draw >> np.uint32(13))) * np.uint32(0xC2B2AE35))
    return draw ^ (draw >> np.uint32(16))


@numba.njit(inline="always")
def stochastic_to_bfloat16(x: Any, seed: Any, tensor: Any, index: Any) -> Any:
    """A float32 as the bits of one of its two neighbours in bfloat16, stochastically."""
    bits = _bits_of(x)
    up = np.uint32(bits + (hash32(seed, tensor, index) & np.uint32(0xFFFF)))
    return np.uint16((up if x - x == 0 else (bits if x == x else np.uint32(0x7FC00000))) >> np.uint32(16))


@numba.njit(inline="always")
def stochastic_to_float16(x: Any, seed: Any, tensor: Any, index: Any) -> Any:
    """A float32 as the bits of one of its two neighbours in float16, stochastically."""
    draw = hash32(seed, tensor, index) & np.uint32(0x1FFF)
    size = abs(x)
    if size < np.float32(2.0**-14):  # neighbours are equally far apart here
        small = np.floor(size * np.float32(2.0**24) + np.float32(draw) * np.float32(2.0**-13)) * np.float32(2.0**-24)
        return to_float16(np.copysign(small, x))
    return to_float16(_float32_of(np.uint32(_bits_of(x) + draw) & np.uint32(0xFFFFE000)) if x - x == 0 else x)
