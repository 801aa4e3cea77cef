"""What there is to see, in the order of a lecture; nothing of it is loaded until it is made."""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from gradus.gallery.shown import Shown

__all__ = ["DEMONSTRATIONS", "FORMATS", "Demonstration"]

FORMATS = ("png", "svg", "gif")


class Demonstration(NamedTuple):
    """What a demonstration asks, and what it teaches.

    Args:
        name: of its module here and of the function in it, with a hyphen for each underscore.
        question: what it asks.
        lesson: what to take away.
        has_animation: whether it has films.
        parts: arguments of its function with which it gives its pictures part by part, where they take long.
    """

    name: str
    question: str
    lesson: str
    has_animation: bool = False
    parts: tuple[tuple[Any, ...], ...] = ((),)

    def make(self, *arguments: Any) -> "Shown":
        """What its function gives.

        Args:
            arguments: the function's.
        """
        function = self.name.replace("-", "_")
        shown: Shown = getattr(importlib.import_module(f"gradus.gallery.demonstrations.{function}"), function)(*arguments)
        return shown


_ALL = (
    Demonstration(
        "descent",
        "What does the learning rate do to plain gradient descent?",
        "Below 1/L the path comes in from one side, at 1/L it lands in one update, up to 2/L it jumps to and fro and still "
        "comes in, at 2/L it bounces for ever, and beyond it runs away. L is the curvature.",
    ),
    Demonstration(
        "averages",
        "What does an exponentially weighted average remember?",
        "About the last 1/(1 − β) values. The longer the memory, the smoother the average and the later it follows. It "
        "begins at 0, so early averages are too low until they are divided by 1 − βᵗ, as Adam does.",
    ),
    Demonstration(
        "momentum",
        "What does momentum add, and how much is too much?",
        "Without momentum small rates crawl; with too much the path overshoots and swings. Between lies critical damping at "
        "(1 − √(γL))². The averaged form is torch's at the rate γ(1 − μ), so its rates must be 1/(1 − μ) times as high.",
    ),
    Demonstration(
        "condition",
        "Why can't one learning rate serve two directions?",
        "The steep direction allows no rate above 2/κ, at which the flat one hardly moves: plain descent needs about κ "
        "updates, momentum √κ. Adam divides each axis by its own gradients, and needs about the same whatever κ is.",
    ),
    Demonstration(
        "race",
        "Where do the optimizers go, from one start and from ten thousand?",
        "Each has its rate found by the same rule, and still none wins everywhere. Which minimum is reached depends on the "
        "start, the optimizer and the rate; momentum shoots over, and noise keeps most from coming to rest.",
        has_animation=True,
        parts=tuple(([landscape],) for landscape in ("rosenbrock", "beale", "himmelblau", "saddle", "noisy", "cliff")),
    ),
    Demonstration(
        "schedules",
        "Which schedules are there, and what do they do to the loss?",
        "The highest rate matters first, the shape second: schedules that fall forgive rates that are too high for a "
        "constant one. Warmup lets a deep network without normalisation train at a rate that it can't begin with.",
    ),
    Demonstration(
        "rate-and-batch",
        "How far may one step go, and what has the batch size to do with it?",
        "Along the gradient the loss falls and rises again: a step at a low rate stops short of the lowest point, one at "
        "too high a rate lands beyond it, or higher than it began. In so many epochs a larger batch makes fewer updates, "
        "and has to go further with each.",
    ),
)
DEMONSTRATIONS: Mapping[str, Demonstration] = {each.name: each for each in _ALL}
