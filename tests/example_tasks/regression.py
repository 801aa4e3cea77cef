"""A regression: ten measurements of a patient, and one number to be foretold."""

from sklearn.datasets import load_diabetes
from torch import nn

from gradus.schedules import epochs
from gradus.tasks import R2, Task


def task() -> Task:
    inputs, targets = load_diabetes(return_X_y=True)  # NumPy arrays [442, 10] and [442]
    targets = (targets[:, None] - 150) / 77  # [442, 1], as the model's outputs are
    return Task(
        "regression",
        train=(inputs[:354], targets[:354]),
        test=(inputs[354:], targets[354:]),
        model=lambda: nn.Sequential(nn.BatchNorm1d(10), nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1)),
        loss=nn.functional.mse_loss,
        metrics={"r2": R2()},
        objective="valid/r2 max",
        lr=0.03,
        batch_size=32,
        length=epochs(20),
    )
