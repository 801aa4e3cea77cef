"""Optimizers with torch's contract, each a rule run over tensors by a backend."""

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
from gradus.optim.modern import LAMB, LARS, Adan, AdEMAMix, CautiousAdamW, CautiousLion, Lion, SophiaG, cautious
from gradus.optim.optimizer import Optimizer
from gradus.optim.prodigy import Prodigy
from gradus.optim.schedule_free import AdamWScheduleFree, SGDScheduleFree

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
    "RMSprop",
    "Rprop",
    "SGDScheduleFree",
    "SophiaG",
    "SparseAdam",
    "cautious",
    "groups",
]
