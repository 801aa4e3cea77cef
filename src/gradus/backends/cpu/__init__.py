"""The CPU backend: one kernel call updates all tensors, without temporaries, on as many cores as the work is worth."""

import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.grad_pointers import GradPointers
from gradus.backends.cpu.kernels import UPDATE, compiled, kernel_source
from gradus.backends.cpu.sparse import TouchedRows
from gradus.backends.cpu.threads import parallel_run
from gradus.backends.kernel_batch import KernelBatch, supports_dtypes
from gradus.backends.layout import aligned, chunked, is_dense
from gradus.backends.operations import compute_dtype
from gradus.backends.sharding import local
from gradus.backends.tensor_group import TensorGroup, fill
from gradus.backends.trace import NORM, Pass, Program

__all__ = ["CpuBatch", "supports"]

_GRAD = operator.attrgetter("grad")
_CHUNK = 1 << 13  # elements of a chunk: its tensors fit into a core's cache together
_ITEM = 1 << 13  # elements that are worth a thread: some 3 µs


def supports(param: Tensor, grad: Tensor) -> bool:
    """Whether kernels can update a parameter: real, on the CPU, its elements contiguous in memory in some order.

    Of a sharded tensor they update the local shard.
    """
    if not supports_dtypes(param, grad):
        return False
    param, grad = local(param), local(grad)
    if param.device.type != "cpu":
        return False
    return param.is_contiguous() if grad.layout is torch.sparse_coo else grad.layout is torch.strided and is_dense(param)


class CpuBatch(KernelBatch):
    """Updates tensors of the same dtypes in one call of a kernel; `cpu.kernels.UPDATE` lists the tables that it reads.

    Args:
        groups: the tensors, by parameter group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded stochastically.
    """

    def __init__(self, groups: Sequence[TensorGroup], program: Program, *, stochastic: bool = False) -> None:
        super().__init__(groups, program, stochastic=stochastic)
        self._sparse = self.grads[0].is_sparse
        self._touched = TouchedRows(self.params, self.slots)
        *reductions, update = program.passes
        self._kernel = compiled(kernel_source(update, program, self.dtypes, self.title, stochastic=self.stochastic))
        title = f"{self.title}: norms and means"
        self._reductions = [(one, kernel_source(one, program, self.dtypes, title)) for one in reductions]
        kinds = {name: self.dtypes[name] for name in ("param", "grad")}
        self._norm = kernel_source(NORM, None, kinds, "The gradients' norms")
        self._addresses = self.addresses()
        self._group_of_param = np.repeat(np.arange(len(groups)), [len(group.params) for group in groups])
        self._group_of = self._group_of_param  # the group of each column of addresses
        self._owners = np.arange(len(self.params))  # the parameter of each column of addresses
        self._chunks = chunked([param.numel() for param in self.params], _CHUNK)
        self._work = _work_items(self._chunks)
        columns = len(program.names) + self.stochastic
        self._constants = np.zeros((len(groups), columns), dtype=compute_dtype(self.dtypes["param"]))
        self._table = self._constants[:, : len(program.names)]
        findable = not self._sparse and not self.is_sharded and all(map(Tensor.is_contiguous, self.params))
        known = findable and GradPointers.is_there()
        self._pointers = GradPointers(self.params, self.grads[0].dtype, self._addresses[1]) if known else None
        self._pack_arguments()
        self.bind_grads(self.grads)

    def is_current(self) -> bool:
        """True if no parameter moved and the gradients fit as before; binds the gradients."""
        if self._pointers is not None:
            self.grads = [*map(_GRAD, self.params)]
            if self._pointers.find(self.grads):
                return True
        return super().is_current()

    @torch.no_grad()
    def bind_grads(self, grads: list[Tensor]) -> None:
        """Read these gradients from now on; one in another memory order than its parameter is copied into that order."""
        if not self._sparse:
            self.grads = [*map(aligned, grads, self.params)]
            self._addresses[1] = [grad.data_ptr() for grad in self.grads]
            return
        found = self._touched.find(grads)  # each row that a sparse gradient touches is a chunk of its own
        self.grads, self._addresses, self._chunks = found.values, found.addresses, found.chunks
        self._owners, self._group_of = found.owners, np.ascontiguousarray(self._group_of_param[found.owners])
        self._work = _work_items(self._chunks)
        self._pack_arguments()

    def squares(self) -> float:
        """The sum of the gradients' squares."""
        sums = self._sums(NORM, self._norm)
        return float((self._per_tensor(sums) if self.is_sharded else sums).sum())

    def prepare(self, scale: float | None) -> bool:
        """Compute the constants of the step; whether the program is made for them. Nothing is changed yet."""
        scalars = fill(self._table, self.program, self.groups, scale)
        if self.stochastic:
            self._constants[:, -1] = [group.seed() for group in self.groups]
        self._scalars = scalars or []
        return scalars is not None

    def update(self) -> None:
        """One update of every tensor."""
        if self._reductions:
            self._reduce()
        self._run(self._kernel)
        self.advance(self._scalars)

    def _reduce(self) -> None:
        """Find the tensors' norms and means, pass by pass."""
        reduced = np.zeros((self._addresses.shape[1], len(self.program.reduced)), dtype=self._constants.dtype)
        self._arguments[_REDUCED_AT], column = reduced.ctypes.data, 0
        for one, source in self._reductions:
            sums = self._sums(one, source)
            *totals, sizes = self._per_tensor(np.column_stack([sums, self._chunks[:, 2]])).T
            for node, total in zip(one.results, totals, strict=True):
                reduced[:, column] = self.reduced(node.op, total, np.maximum(sizes, 1))[self._owners]
                column += 1
        self._reduced = reduced  # whose address the arguments have

    def _sums(self, one: Pass, source: str) -> np.ndarray:
        """What a pass's norms (as squares) and means are of, added up over each chunk: `[chunks, results]`."""
        sums = np.zeros((len(self._chunks), len(one.results)))
        self._arguments[_SUMS_AT] = sums.ctypes.data
        self._run(compiled(source))
        return sums

    def _per_tensor(self, sums: np.ndarray) -> np.ndarray:
        """Sums over chunks, `[chunks, n]`, added up over each tensor: `[tensors, n]`."""
        owners = self._owners[self._chunks[:, 0]]
        by_tensor = [np.bincount(owners, column, len(self.params)) for column in sums.T]
        return self.totals(torch.from_numpy(np.stack(by_tensor, axis=1))).numpy()

    def _run(self, kernel: Callable[[int], None]) -> None:
        """Run a kernel over all chunks, on several threads where there is enough to do."""
        count = len(self._work)
        if count == 0:
            return
        self._arguments[_NEXT] = 0
        parallel_run(kernel, self._arguments_at, min(torch.get_num_threads(), count) if count > 1 else 1)

    def _pack_arguments(self) -> None:
        """Note where the tables are that a kernel reads."""
        array = UPDATE.packed(
            items=len(self._work),
            tensors=self._addresses.shape[1],
            columns=self._constants.shape[1],
            work_at=self._work,
            chunks_at=self._chunks,
            addresses_at=self._addresses,
            group_of_at=self._group_of,
            constants_at=self._constants,
        )
        self._arguments, self._arguments_at = array.data, array.ctypes.data


_NEXT, _REDUCED_AT, _SUMS_AT = map(UPDATE.place, ("next", "reduced_at", "sums_at"))


def _work_items(chunks: np.ndarray) -> np.ndarray:
    """Runs of chunks of about as many elements, each worth a thread: `[items, 2]`, the first and the one after the last."""
    if len(chunks) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    done = np.cumsum(chunks[:, 2])
    count = max(1, min(4 * torch.get_num_threads(), int(done[-1]) // _ITEM))
    ends = np.unique(np.searchsorted(done, np.arange(1, count + 1) * (done[-1] / count)) + 1)
    ends = np.unique(np.minimum(ends, len(chunks)))
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1).astype(np.int64)
