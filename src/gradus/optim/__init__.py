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
from gradus.optim.lbfgs import LBFGS
from gradus.optim.matrices import SOAP, Adafactor, Muon
from gradus.optim.optimizer import Optimizer
from gradus.optim.prodigy import Prodigy

__all__ = [
    "ASGD",
    "LBFGS",
    "SGD",
    "SOAP",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Muon",
    "NAdam",
    "Optimizer",
    "Prodigy",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SparseAdam",
]
