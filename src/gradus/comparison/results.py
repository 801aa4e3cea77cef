"""What came of a comparison: its runs, what their seeds say together, and all of it as table, JSON and picture."""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from typing import Any

from gradus.files import write_whole
from gradus.plots import Curve, Picture, comparison_figure, png
from gradus.runs import Row, Run
from gradus.sweep import Interval, interval

__all__ = ["HEADINGS", "Comparison", "Finished", "Summary", "comparison_picture"]

HEADINGS = ("schedule", "train loss", "train %", "test %", "best epoch", "seconds", "images/s")


@dataclass(frozen=True)
class Finished:
    """A run of a comparison with what came of it.

    Args:
        run: its specification.
        rows: a row an epoch.
        status: "finished", "diverged" or "failed".
        message: why, where it isn't "finished"; where it is, what wasn't finite on the way, if the run was to look.
    """

    run: Run
    rows: tuple[Row, ...]
    status: str
    message: str

    @property
    def seconds(self) -> float:
        """Wall-clock time of all its epochs, scoring included."""
        return sum(row.seconds for row in self.rows)


@dataclass(frozen=True)
class Summary:
    """What a schedule's seeds say together, after the last epoch; None where no seed finished.

    Args:
        name: the schedule's name.
        finished: how many seeds finished.
        seeds: how many there are.
        train_loss: mean and half-width of the 95 % interval over the seeds that finished, as the two that follow.
        train_accuracy: from 0 to 1.
        test_accuracy: from 0 to 1.
        best_epoch: the epoch with the best test accuracy, their mean.
        seconds: wall-clock time of a run, their mean.
        images_per_second: training images per second of that time, their mean.
        message: why seeds didn't finish.
    """

    name: str
    finished: int
    seeds: int
    train_loss: Interval | None
    train_accuracy: Interval | None
    test_accuracy: Interval | None
    best_epoch: int | None
    seconds: float | None
    images_per_second: float | None
    message: str

    def cells(self) -> list[str]:
        """A line of the final table, under `HEADINGS`."""
        return [
            self.name,
            _shown(self.train_loss, 1, 4 if self.seeds == 1 else 3),
            _shown(self.train_accuracy, 100, 2),
            _shown(self.test_accuracy, 100, 2),
            "–" if self.best_epoch is None else str(self.best_epoch),
            "–" if self.seconds is None else f"{self.seconds:.1f}",
            "–" if self.images_per_second is None else f"{self.images_per_second:,.0f}",
        ]


def _shown(value: Interval | None, scale: float, digits: int) -> str:
    if value is None:
        return "–"
    mean = f"{scale * value.mean:.{digits}f}"
    return mean if value.half_width is None else f"{mean} ± {scale * value.half_width:.{digits}f}"


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of a comparison and what they were executed with. A notebook shows it as its final table.

    Args:
        task: the task's name.
        runs: each schedule with each seed.
        images: how many training images an epoch has.
        steps_per_epoch: how many updates.
        chance: the test accuracy of naming the most frequent class every time; None where targets aren't classes.
        conditions: device, threads, workers and versions.
        seconds: wall-clock time of what was trained this time.
        kept: how many runs were kept from a comparison that was cut short.
    """

    task: str
    runs: tuple[Finished, ...]
    images: int
    steps_per_epoch: int
    chance: float | None
    conditions: Mapping[str, Any]
    seconds: float
    kept: int

    def summaries(self) -> list[Summary]:
        """One for each schedule, in the order they were named."""
        return [_summary(name, runs, self.images) for name, runs in _by_name(self.runs).items()]

    def remarks(self) -> list[str]:
        """What the table leaves out, a sentence each: runs that didn't finish, met what isn't finite or learned nothing, and
        how all were done.
        """
        told = []
        for one, seeds in zip(self.summaries(), _by_name(self.runs).values(), strict=True):
            runs, dead = _counted(one.seeds, "run"), sum(map(self._is_dead, seeds))
            met = [run.message for run in seeds if run.status == "finished" and run.message]
            if one.finished < one.seeds:
                told.append(f"{one.name}: {one.seeds - one.finished} of {runs} did not finish: {one.message}")
            if met:
                told.append(f"{one.name}: {len(met)} of {runs} met a number that isn't finite: {met[0]}")
            if dead:
                told.append(f"{one.name}: {dead} of {runs} ended no better than chance")
        kept = f" ({self.kept} kept from before)" if self.kept else ""
        runs, workers = _counted(len(self.runs), "run"), self.conditions["workers"]
        told.append(f"{self.task}: {runs}{kept} in {self.seconds:.1f} s on {self.conditions['device']}, {workers} at a time")
        return told

    def _is_dead(self, one: Finished) -> bool:
        """Whether a run has finished and learned nothing, as a ReLU network does that a high rate has killed."""
        return (
            self.chance is not None
            and one.status == "finished"
            and max(one.rows[-1].test_accuracy, one.rows[-1].train_accuracy) <= 1.05 * self.chance
        )

    def figure(self) -> Picture:
        """The curves, with the schedules under them, as a matplotlib figure."""
        return comparison_picture(self.task, self.runs, self.steps_per_epoch)

    def to_json(self) -> str:
        """Everything as strict JSON, for another program to read; this is what `results.json` holds.

        Its fields: `gradus.comparison` (the format's version), `task`, `conditions`, `seconds`, `kept`, `images`,
        `steps_per_epoch`, `chance`; `summary`, a `Summary` for each schedule, its intervals as `{"mean", "half_width"}`; and
        `runs`, each with `run` (what `Run.from_json` reads), `schedule` (as it is printed), `status`, `message` and `rows`.
        """
        document = {
            "gradus.comparison": 1,
            "task": self.task,
            "conditions": dict(self.conditions),
            "seconds": self.seconds,
            "kept": self.kept,
            "images": self.images,
            "steps_per_epoch": self.steps_per_epoch,
            "chance": self.chance,
            "summary": [
                {name: value._asdict() if isinstance(value, Interval) else value for name, value in vars(one).items()}
                for one in self.summaries()
            ],
            "runs": [
                {
                    "run": json.loads(one.run.to_json()),
                    "schedule": repr(one.run.schedule),
                    "status": one.status,
                    "message": one.message,
                    "rows": [asdict(row) for row in one.rows],
                }
                for one in self.runs
            ],
        }
        return json.dumps(document, indent=1, allow_nan=False)

    def write(self, out: Path) -> None:
        """Write `results.json` and `curves.png` into a folder, each whole or not at all.

        Raises:
            GradusError: one of them can't be written.
        """
        write_whole(out / "results.json", self.to_json().encode())
        write_whole(out / "curves.png", png(self.figure()))

    def __repr__(self) -> str:
        finished = sum(one.status == "finished" for one in self.runs)
        return (
            f"<Comparison of {len(self.summaries())} schedules on {self.task}: {finished} of {len(self.runs)} runs finished>"
        )

    def _repr_html_(self) -> str:
        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", one.cells()) for one in self.summaries())
        remarks = "<br>".join(map(html.escape, self.remarks()))
        return f"<table><thead>{line('th', HEADINGS)}</thead><tbody>{body}</tbody></table><p>{remarks}</p>"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _by_name(runs: Sequence[Finished]) -> dict[str, list[Finished]]:
    """The seeds of each schedule, in the order the schedules were named."""
    return {name: [one for one in runs if one.run.name == name] for name in dict.fromkeys(one.run.name for one in runs)}


def _summary(name: str, seeds: Sequence[Finished], images: int) -> Summary:
    done = [one for one in seeds if one.status == "finished"]
    message = next((one.message for one in seeds if one.status != "finished" and one.message), "")
    if not done:
        return Summary(name, 0, len(seeds), None, None, None, None, None, None, message)

    def last(metric: str) -> Interval:
        return interval([getattr(one.rows[-1], metric) for one in done])

    def test_accuracy(index: int) -> float:
        return fmean(one.rows[index].test_accuracy for one in done)

    return Summary(
        name=name,
        finished=len(done),
        seeds=len(seeds),
        train_loss=last("train_loss"),
        train_accuracy=last("train_accuracy"),
        test_accuracy=last("test_accuracy"),
        best_epoch=1 + max(range(len(done[0].rows)), key=test_accuracy),
        seconds=fmean(one.seconds for one in done),
        images_per_second=fmean(images * len(one.rows) / one.seconds for one in done),
        message=message,
    )


def comparison_picture(task: str, runs: Sequence[Finished], steps_per_epoch: int) -> Picture:
    """Each schedule by the seeds that its line in the table speaks of; by all, while none has finished."""
    curves = {}
    for name, seeds in _by_name(runs).items():
        done = [one for one in seeds if one.status == "finished"]
        diverged = sum(one.status == "diverged" for one in seeds)
        which = "" if len(seeds) == 1 else f"{diverged} of {len(seeds)} "
        label = f"{name} ({which}diverged)" if diverged else name
        rates = _rates(seeds[0].run, steps_per_epoch)
        curves[label] = Curve(rates, seeds[0].run.epochs, [one.rows for one in done or seeds])
    return comparison_figure(curves, f"{task}: one network under each schedule")


_rates = lru_cache(maxsize=64)(Run.rates)  # a live view asks again and again
