"""`Snapshot`: everything that a training changes, saved so that it can be restored bit for bit."""

import random
import signal
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, MutableSequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType, MethodType, TracebackType
from typing import IO, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from gradus.errors import GradusError, InvalidInput

__all__ = ["Snapshot"]

# Wrappers whose attributes mirror state in C++; only their tensors and flags are restored.
_WRAPPERS = ("torch.distributed", "torch.nn.parallel", "torch._dynamo")
# Of torch's objects that aren't tensors, those that hold the state of a training.
_TORCHS = (nn.Module, Optimizer, LRScheduler, torch.amp.GradScaler)


class Snapshot:
    """The state of some objects and of the random generators, to restore after a trial training.

    It saves tensors (contents, `grad`, `requires_grad`), containers, and the attributes of modules, optimizers, schedulers,
    scalers and other libraries' objects in them, at any depth. Everything is restored in place: a tensor keeps its address,
    a state dict its identity, and whatever was added since is removed.

    Used as a context manager, it restores everything at the end, after an error too.

    Args:
        things: modules, optimizers, schedulers, scalers, generators, or containers of them.
        memory_limit: bytes up to which contents are kept in memory; more go to an unnamed temporary file, which is gone
            when the process ends.

    Raises:
        InvalidInput: a parameter has no shape yet.
        GradusError: the file can't be written.
    """

    def __init__(self, things: Iterable[Any], *, memory_limit: int = 2**32) -> None:
        self._seen: dict[int, Any] = {}  # keeps the objects alive, so that ids stay unique
        self._undo: list[Callable[[], Any]] = []
        self._storages: dict[int, torch.UntypedStorage] = {}
        self._kept: list[Tensor] = []
        self._file: IO[bytes] | None = None
        self._walk(things)
        self._keep_global_generators()
        self.nbytes = sum(storage.nbytes() for storage in self._storages.values())
        self.on_disk = self.nbytes > memory_limit
        if self.on_disk:
            self._write()
        else:
            self._kept = [_bytes_of(storage).to("cpu", copy=True) for storage in self._storages.values()]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        with _unstopped():
            self.restore()
            if self._file is not None:
                self._file.close()

    def restore(self) -> None:
        """Restore everything. It can be called several times."""
        with torch.no_grad():
            for module in self._seen.values():
                if type(module).__module__.startswith("torch.distributed.fsdp"):
                    _reshard(module)
            for undo in self._undo:
                undo()
            for storage, kept in zip(self._storages.values(), self._contents(), strict=True):
                if storage.nbytes() != kept.nbytes:
                    storage.resize_(kept.nbytes)
                _bytes_of(storage).copy_(kept)

    # Walking the objects

    def _walk(self, things: Iterable[Any]) -> None:
        stack = list(things)
        while stack:
            thing = stack.pop()
            if id(thing) not in self._seen:
                self._seen[id(thing)] = thing
                stack.extend(self._visit(thing))

    def _visit(self, thing: Any) -> Iterable[Any]:
        """Record how to restore one object; returns its members."""
        if isinstance(thing, Tensor):
            return self._visit_tensor(thing)
        if isinstance(thing, MutableMapping):
            self._undo.append(_Dict(thing))
            return [*thing.keys(), *thing.values()]
        if isinstance(thing, (list, deque)):
            self._undo.append(_List(thing))
            return thing
        if isinstance(thing, set):
            self._undo.append(_Set(thing))
            return thing
        if isinstance(thing, (tuple, frozenset)):
            return thing
        if isinstance(thing, np.ndarray):
            self._keep(thing.copy, partial(np.copyto, thing))
        elif isinstance(thing, torch.Generator):
            self._keep(thing.get_state, thing.set_state)
        elif isinstance(thing, random.Random):
            self._keep(thing.getstate, thing.setstate)
        elif isinstance(thing, (np.random.Generator, np.random.RandomState)):
            bits = thing.bit_generator if isinstance(thing, np.random.Generator) else thing._bit_generator
            self._keep(lambda: bits.state, partial(setattr, bits, "state"))
        elif isinstance(thing, nn.Module) and type(thing).__module__.startswith(_WRAPPERS):
            self._keep(lambda: thing.training, partial(setattr, thing, "training"))
            return [*self._visit_flattened(thing), *thing.parameters(), *thing.buffers(), *thing.children()]
        elif isinstance(thing, MethodType):
            return [thing.__self__]
        elif _holds_state(thing):
            if isinstance(thing, Optimizer):
                _ = thing.state  # ours syncs its state when it is read
            return [vars(thing)]
        return ()

    def _visit_flattened(self, module: nn.Module) -> Iterable[Any]:
        """Record the state of FSDP1, which an error leaves halfway; between steps the full parameters have no bytes."""
        handle = vars(module).get("_handle")
        if handle is None:  # it's another wrapper, or has no parameters of its own
            return ()
        self._undo += [_Dict(vars(one)) for one in (module, handle, handle.flat_param)]
        return [handle.flat_param, *(one for one in vars(handle.flat_param).values() if isinstance(one, Tensor))]

    def _visit_tensor(self, tensor: Tensor) -> Iterable[Any]:
        if isinstance(tensor, (UninitializedParameter, UninitializedBuffer)):
            raise InvalidInput("the model has a lazy parameter without a shape; pass one batch through it first")
        inside: list[Any] = []
        if _is_wrapper(tensor):  # such as a DTensor, whose elements are in inner tensors
            inside = [getattr(tensor, name) for name in cast(Any, tensor).__tensor_flatten__()[0]]
        elif tensor.layout is not torch.strided:
            self._keep(tensor.clone, tensor.copy_)
        else:
            self._undo.append(_Place(tensor))
            storage = tensor.untyped_storage()
            self._storages.setdefault(storage._cdata, storage)
        if not _is_leaf(tensor):
            return inside
        self._undo.append(_Leaf(tensor))  # after its storage, whose shape the gradient needs
        return inside if tensor.grad is None else [*inside, tensor.grad]

    def _keep(self, get: Callable[[], Any], put: Callable[[Any], Any]) -> None:
        """Save what `get` returns, for `put` to restore."""
        self._undo.append(partial(put, get()))

    def _keep_global_generators(self) -> None:
        self._keep(torch.get_rng_state, torch.set_rng_state)
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            self._keep(torch.cuda.get_rng_state_all, torch.cuda.set_rng_state_all)
        if torch.backends.mps.is_available():
            self._keep(torch.mps.get_rng_state, torch.mps.set_rng_state)
        self._keep(random.getstate, random.setstate)
        self._keep(np.random.get_state, np.random.set_state)

    # Contents on disk

    def _write(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="gradus-")  # noqa: SIM115  # it is open as long as the snapshot
            for storage in self._storages.values():
                self._file.write(_bytes_of(storage).cpu().numpy().data)
            self._file.flush()
        except OSError as error:
            raise GradusError(
                f"the snapshot of {self.nbytes / 2**30:.1f} GiB can't be written to {tempfile.gettempdir()}: "
                f"{error.strerror or error}; make room there, name another folder in TMPDIR, or raise memory_limit"
            ) from None

    def _contents(self) -> Iterator[Tensor]:
        """The bytes of each storage, in turn."""
        if self._file is None:
            yield from self._kept
            return
        self._file.seek(0)
        for storage in self._storages.values():
            yield torch.from_numpy(np.fromfile(self._file, np.uint8, storage.nbytes()))


def _reshard(module: Any) -> None:
    """Make FSDP2 drop the full parameters, which aren't the saved ones, and a step that an error interrupted."""
    if hasattr(module, "reset_iter_state"):
        with suppress(RuntimeError):  # the root does it for all
            module.reset_iter_state()
    if hasattr(module, "reshard"):
        module.reshard()


class _Dict:
    """A dict's items, in their order."""

    def __init__(self, mapping: MutableMapping[Any, Any]) -> None:
        self.mapping, self.old = mapping, dict(mapping)

    def __call__(self) -> None:
        now = self.mapping
        if len(now) != len(self.old) or not all(
            mine is other and now[mine] is value for (mine, value), other in zip(self.old.items(), now, strict=True)
        ):
            now.clear()
            now.update(self.old)


class _List:
    """A list's or a deque's members."""

    def __init__(self, members: MutableSequence[Any]) -> None:
        self.members, self.old = members, list(members)

    def __call__(self) -> None:
        self.members.clear()
        self.members.extend(self.old)


class _Set:
    """A set's members."""

    def __init__(self, members: set[Any]) -> None:
        self.members, self.old = members, set(members)

    def __call__(self) -> None:
        self.members.clear()
        self.members |= self.old


class _Leaf:
    """A leaf's `requires_grad` and `grad`."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.requires_grad, self.grad = tensor, tensor.requires_grad, tensor.grad

    def __call__(self) -> None:
        self.tensor.requires_grad_(self.requires_grad)
        self.tensor.grad = self.grad


class _Place:
    """A tensor's storage and strides."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor, self.alias = tensor, tensor.detach()

    def __call__(self) -> None:
        if _layout(self.tensor) != _layout(self.alias):
            self.tensor.data = self.alias


def _layout(tensor: Tensor) -> tuple[Any, ...]:
    storage = tensor.untyped_storage()._cdata
    return storage, tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype


def _is_leaf(tensor: Tensor) -> bool:
    try:
        return tensor.is_leaf
    except RuntimeError:  # a view that autograd no longer tracks, as FSDP leaves in flattened modules
        return False


def _is_wrapper(tensor: Tensor) -> bool:
    return bool(is_traceable_wrapper_subclass(tensor))


def _holds_state(thing: Any) -> bool:
    """Whether an object's attributes are training state: modules, optimizers, and other libraries' objects."""
    root = type(thing).__module__.partition(".")[0]
    if isinstance(thing, type) or not hasattr(thing, "__dict__") or root in sys.stdlib_module_names:
        return False
    return root != "torch" or isinstance(thing, _TORCHS)


def _bytes_of(storage: torch.UntypedStorage) -> Tensor:
    return torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)


@contextmanager
def _unstopped() -> Iterator[None]:
    """Defer Ctrl-C, SIGTERM and SIGHUP until the end of the context."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread
        return
    came: list[tuple[int, FrameType | None]] = []
    # A handler that Python didn't install can't be restored, and doesn't raise here.
    known = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    numbers = [number for number in known if signal.getsignal(number) is not None]
    before = {number: signal.signal(number, lambda *signalled: came.append(signalled)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for signalled, _ in came:
            signal.raise_signal(signalled)
