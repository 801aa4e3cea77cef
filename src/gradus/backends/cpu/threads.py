"""Threads for a kernel: torch's own, which are awake when an optimizer steps, and else Python's.

After a backward pass OpenMP's threads wait for more work by spinning. Threads of another pool would compete with them for
the cores; the same ones begin at once, which makes it worth while to share even 20 µs of work.
"""

import ctypes
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import torch

__all__ = ["Task", "parallel_run"]

Task = ctypes.CFUNCTYPE(None, ctypes.c_void_p)  # a kernel: it takes pieces of a job until none is left


def parallel_run(kernel: Callable[[int], None], job: int, threads: int) -> None:
    """Run a kernel on a job, on several threads at once.

    Args:
        kernel: what `Task` describes.
        job: the job's address.
        threads: how many are to run it.
    """
    if threads < 2:
        kernel(job)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(kernel, job, threads, 0)
        return
    others = [_pool().submit(kernel, job) for _ in range(threads - 1)]
    kernel(job)
    for other in others:
        other.result()


@cache
def _openmp() -> Callable[..., None] | None:
    """The entry to OpenMP's parallel regions in the library that torch itself uses; None where it isn't found."""
    if "OpenMP" not in torch.__config__.parallel_info().split("ATen parallel backend:")[-1]:
        return None
    maps = Path("/proc/self/maps")
    loaded = set(re.findall(r"(/\S*/lib(?:gomp|omp|iomp5)[^/\s]*\.so[\d.]*)", maps.read_text())) if maps.exists() else set()
    torchs = [path for path in loaded if "/torch/" in path] or sorted(loaded)
    if len(torchs) != 1:
        return None
    try:
        function = ctypes.CDLL(torchs[0]).GOMP_parallel
    except (OSError, AttributeError):
        return None
    function.argtypes = [Task, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    function.restype = None
    parallel: Callable[..., None] = function
    return parallel


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, torch.get_num_threads() - 1), thread_name_prefix="gradus")
