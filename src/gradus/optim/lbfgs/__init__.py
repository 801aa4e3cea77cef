"""L-BFGS: the optimizer, its history of steps and gradient changes, and its line search."""

import importlib
import sys
from types import ModuleType
from typing import Any

from gradus.optim.lbfgs.optimizer import LBFGS

__all__ = ["LBFGS"]


class _Moved(ModuleType):
    """A module that is gone, for pickles that name its class."""

    def __init__(self, name: str, old: str, module: str, new: str) -> None:
        super().__init__(name)
        self._old, self._module, self._new = old, module, new

    def __getattr__(self, name: str) -> Any:
        if name != self._old:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(self._module), self._new)


for _name, *_where in (
    ("gradus.optim.history", "History", f"{__name__}.history", "History"),
    ("gradus.backends.pairs", "Pairs", f"{__name__}.vectors", "HistoryVectors"),
    ("gradus.backends.cpu.pairs", "Piecewise", f"{__name__}.vectors_cpu", "HistoryVectorsCpu"),
):
    sys.modules.setdefault(_name, _Moved(_name, *_where))
