"""`GradPointers`: the addresses of all gradients of a step, asked of libtorch in one call.

Why so low a level: from Python one question to one tensor takes a tenth of a microsecond, and a step has six for each, which
is more than the update of a small tensor takes. Without this file a step of LeNet takes 2.5 times as long, and one of
500 scalars 12.3 times (measured on one thread). libtorch's C interface, which is kept stable for compiled models, answers in
a hundredth of the time. It wants pointers to tensors, which their Python objects hold; a tensor whose pointer is known
tells at which word. Where anything isn't as expected, `is_there` says so, and Python asks tensor by tensor.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.arguments import Arguments
from gradus.backends.cpu.kernels import compiled
from gradus.backends.kernel_batch import DTYPES

__all__ = ["GradPointers"]

FIND = Arguments(
    found="1 where all is as it was, else 0, which the kernel writes",
    tensors="how many parameters there are",
    params_at="int64 [tensors]: the addresses of the parameters' Python objects",
    places_at="int64 [tensors]: where the parameters' elements were",
    sizes_at="int64 [tensors]: how many they are",
    grads="the address of the list of gradients",
    addresses_at="int64 [tensors]: where the gradients' elements are, which the kernel writes",
    kind="the address of the gradients' Python type",
    dtype="their dtype, as libtorch numbers it",
    word="at which word of a Python object its tensor's pointer is",
    layout="the address of each getter of libtorch",
    is_contiguous="see layout",
    numel="see layout",
    get_dtype="see layout",
    data_ptr="see layout",
    answer_at="int64 [1]: room for what a getter writes",
)
_SOURCE = f'''"""Find the elements of gradients, if all is as it was: 1 in the first slot says so, and 0 that it isn't."""

from gradus.backends.cpu.intrinsics import *


@kernel
def run(pointer):
{FIND.unpacked()}
    arguments[{FIND.place("found")}] = 0
    params, places, sizes = pointer_int64(params_at, 0), pointer_int64(places_at, 0), pointer_int64(sizes_at, 0)
    items = pointer_int64(pointer_int64(grads, 3)[0], 0)
    addresses, answer, byte = pointer_int64(addresses_at, 0), pointer_int64(answer_at, 0), 8 * word
    for i in range(tensors):
        if pointer_int64(items[i], 1)[0] != kind:
            return
        for tensor in (params[i] + byte, items[i] + byte):
            answer[0] = 0
            if call_aoti(layout, tensor, answer_at) != 0 or answer[0] != 0:  # strided
                return
            if call_aoti(is_contiguous, tensor, answer_at) != 0 or (answer[0] & 255) == 0:
                return
            if call_aoti(numel, tensor, answer_at) != 0 or answer[0] != sizes[i]:
                return
        answer[0] = 0
        if call_aoti(get_dtype, items[i] + byte, answer_at) != 0 or answer[0] != dtype:
            return
        if call_aoti(data_ptr, params[i] + byte, answer_at) != 0 or answer[0] != places[i]:
            return
        if call_aoti(data_ptr, items[i] + byte, answer_at) != 0 or (answer[0] == 0 and sizes[i] != 0):
            return
        addresses[i] = answer[0]
    arguments[{FIND.place("found")}] = 1
'''
_FOUND, _GRADS = FIND.place("found"), FIND.place("grads")
_AOTI_GETTERS = ("layout", "is_contiguous", "numel", "dtype", "data_ptr")


class GradPointers:
    """Finds gradients as long as everything about them and their parameters stays: contiguous, so many elements, the dtype.

    Args:
        params: contiguous parameters, whose objects must outlive this.
        grad_dtype: their gradients'.
        found: where to write the addresses of the gradients' elements, one for each parameter.
    """

    def __init__(self, params: Sequence[Tensor], grad_dtype: torch.dtype, found: np.ndarray) -> None:
        access = _access()
        assert access is not None
        known = [(id(param), param.data_ptr(), param.numel()) for param in params]
        answer, columns = np.zeros(1, dtype=np.int64), np.array(known, dtype=np.int64).T.copy()
        self._kept = answer, columns, found  # whose addresses the arguments have
        places = dict(zip(("params_at", "places_at", "sizes_at"), columns, strict=True))
        getters = dict(zip(("layout", "is_contiguous", "numel", "get_dtype", "data_ptr"), access.getters, strict=True))
        array = FIND.packed(
            tensors=len(params),
            addresses_at=found,
            kind=id(Tensor),
            dtype=access.dtypes[grad_dtype],
            word=access.word,
            answer_at=answer,
            **places,
            **getters,
        )
        self._arguments, self._arguments_at, self._run = array.data, array.ctypes.data, access.run
        self._single = [index for index, param in enumerate(params) if param.numel() == 1]

    def find(self, grads: list[Tensor]) -> bool:
        """Write the addresses of the gradients' elements; whether all of them could be found."""
        arguments = self._arguments
        arguments[_GRADS] = id(grads)
        self._run(self._arguments_at)
        # What autograd leaves yet to be negated is the imaginary part of a conjugate. Its elements lie two apart, where it
        # has several.
        return arguments[_FOUND] == 1 and not (self._single and any(grads[index].is_neg() for index in self._single))

    @staticmethod
    @cache
    @torch.no_grad()
    def is_there() -> bool:
        """Whether this Python and this libtorch can be asked: whether an attempt finds what Python finds."""
        if _access() is None:
            return False
        params, found = [torch.zeros(2, 3), torch.zeros(())], np.zeros(2, dtype=np.int64)
        finder = GradPointers(params, torch.float32, found)
        grads = [torch.ones(2, 3), torch.ones(())]
        well = finder.find(grads) and found.tolist() == [grad.data_ptr() for grad in grads]
        others = (torch.ones(3, 2).T, torch.ones(2, 3).double(), torch.ones(2, 2), torch.ones(2, 3).to_sparse(), None)
        return well and not any(finder.find([other, grads[1]]) for other in others)  # type: ignore[list-item]


class _LibtorchAbi(NamedTuple):
    word: int
    getters: list[int]
    dtypes: dict[torch.dtype, int]
    run: Callable[[int], None]


@cache
def _access() -> _LibtorchAbi | None:
    """How libtorch is asked, and where a Python object holds its tensor; None where that can't be said."""
    # The list's items lie where CPython with a global lock has them.
    if sys.implementation.name != "cpython" or (object.__basicsize__, list.__basicsize__) != (16, 40):
        return None
    known = [torch.zeros(1), torch.ones(2)]
    words = [
        word
        for word in range(2, Tensor.__basicsize__ // 8)
        if all(ctypes.c_int64.from_address(id(tensor) + 8 * word).value == tensor._cdata for tensor in known)
    ]
    try:
        library = ctypes.CDLL(torch._C.__file__)
        names = [f"aoti_torch_{name}" if name.startswith("is_") else f"aoti_torch_get_{name}" for name in _AOTI_GETTERS]
        getters = [_address(getattr(library, name)) for name in names]
        numbers = {dtype: int(getattr(library, f"aoti_torch_dtype_{name}")()) for dtype, name in DTYPES.items()}
    except (OSError, AttributeError):
        return None
    if len(words) != 1:
        return None
    # Python's lock is held: nobody may set another gradient in between.
    run = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_address(compiled(_SOURCE)))
    return _LibtorchAbi(words[0], getters, numbers, run)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
