"""Rate and batch: what a training makes of the landscape it goes through, and which rates a batch size allows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gradus.errors import InvalidInput
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.training import SmallNet, accuracy, one_thread, small_run, small_task
from gradus.optim import SGD
from gradus.randomness import seed_for
from gradus.schedules import Constant
from gradus.tasks import Task

__all__ = ["BATCHES", "RATES", "RateAndBatch", "rate_and_batch"]

RATES = (0.03, 0.06, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0)
BATCHES = (16, 32, 64, 128, 256, 512)
_TRAINED_AT = (0.1, 0.5, 1.0, 2.0)
_LOOKED_AFTER = (0, 5, 20, 100)  # updates, each of the whole training set
_STEPS = np.geomspace(0.01, 100, 81)


@dataclass(frozen=True)
class RateAndBatch(Shown):
    """Digits at several rates and batch sizes.

    Args:
        landscapes: by the rate that the network was trained at, with the whole training set in each update, and by the
            updates done: the loss a step γ along the negative gradient, over the loss where it begins, `[k]`.
        steps: γ, `[k]`.
        rates: learning rates, `[r]`.
        batches: batch sizes, `[b]`.
        accuracies: on the test images after the same number of epochs, `[b, r]`; NaN where the training diverged.
        epochs: how many.
    """

    landscapes: dict[float, dict[int, np.ndarray]]
    steps: np.ndarray
    rates: np.ndarray
    batches: np.ndarray
    accuracies: np.ndarray
    epochs: int

    name: ClassVar[str] = "rate-and-batch"

    def pictures(self) -> dict[str, Draw]:
        return {"landscape": self._draw_landscapes, "batch": self._draw_batches}

    def best(self) -> np.ndarray:
        """The rate of the highest accuracy for each batch size, `[b]`; the lowest where several are equal."""
        best: np.ndarray = self.rates[np.nan_to_num(self.accuracies, nan=-1.0).argmax(axis=1)]
        return best

    def _draw_landscapes(self, style: Style) -> StyledFigure:
        figure = style.figure(6.2, "The loss along the negative gradient, where training at a rate led")
        panels = figure.subplots(2, -(-len(self.landscapes) // 2), sharex=True, sharey=True, squeeze=False)
        for axes, (rate, landscapes) in zip(panels.flat, self.landscapes.items(), strict=True):
            for index, (update, losses) in enumerate(landscapes.items()):
                axes.plot(self.steps, losses, label=style.text("after {update} updates", update=update), **style.line(index))
            axes.axvline(rate, color=style.ink, linewidth=1.2, linestyle=":", label=style.text("the training's rate"))
            axes.set(xscale="log", ylim=(0, 2))
            style.label(axes, title="rate {rate:g}", rate=rate)
        style.label_grid(panels, "step γ along −g", "loss there / loss here")
        figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure

    def _draw_batches(self, style: Style) -> StyledFigure:
        figure = style.figure(4.4, "Test accuracy on digits after {epochs} epochs", epochs=self.epochs)
        axes = figure.subplots()
        style.heat(axes, 100 * self.accuracies, self.rates, self.batches, style.text("test accuracy, %"))
        best = [list(self.rates).index(rate) for rate in self.best()]
        axes.plot(
            best,
            range(len(best)),
            "o",
            markersize=20,
            fillstyle="none",
            markeredgewidth=2,
            color=style.line(1)["color"],
        )
        style.label(axes, "learning rate", "batch size, images", "circles: the best rate of each batch size")
        return figure


def rate_and_batch(
    rates: Sequence[float] = RATES, batches: Sequence[int] = BATCHES, epochs: int = 4, seed: int = 0
) -> RateAndBatch:
    """Train a network of one hidden layer on digits at several rates and batch sizes.

    Args:
        rates: learning rates, above 0.
        batches: batch sizes, in images, from 1.
        epochs: of each training.
        seed: of weights and the order of the images.

    Raises:
        InvalidInput: no rates or batch sizes, or a number that a run can't have.
    """
    if not rates or not batches:
        raise InvalidInput("rate_and_batch needs at least one rate and one batch size")
    task = small_task()
    runs = [[small_run(Constant(), rate, epochs, batch_size=batch, seed=seed) for rate in rates] for batch in batches]
    with one_thread():
        return RateAndBatch(
            landscapes={rate: _along(task, rate, seed) for rate in _TRAINED_AT},
            steps=_STEPS,
            rates=np.array(rates),
            batches=np.array(batches),
            accuracies=np.array([[accuracy(run, task) for run in row] for row in runs]),
            epochs=epochs,
        )


def _along(task: Task, rate: float, seed: int) -> dict[int, np.ndarray]:
    """Train on all images at once, and on the way look along the negative gradient."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "weights"))
        model = SmallNet()
    optimizer = SGD(model.parameters(), lr=rate)
    looked = {}
    for update in range(_LOOKED_AFTER[-1] + 1):
        optimizer.zero_grad()
        loss = _loss(model, task)
        loss.backward()
        if update in _LOOKED_AFTER:
            looked[update] = np.array([_loss_at(model, task, step) for step in _STEPS]) / loss.item()
        optimizer.step()
    return looked


def _loss(model: nn.Module, task: Task) -> Tensor:
    inputs, targets = task.train
    return task.loss(model(inputs), targets)


@torch.no_grad()
def _loss_at(model: nn.Module, task: Task, step: float) -> float:
    """The loss a step along the negative gradient; the model comes back as it was."""
    before = [param.clone() for param in model.parameters()]
    for param in model.parameters():
        assert param.grad is not None  # a loss has just been differentiated
        param.sub_(step * param.grad)
    loss = _loss(model, task).item()
    for param, value in zip(model.parameters(), before, strict=True):
        param.copy_(value)
    return loss
