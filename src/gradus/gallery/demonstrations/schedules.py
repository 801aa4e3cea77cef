"""Schedules: the whole catalogue, the classic six at work, warmup on and off, and a map of rates and schedules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

import gradus.schedules as all_of
from gradus.errors import InvalidInput
from gradus.gallery.shown import Draw, Shown, Style, StyledFigure
from gradus.gallery.training import DeepNet, accuracy, losses, one_thread, small_run, small_task
from gradus.optim import SGD
from gradus.randomness import generator, seed_for
from gradus.scheduler import Scheduler
from gradus.schedules import Schedule, fraction, rest
from gradus.sweep import REFERENCE
from gradus.tasks import Task

__all__ = ["CATALOGUE", "RATES", "SHAPES", "Schedules", "schedules"]

_STEPS = 100  # of the schedules on the sheet

# One of each kind of schedule and each recipe, by its name. Plateau and Greedy follow a metric, and have no curve.
CATALOGUE: Mapping[str, Schedule] = {
    "Constant": all_of.Constant(0.7),
    "Linear": all_of.Linear(80),
    "Cosine": all_of.Cosine(80),
    "Polynomial": all_of.Polynomial(80, power=2),
    "Tanh": all_of.Tanh(80),
    "Rex": all_of.Rex(80),
    "Logarithmic": all_of.Logarithmic(80),
    "Exponential": all_of.Exponential(0.96),
    "Step": all_of.Step(25, gamma=0.5),
    "MultiStep": all_of.MultiStep((30, 60, 80), gamma=0.4),
    "Piecewise": all_of.Piecewise(((0, 0.2), (30, 1.0), (80, 0.1)), "linear"),
    "InverseSqrt": all_of.InverseSqrt(10),
    "PowerLaw": all_of.PowerLaw(1.0, timescale=20),
    "RAdamWarmup": all_of.RAdamWarmup(0.99),
    "Noise": all_of.Noise(0.3),
    "Lambda": all_of.Lambda(lambda t: 0.5 ** (t // 20)),
    "Cyclic": all_of.Cyclic(20, low=0.1),
    "OneCycle": all_of.OneCycle(80),
    "CosineRestarts": all_of.CosineRestarts(15, growth=2),
    "Chebyshev": all_of.Chebyshev(32) * 0.05,
    "warmup": all_of.warmup(30),
    "warmup_cosine": all_of.warmup_cosine(15, 75),
    "wsd": all_of.wsd(15, fraction(0.3)),
    "wsd_s": all_of.wsd_s(10, (45, rest()), 15),
    "hyperbolic": all_of.hyperbolic(80, 120),
    "cooldown": all_of.cooldown(all_of.InverseSqrt(10), 60, 30),
    "noam": all_of.noam(64, 20) * (64 * 20) ** 0.5,
    "one_cycle": all_of.one_cycle(),
    "sgdr": all_of.sgdr(3),
    "untuned_linear": all_of.untuned_linear(0.97),
    "untuned_exponential": all_of.untuned_exponential(0.97),
}

# Shapes that fit a run of any length, for the map.
SHAPES: Mapping[str, Schedule] = {
    "constant": all_of.Constant(),
    "inverse root": all_of.InverseSqrt(fraction(0.1)),
    "steps": all_of.MultiStep((fraction(0.5), fraction(0.75)), gamma=0.1),
    "linear": all_of.Linear(rest()),
    "cosine": all_of.Cosine(rest()),
    "warmup, cosine": all_of.warmup(fraction(0.2)) >> all_of.Cosine(rest()),
}
RATES = (0.1, 0.3, 1.0, 1.5, 2.0, 3.0)
_PUBLISHED = 30  # epochs of the reference experiment, whose rates are held over each
_FEWEST = 5  # epochs: with fewer the steps and the warmup of the shapes would fall within one
_LAYERS, _WIDTH, _PART = 50, 24, 0.1
_DEEP_RATE, _DEEP_BATCH, _DEEP_SEEDS = 0.1, 64, 3


@dataclass(frozen=True)
class Schedules(Shown):
    """What schedules look like, and what they do.

    Args:
        sheet: the values of each kind of schedule at the steps 0 to 100, by its name.
        rates: learning rates that last equally long, of an epoch or an update each, by the name in the reference experiment.
        losses: the training loss after each epoch, in the same order; shorter where a training diverged.
        deep: for each warmup in updates, the learning rate and the loss of each update, `[seeds, updates, 2]`.
        peaks: highest learning rates of the map, `[r]`.
        accuracies: on the test images, by shape and highest rate, `[shapes, r]`; NaN where the training diverged.
        epochs: of each training of the map.
    """

    sheet: dict[str, np.ndarray]
    rates: dict[str, list[float]]
    losses: dict[str, list[float]]
    deep: dict[int, np.ndarray]
    peaks: np.ndarray
    accuracies: np.ndarray
    epochs: int

    name: ClassVar[str] = "schedules"

    def pictures(self) -> dict[str, Draw]:
        return {
            "catalogue": self._draw_sheet,
            "six": self._draw_six,
            "warmup": self._draw_deep,
            "map": self._draw_map,
        }

    def _draw_sheet(self, style: Style) -> StyledFigure:
        columns = 4
        figure = style.figure(8.6, "Every kind of schedule over {steps} steps", steps=_STEPS)
        grid = figure.subplots(-(-len(self.sheet) // columns), columns, sharex=True, sharey=True, squeeze=False)
        for axes in grid.flat[len(self.sheet) :]:
            axes.remove()
        for axes, (name, values) in zip(grid.flat, self.sheet.items(), strict=False):
            axes.plot(values, **style.line(0))
            axes.set_title(name, fontsize=8, family="monospace")
            axes.set(ylim=(0, 1.4), xticks=(0, 50, 100), yticks=(0, 1))
        style.label_grid(grid, "step", "value")
        return figure

    def _draw_six(self, style: Style) -> StyledFigure:
        figure = style.figure(5.8, "The six schedules of the reference experiment, on digits")
        upper, lower = figure.subplots(2, sharex=True)
        for index, (name, rates) in enumerate(self.rates.items()):
            places = np.linspace(0, max(map(len, self.losses.values())), len(rates) + 1)
            upper.step(places, [*rates, rates[-1]], where="post", label=style.text(name), **style.line(index))
            lower.plot(range(1, len(self.losses[name]) + 1), self.losses[name], **style.line(index))
        upper.set_ylim(bottom=0)
        lower.set_yscale("log")
        style.label(upper, y="learning rate")
        style.label(lower, "epoch", "training loss")
        lower.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(*upper.get_legend_handles_labels(), loc="outside lower center", ncols=3)
        return figure

    def _draw_deep(self, style: Style) -> StyledFigure:
        figure = style.figure(5.4, "Warmup on a network of {layers} layers without normalisation", layers=_LAYERS)
        upper, lower = figure.subplots(2, sharex=True, height_ratios=[1, 2])
        for index, (warmup, courses) in enumerate(self.deep.items()):
            text = style.text("warmup of {updates} updates" if warmup else "no warmup", updates=warmup)
            upper.plot(courses[0, :, 0], label=text, **style.line(index))
            lower.plot(courses[:, :, 1].T, **style.line(index) | {"linewidth": 1})
        lower.axhline(np.log(10), color=style.faint, linewidth=1, label=style.text("guessing"))
        lower.set_ylim(1, 4)
        lower.legend(loc="upper right")
        upper.legend(loc="lower right")
        style.label(upper, y="learning rate")
        style.label(lower, "update", "loss of the batch")
        return figure

    def _draw_map(self, style: Style) -> StyledFigure:
        figure = style.figure(4.2, "Test accuracy on digits after {epochs} epochs", epochs=self.epochs)
        axes = figure.subplots()
        style.heat(
            axes, 100 * self.accuracies, self.peaks, [style.text(name) for name in SHAPES], style.text("test accuracy, %")
        )
        style.label(axes, "highest learning rate", "schedule")
        return figure


def schedules(
    rates: Sequence[float] = RATES, epochs: int = 6, reference_epochs: int = 30, deep_updates: int = 150, seed: int = 0
) -> Schedules:
    """Draw the catalogue, and train small networks on digits under schedules.

    Args:
        rates: the highest rates of the map, above 0.
        epochs: of each training of the map, from 5.
        reference_epochs: of each of the reference experiment's six.
        deep_updates: of the deep network, from 2; warmup takes half of them.
        seed: of weights and the order of the images.

    Raises:
        InvalidInput: no rates, too few epochs, or a number that a run can't have.
    """
    if not rates:
        raise InvalidInput(f"schedules needs at least one rate, such as {RATES}")
    if epochs < _FEWEST:
        raise InvalidInput(f"epochs must be a whole number from {_FEWEST}, so that each shape can be seen; got {epochs!r}")
    if deep_updates < 2:
        raise InvalidInput(f"deep_updates must be a whole number from 2; got {deep_updates!r}")
    task = small_task()
    per = "epoch" if reference_epochs >= _PUBLISHED else "step"  # shorter, a phase may be less than an epoch
    six = {
        name: small_run(schedule, task.lr, reference_epochs, batch_size=task.batch_size, seed=seed, per=per)
        for name, schedule in REFERENCE.items()
    }
    tried = [
        [small_run(shape, rate, epochs, batch_size=task.batch_size, seed=seed) for rate in rates]
        for shape in SHAPES.values()
    ]
    steps_per_epoch = task.data("train", valid=False).steps_per_epoch(task.batch_size)
    places = np.arange(_STEPS + 1)
    with one_thread():
        return Schedules(
            sheet={name: schedule.resolve(_STEPS)(places) for name, schedule in CATALOGUE.items()},
            rates={name: run.rates(steps_per_epoch) for name, run in six.items()},
            losses={name: losses(run, task) for name, run in six.items()},
            deep={warmup: _deep(task, warmup, deep_updates, seed) for warmup in (0, deep_updates // 2)},
            peaks=np.array(rates),
            accuracies=np.array([[accuracy(run, task) for run in row] for row in tried]),
            epochs=epochs,
        )


def _deep(task: Task, warmup: int, updates: int, seed: int) -> np.ndarray:
    """The rate and the loss of each update of deep networks of several seeds, which are trained as one population."""
    seeds = range(seed, seed + _DEEP_SEEDS)
    models = [_deep_net(each) for each in seeds]
    params, _ = torch.func.stack_module_state(models)
    optimizer = SGD(params.values(), lr=_DEEP_RATE, momentum=0.9)
    scheduler = Scheduler(optimizer, lr=all_of.warmup(warmup))
    losses_of_all = torch.func.vmap(
        lambda params, inputs, targets: task.loss(torch.func.functional_call(models[0], params, inputs), targets)
    )
    inputs, targets = task.train
    course = []
    for update in range(updates):
        orders = [generator(each, "order", update) for each in seeds]
        batches = torch.stack([torch.randint(len(inputs), (_DEEP_BATCH,), generator=order) for order in orders])
        losses = losses_of_all(params, inputs[batches], targets[batches])
        optimizer.zero_grad()
        losses.sum().backward()
        course.append([(optimizer.param_groups[0]["lr"], loss) for loss in losses.tolist()])
        optimizer.step()
        scheduler.step()
    return np.array(course).swapaxes(0, 1)


def _deep_net(seed: int) -> DeepNet:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, "weights"))
        return DeepNet(_LAYERS, _WIDTH, _PART)
