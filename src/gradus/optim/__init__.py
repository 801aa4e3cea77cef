"""Optimizers with torch's contract, each a rule run over tensors by a backend.

What is imported from `torch.optim` and its modules can be imported from here by the same names.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

import torch.optim.swa_utils

from gradus.optim.classical import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    RAdam,
    RMSprop,
    Rprop,
    SparseAdam,
)
from gradus.optim.groups import Groups, groups
from gradus.optim.lbfgs import LBFGS
from gradus.optim.matrices import SOAP, Adafactor, Muon
from gradus.optim.modern import LAMB, LARS, Adan, AdEMAMix, CautiousAdamW, CautiousLion, Lion, SophiaG, SophiaH
from gradus.optim.optimizer import Optimizer
from gradus.optim.prodigy import Prodigy
from gradus.optim.schedule_free import AdamWScheduleFree, RAdamScheduleFree, SGDScheduleFree
from gradus.rules.cautious import cautious

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "Adan",
    "CautiousAdamW",
    "CautiousLion",
    "Groups",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "Prodigy",
    "RAdam",
    "RAdamScheduleFree",
    "RMSprop",
    "Rprop",
    "SGDScheduleFree",
    "SophiaG",
    "SophiaH",
    "SparseAdam",
    "cautious",
    "groups",
]

_TORCHS_MODULES = (
    *("_adafactor", "_functional", "_multi_tensor", "_muon", "_stateless", "adadelta", "adagrad", "adam", "adamax", "adamw"),
    *("asgd", "nadam", "radam", "rmsprop", "rprop", "sgd", "sparse_adam"),
)


class _Alias(ModuleType):
    """One of torch's modules under its name here, with Gradus's classes in place of torch's."""

    def __getattr__(self, name: str) -> Any:
        if name in __all__:
            return globals()[name]
        if name.startswith("__") and name != "__all__":  # such as __file__
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"torch.optim.{self.__name__.rpartition('.')[2]}"), name)


def __getattr__(name: str) -> Any:
    """torch's modules, imported on first use, and the other names of `torch.optim`."""
    if name in _TORCHS_MODULES or name == "lr_scheduler":
        return importlib.import_module(f"{__name__}.{name}")
    if name in torch.optim.__all__:
        return getattr(torch.optim, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


for _name in _TORCHS_MODULES:
    sys.modules[f"{__name__}.{_name}"] = _Alias(f"{__name__}.{_name}", f"`torch.optim.{_name}`, with these optimizers.")
sys.modules[f"{__name__}.swa_utils"] = swa_utils = torch.optim.swa_utils

# Tools read a class's module to know whether it is public. Not __name__: tools that import every module load this one as
# gradus.optim.__init__ too.
for _name in __all__:
    globals()[_name].__module__ = "gradus.optim"
