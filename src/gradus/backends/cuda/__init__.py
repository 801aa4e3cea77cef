"""The CUDA backend: one launch of a Triton kernel updates all tensors, without temporaries."""

import functools
import importlib.util
import os
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.backends.kernel_batch import KernelBatch, supports_dtypes
from gradus.backends.layout import aligned, chunked, is_dense
from gradus.backends.operations import compute_dtype
from gradus.backends.sharding import local
from gradus.backends.tensor_group import TensorGroup, fill, fill_on_device
from gradus.backends.trace import NORM, Pass, Program

__all__ = ["CudaBatch", "is_capturing", "is_installed", "supports", "supports_program"]


@functools.cache
def is_installed() -> bool:
    """Whether Triton is there; it isn't imported for that."""
    return importlib.util.find_spec("triton") is not None


def supports(param: Tensor, grad: Tensor) -> bool:
    """Whether kernels can update a parameter: real, on a GPU, its elements contiguous in memory in some order.

    Of a sharded tensor they update the local shard. Where Triton interprets its kernels (TRITON_INTERPRET=1), they take
    tensors on the CPU too.
    """
    if not is_installed() or not supports_dtypes(param, grad):
        return False
    param, grad = local(param), local(grad)
    here = param.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return here and grad.layout is torch.strided and is_dense(param)


def supports_program(program: Program) -> bool:
    """Whether a kernel can do what a program says."""
    from gradus.backends.cuda import kernels  # Triton takes half a second to import, which only those pay who need it

    return kernels.supports(program)


def is_capturing() -> bool:
    """Whether a CUDA graph is being captured."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


class CudaBatch(KernelBatch):
    """Updates tensors of the same dtypes on one device in one launch of a kernel.

    Args:
        groups: the tensors, by parameter group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded stochastically.
    """

    def __init__(self, groups: Sequence[TensorGroup], program: Program, *, stochastic: bool = False) -> None:
        from gradus.backends.cuda import kernels

        super().__init__(groups, program, stochastic=stochastic)
        *reductions, update = program.passes
        source = kernels.kernel_source(update, program, self.dtypes, self.title, stochastic=self.stochastic)
        self._kernel, self._block = kernels.compiled(source), kernels.BLOCK
        title = f"{self.title}: norms and means"
        sources = {one: kernels.kernel_source(one, program, self.dtypes, title) for one in reductions}
        kinds = {name: self.dtypes[name] for name in ("param", "grad")}
        sources[NORM] = kernels.kernel_source(NORM, None, kinds, "The gradients' norms")
        self._sum_up = {one: kernels.compiled(source) for one, source in sources.items()}
        self._total = kernels.compiled(kernels.TOTALS)
        self._device = self.params[0].device
        self._capturable = bool(groups[0].param_group["capturable"])
        self._make_tables(getattr(torch, compute_dtype(self.dtypes["param"])))
        self.bind_grads(self.grads)

    def _make_tables(self, real: torch.dtype) -> None:
        """Write the tables that the kernels read, on the device; `cuda.kernels` says their shapes."""
        groups, sizes = self.groups, [param.numel() for param in self.params]
        chunks = chunked(sizes, self._block)
        self._grads_at = np.zeros(len(sizes), dtype=np.int64)
        # What a CUDA graph copies must stay where it is, and as it is, for as long as the graph lives.
        self._pinned = torch.empty(
            len(sizes), dtype=torch.int64, pin_memory=self._capturable and self._device.type == "cuda"
        )
        self._addresses = self._there(self.addresses())
        self._chunks = self._there(np.ascontiguousarray(chunks[:, :2]))
        self._ends = self._there(np.searchsorted(chunks[:, 0], np.arange(len(sizes) + 1)))
        self._sizes = self._there(np.array(sizes, dtype=np.int64))
        self._group_of = self._there(np.repeat(np.arange(len(groups)), [len(group.params) for group in groups]))
        columns = len(self.program.names) + self.stochastic
        self._constants = torch.zeros((len(groups), columns), dtype=real, device=self._device)
        self._reduced = torch.zeros((len(sizes), len(self.program.reduced)), dtype=real, device=self._device)
        self._all_sizes = self._there(np.array([max(1, param.numel()) for param in self.given], dtype=np.float64))

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    @torch.no_grad()
    def bind_grads(self, grads: list[Tensor]) -> None:
        """Read these gradients from now on; one in another memory order than its parameter is copied into that order."""
        self.grads = [*map(aligned, grads, self.params)]
        addresses = np.fromiter(map(Tensor.data_ptr, self.grads), np.int64, len(grads))
        if not np.array_equal(addresses, self._grads_at):
            self._grads_at = addresses
            new = torch.from_numpy(addresses)
            self._addresses[1].copy_(self._pinned.copy_(new) if is_capturing() else new, non_blocking=True)

    @torch.no_grad()
    def squares(self) -> Any:
        """The sum of the gradients' squares; a tensor where a CUDA graph may be at work, which must not be waited for."""
        total = self._totals(NORM).sum()
        return total if self._capturable else float(total)

    def _totals(self, one: Pass) -> Tensor:
        """What a pass's norms (as squares) and means are of, added up over each tensor: `[tensors, results]`."""
        results = len(one.results)
        sums = torch.zeros((len(self._chunks), results), dtype=torch.float64, device=self._device)
        totals = sums.new_zeros(len(self.params), results)
        self._run(self._sum_up[one], sums)
        if len(sums):
            with self._on_device():
                self._total[(len(totals), results)](sums, self._ends, totals, results, BLOCK=self._block)
        return self.totals(totals)

    def _reduce(self) -> None:
        """Find the tensors' norms and means, pass by pass."""
        column = 0
        for one in self.program.passes[:-1]:
            for node, totals in zip(one.results, self._totals(one).T, strict=True):
                self._reduced[:, column] = self.reduced(node.op, totals, self._all_sizes)
                column += 1

    @torch.no_grad()
    def prepare(self, scale: Any) -> bool:
        """Compute the constants of the step; whether the program is made for them. Nothing is changed yet."""
        count = len(self.program.names)
        if self._capturable:
            kept = fill_on_device(self._constants[:, :count], self.program, self.groups, scale)
        else:
            table = torch.zeros(self._constants.shape, dtype=self._constants.dtype)
            kept = fill(table.numpy()[:, :count], self.program, self.groups, scale)
            self._constants.copy_(table, non_blocking=True)  # or the copy would wait for all that the GPU has still to do
        for index, group in enumerate(self.groups if self.stochastic else ()):
            self._constants[index, count] = group.seed()
        self._scalars = kept or []
        return kept is not None

    @torch.no_grad()
    def update(self) -> None:
        """One update of every tensor."""
        self._reduce()
        self._run(self._kernel, self._constants)
        self.advance(self._scalars)

    def _run(self, kernel: Any, sums: Tensor) -> None:
        """Run a kernel over all chunks; a pass with results writes sums."""
        if len(self._chunks) == 0:
            return
        tables = (self._addresses, self._chunks, self._sizes, self._group_of, self._constants, self._reduced, sums)
        with self._on_device():
            kernel[(len(self._chunks),)](*tables, len(self.params), self._constants.shape[1], BLOCK=self._block)

    def _on_device(self) -> Any:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
