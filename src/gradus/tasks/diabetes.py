"""scikit-learn's diabetes: a regression of 442 patients. They travel in the package, so nothing is fetched."""

import torch
from torch import Tensor
from torch.nn import functional

from gradus.randomness import generator
from gradus.schedules import epochs
from gradus.tasks.metrics import R2
from gradus.tasks.models import DiabetesNet
from gradus.tasks.packaged import table_of
from gradus.tasks.task import Task

__all__ = ["diabetes"]

_TEST_PATIENTS = 88  # a fifth


def diabetes() -> Task:
    """How far diabetes has gone a year on, from ten measurements: 354 patients to learn from, 88 to report on.

    Inputs `[n, 10]` and targets `[n, 1]` are standardised by the mean and spread of those that are learned from, so a mean
    squared error of 1, and an R² of 0, is what naming their mean would get.

    Source: B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, Least Angle Regression, Annals of Statistics 32, 2004.

    Raises:
        GradusError: scikit-learn isn't installed, or doesn't have them.

    >>> task = diabetes()
    >>> list(task.metrics), str(task.objective)
    (['r2'], 'valid/loss min')
    """
    inputs = table_of("diabetes_data_raw.csv.gz", "diabetes data", delimiter=" ")
    targets = table_of("diabetes_target.csv.gz", "diabetes data").unsqueeze(1)
    order = torch.randperm(len(inputs), generator=generator(0, "diabetes split"))
    test, train = order[:_TEST_PATIENTS], order[_TEST_PATIENTS:]
    inputs, targets = _standardised(inputs, train), _standardised(targets, train)
    return Task(
        "diabetes",
        (inputs[train], targets[train]),
        (inputs[test], targets[test]),
        model=DiabetesNet,
        loss=functional.mse_loss,
        metrics={"r2": R2()},
        batch_size=32,
        lr=0.03,
        length=epochs(30),
    )


def _standardised(table: Tensor, among: Tensor) -> Tensor:
    """Each column with mean 0 and variance 1 among these rows."""
    return ((table - table[among].mean(dim=0)) / table[among].std(dim=0)).float()
