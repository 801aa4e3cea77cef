"""Numbers as views show them."""

from gradus.metric_names import is_accuracy

__all__ = ["counted", "shown"]

_WHOLE_UP_TO = 100_000


def shown(name: str, value: float) -> str:
    """A number as text: in per cent where its name ends in "accuracy"."""
    return f"{100 * value:.2f} %" if is_accuracy(name) else f"{value:.4g}"


def counted(number: float) -> str:
    """A count in at most six characters."""
    for unit, name in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= _WHOLE_UP_TO and number >= unit:
            return f"{number / unit:.4g}{name}"
    return f"{number:.0f}"
