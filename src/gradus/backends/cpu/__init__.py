"""The CPU backend: one kernel call updates all tensors, without temporaries, on as many cores as the work is worth."""

import operator
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from gradus.backends.cpu.finder import Finder
from gradus.backends.cpu.kernels import ELEMENTS, compiled, kernel_source, stage_source
from gradus.backends.cpu.sparse import Rows
from gradus.backends.cpu.team import run_together
from gradus.backends.gathered import Gathered, suits
from gradus.backends.layout import cut, is_dense, laid_out
from gradus.backends.local import local
from gradus.backends.row import Row, fill
from gradus.rules.trace import NORM, Program, Stage

__all__ = ["OnePass", "takes"]

_GRAD = operator.attrgetter("grad")
_PIECE = 1 << 13  # elements of a piece: its tensors fit into a core's cache together
_SHARE = 1 << 13  # elements that are worth a thread: some 3 µs


def takes(param: Tensor, grad: Tensor) -> bool:
    """Whether a kernel can have a parameter and its gradient: real, on the CPU, the parameter's elements side by side.

    Of a tensor that is shared out among processes it has the part that lies here.
    """
    if not suits(param, grad):
        return False
    param, grad = local(param), local(grad)
    if param.device.type != "cpu":
        return False
    return param.is_contiguous() if grad.layout is torch.sparse_coo else grad.layout is torch.strided and is_dense(param)


class OnePass(Gathered):
    """Updates tensors of the same dtypes in one call of a kernel.

    Args:
        rows: the tensors, by group and step.
        program: what to do with each element.
        stochastic: whether parameters in half precision are rounded up or down by chance.
    """

    def __init__(self, rows: Sequence[Row], program: Program, *, stochastic: bool = False) -> None:
        super().__init__(rows, program, stochastic=stochastic)
        self._sparse = self.grads[0].is_sparse
        self._rows_of = Rows(self.params, self.slots)
        self._kernel = compiled(kernel_source(program, self.dtypes, self.title, stochastic=self.stochastic))
        self._stages = [
            (stage, stage_source(stage, self.dtypes, f"{self.title}: norms and means", program.arguments, program.reduced))
            for stage in program.stages
        ]
        kinds = {name: self.dtypes[name] for name in ("param", "grad")}
        self._norm = stage_source(NORM, kinds, "The gradients' norms")
        self._addresses = self.addresses()
        self._which = self._row_of = np.repeat(np.arange(len(rows)), [len(row.params) for row in rows])
        self._owners = np.arange(len(self.params))  # the number of the parameter that each column of addresses is of
        self._pieces = cut([param.numel() for param in self.params], _PIECE)
        self._shares = _shares_of(self._pieces)
        columns = len(program.arguments) + self.stochastic
        self._numbers = np.zeros((len(rows), columns), dtype=ELEMENTS[self.dtypes["param"]].real)
        self._table = self._numbers[:, : len(self.program.arguments)]
        findable = not self._sparse and not self.shared and all(map(Tensor.is_contiguous, self.params))
        known = findable and Finder.is_there()
        self._finder = Finder(self.params, self.grads[0].dtype, self._addresses[1]) if known else None
        self._lay_out_job()
        self.note(self.grads)

    def holds(self) -> bool:
        """Whether the parameters lie where they lay, and have such gradients as they had, which are taken note of."""
        if self._finder is not None:
            self.grads = [*map(_GRAD, self.params)]
            if self._finder.find(self.grads):
                return True
        return super().holds()

    @torch.no_grad()
    def note(self, grads: list[Tensor]) -> None:
        """Take note of the parameters' gradients; one of another layout than its parameter's is laid out anew."""
        if not self._sparse:
            self.grads = [*map(laid_out, grads, self.params)]
            self._addresses[1] = [grad.data_ptr() for grad in self.grads]
            return
        found = self._rows_of.touched(grads)  # each row that a sparse gradient touches is a piece of its own
        self.grads, self._addresses, self._pieces = found.values, found.addresses, found.pieces
        self._owners, self._which = found.owners, np.ascontiguousarray(self._row_of[found.owners])
        self._shares = _shares_of(self._pieces)
        self._lay_out_job()

    def squares(self) -> float:
        """The sum of the gradients' squares."""
        sums = self._sums(NORM, self._norm)
        return float((self._added_up(sums) if self.shared else sums).sum())

    def prepare(self, scale: float | None) -> bool:
        """Calculate the numbers of the step; whether the program is made for them. Nothing is changed yet."""
        scalars = fill(self._table, self.program, self.rows, scale)
        if self.stochastic:
            self._numbers[:, -1] = [row.seed() for row in self.rows]
        self._scalars = scalars or []
        return scalars is not None

    def update(self) -> None:
        """One update of every tensor."""
        if self._stages:
            self._reduce()
        self._run(self._kernel)
        self.done(self._scalars)

    def _reduce(self) -> None:
        """Find the tensors' norms and means, stage by stage."""
        reduced = np.zeros((self._addresses.shape[1], len(self.program.reduced)), dtype=self._numbers.dtype)
        self._job[9], column = reduced.ctypes.data, 0
        for stage, source in self._stages:
            sums = self._sums(stage, source)
            *totals, sizes = self._added_up(np.column_stack([sums, self._pieces[:, 2]])).T
            for node, total in zip(stage.results, totals, strict=True):
                reduced[:, column] = self.reduced(node.op, total, np.maximum(sizes, 1))[self._owners]
                column += 1
        self._reduced = reduced  # whose address the job has

    def _sums(self, stage: Stage, source: str) -> np.ndarray:
        """What a stage's norms (their squares) and means are of, added up over each piece: `[pieces, results]`."""
        sums = np.zeros((len(self._pieces), len(stage.results)))
        self._job[10] = sums.ctypes.data
        self._run(compiled(source))
        return sums

    def _added_up(self, sums: np.ndarray) -> np.ndarray:
        """Sums over pieces, `[pieces, n]`, added up over each tensor: `[tensors, n]`."""
        owners = self._owners[self._pieces[:, 0]]
        by_tensor = [np.bincount(owners, column, len(self.params)) for column in sums.T]
        return self.totals(torch.from_numpy(np.stack(by_tensor, axis=1))).numpy()

    def _run(self, kernel: Callable[[int], None]) -> None:
        """Run a kernel over all pieces, on several threads where there is enough to do."""
        count = len(self._shares)
        if count == 0:
            return
        job = self._job
        job[0], job[1] = 0, count
        run_together(kernel, self._job_at, min(torch.get_num_threads(), count) if count > 1 else 1)

    def _lay_out_job(self) -> None:
        """Note where everything lies that a kernel needs."""
        arrays = (self._shares, self._pieces, self._addresses, self._which, self._numbers)
        tensors, arguments = self._addresses.shape[1], self._numbers.shape[1]
        job = np.array([0, 0, tensors, arguments, *(array.ctypes.data for array in arrays), 0, 0], dtype=np.int64)
        self._job, self._job_at = job.data, job.ctypes.data


def _shares_of(pieces: np.ndarray) -> np.ndarray:
    """The pieces as shares (first, last) of about as many elements, each worth a thread."""
    if len(pieces) == 0:
        return np.zeros((0, 2), dtype=np.int64)
    done = np.cumsum(pieces[:, 2])
    count = max(1, min(4 * torch.get_num_threads(), int(done[-1]) // _SHARE))
    ends = np.unique(np.searchsorted(done, np.arange(1, count + 1) * (done[-1] / count)) + 1)
    ends = np.unique(np.minimum(ends, len(pieces)))
    return np.stack([np.concatenate([[0], ends[:-1]]), ends], axis=1).astype(np.int64)
