"""The classical optimizers: torch's names, signatures and defaults, each a rule and no more."""

from gradus.optim.optimizer import Optimizer
from gradus.rules import classical

__all__ = [
    "ASGD",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
]


class SGD(Optimizer, rule=classical.sgd):
    """SGD."""


class Adagrad(Optimizer, rule=classical.adagrad):
    """Adagrad."""


class RMSprop(Optimizer, rule=classical.rmsprop):
    """RMSprop."""


class Adadelta(Optimizer, rule=classical.adadelta):
    """Adadelta."""


class Adam(Optimizer, rule=classical.adam):
    """Adam."""


class AdamW(Optimizer, rule=classical.adamw):
    """AdamW."""


class Adamax(Optimizer, rule=classical.adamax):
    """Adamax."""


class NAdam(Optimizer, rule=classical.nadam):
    """NAdam."""


class RAdam(Optimizer, rule=classical.radam):
    """RAdam."""


class ASGD(Optimizer, rule=classical.asgd):
    """ASGD."""


class Rprop(Optimizer, rule=classical.rprop):
    """Rprop."""
