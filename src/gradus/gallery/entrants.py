"""The entrants: each optimizer of `gradus.optim`, as it goes over a landscape."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gradus import optim
from gradus.gallery.landscapes import Landscape
from gradus.gallery.walk import Walk, iterates
from gradus.rules.matrix import estimated

__all__ = ["ENTRANTS", "Entrant"]

_REFRESH = 10  # updates between two looks at the Hessian, as in Sophia's paper

# (entrant, landscape, starts `[2, ...]`, updates, rate or rates, seed of the noise) -> the places, the starts first
Places = Callable[["Entrant", Landscape, np.ndarray, int, Any, int], Iterator[np.ndarray]]


def _by_rule(
    entrant: "Entrant", landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int
) -> Iterator[Any]:
    return iterates(entrant.optimizer.rule, starts, landscape.gradient(seed), steps, lr=rate, **entrant.hypers)


def _prodigy(
    entrant: "Entrant", landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int
) -> Iterator[Any]:
    """Each point has an estimate d of its own."""
    walk, gradient = Walk(entrant.optimizer.rule, starts, lr=rate), landscape.gradient(seed)
    d0, beta3 = walk.hypers["d0"], walk.hypers["betas"][1] ** 0.5
    d = d_max = np.full(starts.shape[1:], d0)
    numerator, s = np.zeros(starts.shape[1:]), np.zeros(starts.shape)
    yield starts
    for step in range(1, steps + 1):
        with np.errstate(all="ignore"):  # who diverges passes through infinity
            grad = gradient(walk.where, step)
            weight = d / d0 * d * rate
            numerator = beta3 * numerator + weight * (grad * (starts - walk.where)).sum(axis=0)
            s = beta3 * s + weight * grad
            after, d_max = estimated(d, d_max, numerator, np.abs(s).sum(axis=0), d0=d0)
        walk.hypers.update(d=d, d_next=after)
        yield walk.update(lambda *_, grad=grad: grad)
        d = after


def _sophia(entrant: "Entrant", landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int) -> Iterator[Any]:
    """The Hessian's diagonal needn't be estimated here: it is known."""
    walk, gradient = Walk(entrant.optimizer.rule, starts, lr=rate), landscape.gradient(seed)
    beta2 = walk.hypers["betas"][1]
    yield starts
    for step in range(steps):
        if step % _REFRESH == 0:
            walk.slots["hessian"] = beta2 * walk.slots["hessian"] + (1 - beta2) * landscape.curvature(walk.where)
        yield walk.update(gradient)


def _lbfgs(entrant: "Entrant", landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int) -> Iterator[Any]:
    """One point after the other: each has a line search of its own."""
    rates = np.broadcast_to(rate, starts.shape[1:])
    paths = np.empty((steps + 1, *starts.shape))
    for index in np.ndindex(rates.shape):
        place = (slice(None), *index)
        path = _lbfgs_path(entrant, landscape, starts[place], steps, float(rates[index]), seed)
        paths[(slice(None), *place)] = np.array(list(path))
    yield from paths


def _lbfgs_path(
    entrant: "Entrant", landscape: Landscape, start: np.ndarray, steps: int, rate: float, seed: int
) -> Iterator[np.ndarray]:
    point = torch.nn.Parameter(torch.tensor(start))
    point.grad = torch.zeros_like(point)
    where, grad = point.detach().numpy(), point.grad.numpy()  # the same memory
    optimizer = entrant.optimizer([point], lr=rate, max_iter=1, **entrant.hypers)
    yield start
    for step in range(1, steps + 1):
        tilt = landscape.tilt(seed, step)

        def loss() -> float:
            with np.errstate(all="ignore"):
                grad[:] = landscape.slope(where) + tilt  # noqa: B023 - called in this turn
                return float(landscape.value(where) + tilt @ where)  # noqa: B023

        before = where.copy()
        optimizer.step(loss)
        yield where.copy()
        if not landscape.noise and (where == before).all():  # arrived, or lost: it won't move any more
            yield from [before] * (steps - step)
            return


@dataclass(frozen=True)
class Entrant:
    """An optimizer in the race.

    Args:
        optimizer: its class in `gradus.optim`.
        hypers: its hyperparameters where they aren't the defaults.
        run: how its points go; by its rule, all at once, unless given.
        alone: whether its points can only run one after the other, so that there are fewer.
    """

    optimizer: Any
    hypers: Mapping[str, Any]
    run: Places = _by_rule
    alone: bool = False

    def places(self, landscape: Landscape, starts: np.ndarray, steps: int, rate: Any, seed: int = 0) -> Iterator[np.ndarray]:
        """The places of points, the starts first.

        Args:
            landscape: where.
            starts: `[2, ...]`.
            steps: how many updates.
            rate: the learning rate, or rates that are broadcast against a component of `starts`.
            seed: of the noise.
        """
        return self.run(self, landscape, starts, steps, rate, seed)


def _entrant(optimizer: Any, run: Places = _by_rule, alone: bool = False, **hypers: Any) -> Entrant:
    return Entrant(optimizer, hypers, run, alone)


# SparseAdam isn't among them: where gradients are dense, it is Adam, but for the place of ε.
ENTRANTS: Mapping[str, Entrant] = {
    "SGD": _entrant(optim.SGD),
    "momentum": _entrant(optim.SGD, momentum=0.9),
    "Nesterov": _entrant(optim.SGD, momentum=0.9, nesterov=True),
    "ASGD": _entrant(optim.ASGD),
    "SF-SGD": _entrant(optim.SGDScheduleFree),
    "LARS": _entrant(optim.LARS),
    "L-BFGS": _entrant(optim.LBFGS, _lbfgs, alone=True, line_search_fn="strong_wolfe"),
    "Adagrad": _entrant(optim.Adagrad),
    "RMSprop": _entrant(optim.RMSprop),
    "Adadelta": _entrant(optim.Adadelta),
    "Rprop": _entrant(optim.Rprop),
    "Adafactor": _entrant(optim.Adafactor),
    "Prodigy": _entrant(optim.Prodigy, _prodigy),
    "SophiaG": _entrant(optim.SophiaG, _sophia),
    "Adam": _entrant(optim.Adam),
    "AdamW": _entrant(optim.AdamW),
    "Adamax": _entrant(optim.Adamax),
    "NAdam": _entrant(optim.NAdam),
    "RAdam": _entrant(optim.RAdam),
    "SF-AdamW": _entrant(optim.AdamWScheduleFree),
    "SF-RAdam": _entrant(optim.RAdamScheduleFree),
    "LAMB": _entrant(optim.LAMB),
    "Lion": _entrant(optim.Lion),
    "Adan": _entrant(optim.Adan),
    "AdEMAMix": _entrant(optim.AdEMAMix),
    "CautiousAdamW": _entrant(optim.CautiousAdamW),
    "CautiousLion": _entrant(optim.CautiousLion),
    "Muon": _entrant(optim.Muon),
    "SOAP": _entrant(optim.SOAP),
}
