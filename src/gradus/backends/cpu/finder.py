"""`Finder`: where the gradients of a step lie, asked of libtorch for all tensors in one call.

From Python one question to one tensor takes a tenth of a microsecond, and a step has six for each: more than the update of a
small tensor takes. libtorch's C interface, which is kept stable for compiled models, answers each in a hundredth. It wants
pointers to tensors, which their Python objects hold; at which place, is looked up on a tensor whose pointer is known. Where
anything isn't as expected there is no finder, and Python asks.
"""

import ctypes
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.kernels import compiled
from gradus.backends.gathered import DTYPES

__all__ = ["Finder"]

# A job is numbers and addresses: the outcome, how many tensors; where there lie the parameters' objects, their elements'
# addresses and numbers; the list of gradients; where to write the addresses of their elements; what a gradient's type and
# dtype must be; at which word of an object its tensor lies; the five questions; and room for an answer.
_SOURCE = '''"""Find the elements of gradients, if all is as it was: 1 in the first place says so, and 0 that it isn't."""

from gradus.backends.cpu.language import *


@kernel
def run(pointer):
    job = elements(pointer, 16)
    job[0] = 0
    params, places, sizes = at_int64(job[2], 0), at_int64(job[3], 0), at_int64(job[4], 0)
    grads, found, answer = at_int64(at_int64(job[5], 3)[0], 0), at_int64(job[6], 0), at_int64(job[15], 0)
    kind, dtype, word = job[7], job[8], 8 * job[9]
    for i in range(job[1]):
        if at_int64(grads[i], 1)[0] != kind:
            return
        for tensor in (params[i] + word, grads[i] + word):
            answer[0] = 0
            if asked(job[10], tensor, job[15]) != 0 or answer[0] != 0:  # laid out in strides
                return
            if asked(job[11], tensor, job[15]) != 0 or (answer[0] & 255) == 0:  # and those side by side
                return
            if asked(job[12], tensor, job[15]) != 0 or answer[0] != sizes[i]:
                return
        answer[0] = 0
        if asked(job[13], grads[i] + word, job[15]) != 0 or answer[0] != dtype:
            return
        if asked(job[14], params[i] + word, job[15]) != 0 or answer[0] != places[i]:
            return
        if asked(job[14], grads[i] + word, job[15]) != 0 or (answer[0] == 0 and sizes[i] != 0):
            return
        found[i] = answer[0]
    job[0] = 1
'''
_QUESTIONS = ("layout", "is_contiguous", "numel", "dtype", "data_ptr")


class Finder:
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
        self._kept = answer, columns, found  # whose addresses the job has
        expected = [id(Tensor), access.dtypes[grad_dtype], access.word]
        job = [0, len(params), *(column.ctypes.data for column in columns), 0, found.ctypes.data]
        table = np.array([*job, *expected, *access.questions, answer.ctypes.data], dtype=np.int64)
        self._job, self._job_at, self._run = table.data, table.ctypes.data, access.run
        self._single = [index for index, param in enumerate(params) if param.numel() == 1]

    def find(self, grads: list[Tensor]) -> bool:
        """Write the addresses of the gradients' elements; whether all of them could be found."""
        job = self._job
        job[5] = id(grads)
        self._run(self._job_at)
        # What autograd leaves yet to be negated is the imaginary part of a conjugate. Its elements lie two apart, where it
        # has several.
        return job[0] == 1 and not (self._single and any(grads[index].is_neg() for index in self._single))

    @staticmethod
    @cache
    @torch.no_grad()
    def is_there() -> bool:
        """Whether this Python and this libtorch can be asked: whether an attempt finds what Python finds."""
        if _access() is None:
            return False
        params, found = [torch.zeros(2, 3), torch.zeros(())], np.zeros(2, dtype=np.int64)
        finder = Finder(params, torch.float32, found)
        grads = [torch.ones(2, 3), torch.ones(())]
        well = finder.find(grads) and found.tolist() == [grad.data_ptr() for grad in grads]
        others = (torch.ones(3, 2).T, torch.ones(2, 3).double(), torch.ones(2, 2), torch.ones(2, 3).to_sparse(), None)
        return well and not any(finder.find([other, grads[1]]) for other in others)  # type: ignore[list-item]


class _Access(NamedTuple):
    word: int
    questions: list[int]
    dtypes: dict[torch.dtype, int]
    run: Callable[[int], None]


@cache
def _access() -> _Access | None:
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
        names = [f"aoti_torch_{name}" if name.startswith("is_") else f"aoti_torch_get_{name}" for name in _QUESTIONS]
        questions = [_address(getattr(library, name)) for name in names]
        numbers = {dtype: int(getattr(library, f"aoti_torch_dtype_{name}")()) for dtype, name in DTYPES.items()}
    except (OSError, AttributeError):
        return None
    if len(words) != 1:
        return None
    # Python's lock is held: nobody may set another gradient in between.
    run = ctypes.PYFUNCTYPE(None, ctypes.c_void_p)(_address(compiled(_SOURCE)))
    return _Access(words[0], questions, numbers, run)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
