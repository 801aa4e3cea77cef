"""torch's learning-rate schedulers: the same names, signatures, attributes and states, each one a Gradus schedule.

Replacing `torch.optim.lr_scheduler` by `gradus.lr_scheduler` in an import is all it takes. Where torch does something
else than it documents, these do what it documents; `docs/from_torch.md` lists each such difference.

All of them take `optimizer`, whose groups' rates they set, and `last_epoch`, the position to go on from; -1 starts anew.
They raise `InvalidInput`, a `ValueError`, for arguments that make no schedule.

>>> import torch
>>> from gradus.lr_scheduler import CosineAnnealingLR
>>> optimizer = torch.optim.SGD([torch.zeros(3, requires_grad=True)], lr=0.1)
>>> scheduler = CosineAnnealingLR(optimizer, T_max=10)
>>> for _ in range(5):
...     optimizer.step()
...     scheduler.step()
>>> scheduler.get_last_lr(), scheduler.schedules
([0.05], [Cosine(10, start=0.1).after('mirror')])
"""

from typing import Any

from torch.optim.lr_scheduler import EPOCH_DEPRECATION_WARNING, LRScheduler
from torch.optim.lr_scheduler import _LRScheduler as _LRScheduler  # its older name, which people still import

from gradus.lr_scheduler.composed import ChainedScheduler, ReduceLROnPlateau, SequentialLR
from gradus.lr_scheduler.cycles import SWALR, CosineAnnealingWarmRestarts, CyclicLR, OneCycleLR
from gradus.lr_scheduler.plain import (
    ConstantLR,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
)
from gradus.names import no_attribute

__all__ = [
    "EPOCH_DEPRECATION_WARNING",
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LRScheduler",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
]


def __getattr__(name: str) -> Any:
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)


for _name in __all__:  # users import them from here
    if str(getattr(globals()[_name], "__module__", "")).startswith(__name__):
        globals()[_name].__module__ = __name__
