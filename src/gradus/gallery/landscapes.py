"""The courses of the race: functions of two numbers that optimizers are tried on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from gradus.gallery.walk import Gradient

__all__ = ["LANDSCAPES", "Landscape"]


@dataclass(frozen=True)
class Landscape:
    """A function of two numbers.

    Args:
        title: what pictures call it.
        value: the height at places `[2, ...]`.
        slope: the gradient there, `[2, ...]`.
        minima: the places of its lowest points, each `(x, y)`.
        box: what is drawn, and where starts are taken from: `(x from, x to, y from, y to)`.
        start: where paths begin.
        noise: the standard deviation of what is added to each component of the gradient.
    """

    title: str
    value: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]
    minima: tuple[tuple[float, float], ...]
    box: tuple[float, float, float, float]
    start: tuple[float, float]
    noise: float = 0.0

    def excess(self, where: np.ndarray) -> np.ndarray:
        """The height of points `[2, ...]` above the lowest one."""
        lowest = self.value(np.array(self.minima[0]))
        above: np.ndarray = np.maximum(self.value(where) - lowest, 0.0)
        return above

    def gradient(self, seed: int) -> Gradient:
        """The gradient as training sees it: with noise.

        Args:
            seed: of the noise.
        """

        def seen(where: np.ndarray, step: int) -> np.ndarray:
            slope = self.slope(where)
            if not self.noise:
                return slope
            noisy: np.ndarray = slope + self.tilt(seed, step).reshape(2, *[1] * (where.ndim - 1))
            return noisy

        return seen

    def tilt(self, seed: int, step: int) -> np.ndarray:
        """What noise adds to the gradient at an update, the same for each point, `[2]`.

        Args:
            seed: of the noise.
            step: the number of the update from 1.
        """
        return np.random.default_rng([seed, step]).normal(0, self.noise, 2)

    def curvature(self, where: np.ndarray) -> np.ndarray:
        """The Hessian's diagonal at places `[2, ...]`: by a complex step (Squire and Trapp 1998), exact to the last digits.

        Args:
            where: the places.
        """
        steps = 1e-30j * np.eye(2).reshape(2, 2, *[1] * (where.ndim - 1))
        with np.errstate(all="ignore"):  # who diverges passes through infinity
            slopes = [self.slope(where + step)[axis] for axis, step in enumerate(steps)]
        diagonal: np.ndarray = np.stack(slopes).imag / 1e-30
        return diagonal


def _rosenbrock(w: np.ndarray) -> np.ndarray:
    x, y = w
    height: np.ndarray = (1 - x) ** 2 + 100 * (y - x * x) ** 2
    return height


def _rosenbrock_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    beside = y - x * x
    return np.stack([-2 * (1 - x) - 400 * x * beside, 200 * beside])


def _beale_parts(w: np.ndarray) -> tuple[np.ndarray, ...]:
    x, y = w
    return 1.5 - x + x * y, 2.25 - x + x * y * y, 2.625 - x + x * y * y * y


def _beale(w: np.ndarray) -> np.ndarray:
    a, b, c = _beale_parts(w)
    height: np.ndarray = a * a + b * b + c * c
    return height


def _beale_slope(w: np.ndarray) -> np.ndarray:
    (x, y), (a, b, c) = w, _beale_parts(w)
    along_x = 2 * a * (y - 1) + 2 * b * (y * y - 1) + 2 * c * (y * y * y - 1)
    along_y = 2 * a * x + 4 * b * x * y + 6 * c * x * y * y
    return np.stack([along_x, along_y])


def _himmelblau(w: np.ndarray) -> np.ndarray:
    x, y = w
    height: np.ndarray = (x * x + y - 11) ** 2 + (x + y * y - 7) ** 2
    return height


def _himmelblau_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    a, b = x * x + y - 11, x + y * y - 7
    return np.stack([4 * x * a + 2 * b, 2 * a + 4 * y * b])


def _saddle(w: np.ndarray) -> np.ndarray:
    x, y = w
    height: np.ndarray = x * x / 2 - y * y / 2 + y * y * y * y / 4
    return height


def _saddle_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    return np.stack([x, y * y * y - y])


def _quadratic(w: np.ndarray) -> np.ndarray:
    x, y = w
    height: np.ndarray = x * x / 2 + 5 * y * y
    return height


def _quadratic_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    return np.stack([x, 10 * y])


def _step(x: np.ndarray) -> np.ndarray:
    """A smooth step from 0 to 1 at x = 1."""
    up: np.ndarray = (1 + np.tanh(6 * (x - 1))) / 2
    return up


def _cliff(w: np.ndarray) -> np.ndarray:
    x, y = w
    height: np.ndarray = 0.1 * (x * x + y * y) + 10 * _step(x)
    return height


def _cliff_slope(w: np.ndarray) -> np.ndarray:
    x, y = w
    up = _step(x)
    return np.stack([0.2 * x + 120 * up * (1 - up), 0.2 * y])


_HIMMELBLAUS = (
    (3.0, 2.0),
    (-2.805118086953, 3.131312518250),
    (-3.779310253378, -3.283185991286),
    (3.584428340330, -1.848126526964),
)

# Rosenbrock 1960; Beale 1958; Himmelblau 1972; a saddle between two minima; a bowl seen through noise; and a cliff, as
# Pascanu, Mikolov and Bengio (2013, section 2.2) found them in recurrent networks.
LANDSCAPES: Mapping[str, Landscape] = {
    "rosenbrock": Landscape(
        "Rosenbrock's function", _rosenbrock, _rosenbrock_slope, ((1.0, 1.0),), (-2, 2, -1, 3), (-1.5, 2.0)
    ),
    "beale": Landscape("Beale's function", _beale, _beale_slope, ((3.0, 0.5),), (-1, 4, -1.5, 1.5), (1.0, 1.25)),
    "himmelblau": Landscape(
        "Himmelblau's function", _himmelblau, _himmelblau_slope, _HIMMELBLAUS, (-5, 5, -5, 5), (0.0, -4.5)
    ),
    "saddle": Landscape("a saddle", _saddle, _saddle_slope, ((0.0, 1.0), (0.0, -1.0)), (-2, 2, -2, 2), (-1.8, 0.001)),
    "noisy": Landscape(
        "a noisy quadratic", _quadratic, _quadratic_slope, ((0.0, 0.0),), (-3, 3, -3, 3), (-2.5, 2.0), noise=2.0
    ),
    "cliff": Landscape("a cliff", _cliff, _cliff_slope, ((-0.003649887, 0.0),), (-3, 3, -3, 3), (2.6, 1.8)),
}
