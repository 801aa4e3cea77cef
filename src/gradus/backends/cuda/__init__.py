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

from gradus.backends.gathered import Gathered, suits
from gradus.backends.layout import cut, is_dense, laid_out
from gradus.backends.local import local
from gradus.backends.row import Row, fill, fill_on_device
from gradus.rules.trace import NORM, Program, Stage

__all__ = ["OneLaunch", "can", "is_capturing", "is_installed", "takes"]


@functools.cache
def is_installed() -> bool:
    """Whether Triton is there; it isn't imported for that."""
    return importlib.util.find_spec("triton") is not None


def takes(param: Tensor, grad: Tensor) -> bool:
    """Whether a kernel can have a parameter and its gradient: real, on a GPU, the parameter's elements side by side.

    Of a tensor that is shared out among processes it has the part that lies here. Where Triton interprets its kernels
    (TRITON_INTERPRET=1), it takes tensors on the CPU too.
    """
    if not is_installed() or not suits(param, grad):
        return False
    param, grad = local(param), local(grad)
    here = param.device.type == "cuda" or os.environ.get("TRITON_INTERPRET") == "1"
    return here and grad.layout is torch.strided and is_dense(param)


def can(program: Program) -> bool:
    """Whether a kernel can do what a program says."""
    from gradus.backends.cuda import kernels  # Triton takes half a second to import, which only those pay who need it

    return kernels.can(program)


def is_capturing() -> bool:
    """Whether a CUDA graph is being captured."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


class OneLaunch(Gathered):
    """Updates tensors of the same dtypes on one device in one launch of a kernel.

    Args:
        rows: the tensors, by group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded up or down by chance.
    """

    def __init__(self, rows: Sequence[Row], program: Program, *, stochastic: bool = False) -> None:
        from gradus.backends.cuda import kernels

        super().__init__(rows, program, stochastic=stochastic)
        self._kernel = kernels.compiled(kernels.kernel_source(program, self.dtypes, self.title, stochastic=self.stochastic))
        self._block = kernels.BLOCK
        title, known = f"{self.title}: norms and means", (program.arguments, program.reduced)
        sources = {stage: kernels.stage_source(stage, self.dtypes, title, *known) for stage in program.stages}
        kinds = {name: self.dtypes[name] for name in ("param", "grad")}
        sources[NORM] = kernels.stage_source(NORM, kinds, "The gradients' norms")
        self._sum_up = {stage: kernels.compiled(source) for stage, source in sources.items()}
        self._total = kernels.compiled(kernels.TOTALS)
        self._device = self.params[0].device
        self._capturable = bool(rows[0].group["capturable"])
        self._lay_out(getattr(torch, kernels.ELEMENTS[self.dtypes["param"]].real))
        self.note(self.grads)

    def _lay_out(self, real: torch.dtype) -> None:
        """Write the tables that the kernels read, on the device."""
        rows, sizes = self.rows, [param.numel() for param in self.params]
        pieces = cut(sizes, self._block)
        self._grads_at = np.zeros(len(sizes), dtype=np.int64)
        # What a CUDA graph copies must stay where it is, and as it is, for as long as the graph lives.
        self._pinned = torch.empty(
            len(sizes), dtype=torch.int64, pin_memory=self._capturable and self._device.type == "cuda"
        )
        self._addresses = self._there(self.addresses())
        self._pieces = self._there(np.ascontiguousarray(pieces[:, :2]))
        self._ends = self._there(np.searchsorted(pieces[:, 0], np.arange(len(sizes) + 1)))
        self._sizes = self._there(np.array(sizes, dtype=np.int64))
        self._row_of = self._there(np.repeat(np.arange(len(rows)), [len(row.params) for row in rows]))
        columns = len(self.program.arguments) + self.stochastic
        self._numbers = torch.zeros((len(rows), columns), dtype=real, device=self._device)
        self._reduced = torch.zeros((len(sizes), len(self.program.reduced)), dtype=real, device=self._device)
        self._all_sizes = self._there(np.array([max(1, param.numel()) for param in self.given], dtype=np.float64))

    def _there(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device)

    @torch.no_grad()
    def note(self, grads: list[Tensor]) -> None:
        """Take note of the parameters' gradients; one of another layout than its parameter's is laid out anew."""
        self.grads = [*map(laid_out, grads, self.params)]
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

    def _totals(self, stage: Stage) -> Tensor:
        """What a stage's norms (their squares) and means are of, added up over each tensor: `[tensors, results]`."""
        results = len(stage.results)
        sums = torch.zeros((len(self._pieces), results), dtype=torch.float64, device=self._device)
        totals = sums.new_zeros(len(self.params), results)
        self._run(self._sum_up[stage], sums)
        if len(sums):
            with self._on_device():
                self._total[(len(totals), results)](sums, self._ends, totals, results, BLOCK=self._block)
        return self.totals(totals)

    def _reduce(self) -> None:
        """Find the tensors' norms and means, stage by stage."""
        column = 0
        for stage in self.program.stages:
            for node, totals in zip(stage.results, self._totals(stage).T, strict=True):
                self._reduced[:, column] = self.reduced(node.op, totals, self._all_sizes)
                column += 1

    @torch.no_grad()
    def prepare(self, scale: Any) -> bool:
        """Calculate the numbers of the step; whether the program is made for them. Nothing is changed yet."""
        count = len(self.program.arguments)
        if self._capturable:
            kept = fill_on_device(self._numbers[:, :count], self.program, self.rows, scale)
        else:
            table = torch.zeros(self._numbers.shape, dtype=self._numbers.dtype)
            kept = fill(table.numpy()[:, :count], self.program, self.rows, scale)
            self._numbers.copy_(table, non_blocking=True)  # or the copy would wait for all that the GPU has still to do
        for index, row in enumerate(self.rows if self.stochastic else ()):
            self._numbers[index, count] = row.seed()
        self._scalars = kept or []
        return kept is not None

    @torch.no_grad()
    def update(self) -> None:
        """One update of every tensor."""
        self._reduce()
        self._run(self._kernel, self._numbers)
        self.done(self._scalars)

    def _run(self, kernel: Any, sums: Tensor) -> None:
        """Run a kernel over all pieces; one that adds up writes sums."""
        if len(self._pieces) == 0:
            return
        tables = (self._addresses, self._pieces, self._sizes, self._row_of, self._numbers, self._reduced, sums)
        with self._on_device():
            kernel[(len(self._pieces),)](*tables, len(self.params), self._numbers.shape[1], BLOCK=self._block)

    def _on_device(self) -> Any:
        return torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
