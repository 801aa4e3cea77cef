"""`RangeTest`: what a range test has found."""

import base64
import html
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from gradus.doors import opened
from gradus.errors import InvalidInput

__all__ = ["RangeTest"]

_VERSION = 1


@dataclass(frozen=True)
class RangeTest:
    """A range test's curve, and what it suggests.

    Args:
        lrs: the rate of each update, of the group whose own rate is highest.
        losses: the loss after each update, on data not trained on yet; the mean over the seeds.
        smoothed: the losses, smoothed to both sides; those above where the curve begins are taken for that.
        metrics: the metric after each update, likewise; empty where none is measured.
        first: the loss where the curve begins.
        suggestion: the rate to train with; None where neither the curve nor the trainings say one.
        suggestions: a rate by each rule: "steepest", "valley", "minimum/10", "middle", and "smith" with a metric. Empty
            where the curve says nothing. "verified" is what the short trainings say.
        interval: where learning starts, and its edge: in the short trainings if there were any, else on the curve.
        spread: the lowest and the highest suggestion of the seeds alone; None with one seed.
        cycle: Smith's bounds for a cyclic schedule, with a metric: where it begins to rise, and to fall.
        trials: the rate of each training that settles it, and the mean loss of its second half; infinite where it diverged.
        stopped_because: why the curve ends where it does.
        remark: what there is to say of the suggestion, or why there is none.
        snapshot_bytes: what was kept to put everything back.
    """

    lrs: tuple[float, ...]
    losses: tuple[float, ...]
    smoothed: tuple[float, ...]
    metrics: tuple[float, ...]
    first: float
    suggestion: float | None
    suggestions: Mapping[str, float]
    interval: tuple[float, float] | None
    spread: tuple[float, float] | None
    cycle: tuple[float, float] | None
    trials: tuple[tuple[float, float], ...]
    stopped_because: str
    remark: str
    snapshot_bytes: int

    def __str__(self) -> str:
        """The remark, and the suggestions one a line."""
        lines = [self.remark, *(f"{name}: {rate:.3g}" for name, rate in self.suggestions.items())]
        return "\n".join([*lines, f"The curve ends at rate {self.lrs[-1]:.3g}: {self.stopped_because}."])

    def plot(self) -> Any:
        """The curve on a logarithmic axis of rates, with the suggestions and the interval marked: a matplotlib figure."""
        return opened("range_figure")(
            self.lrs,
            self.losses,
            self.smoothed,
            self.metrics,
            trials=self.trials,
            suggestions=self.suggestions,
            chosen=self.suggestion,
            interval=self.interval,
            top=self.first,
        )

    def _repr_html_(self) -> str:
        """The picture and the sentences, for a notebook."""
        picture = base64.b64encode(opened("png")(self.plot())).decode()
        text = html.escape(str(self)).replace("\n", "<br>")
        return f'<img src="data:image/png;base64,{picture}" alt="range test"><p>{text}</p>'

    def to_json(self) -> str:
        """All of it as JSON; `RangeTest.from_json` gives back an equal one. An infinite loss is null."""
        document: dict[str, Any] = {"gradus.range_test": _VERSION, **asdict(self)}
        document["trials"] = [(rate, loss if math.isfinite(loss) else None) for rate, loss in self.trials]
        return json.dumps(document, allow_nan=False)

    @staticmethod
    def from_json(text: str) -> "RangeTest":
        """Read what `to_json` wrote.

        Args:
            text: the JSON.

        Raises:
            InvalidInput: the text is no range test, or of another version.
        """
        try:
            document = json.loads(text)
            version = document.pop("gradus.range_test")
        except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
            raise InvalidInput('this is no range test: it must be JSON with "gradus.range_test" and its fields') from None
        if version != _VERSION:
            raise InvalidInput(f"this range test has version {version!r}; this Gradus reads version {_VERSION}")
        names = {field.name for field in fields(RangeTest)}
        if wrong := names ^ document.keys():
            raise InvalidInput(f"a range test's JSON {'needs' if wrong & names else 'has no'} the field {min(wrong)!r}")
        tuples = {name: tuple(value) for name, value in document.items() if isinstance(value, list)}
        trials = tuple((rate, math.inf if loss is None else loss) for rate, loss in document["trials"])
        return RangeTest(**{**document, **tuples, "trials": trials})
