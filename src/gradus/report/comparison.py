"""`Comparison`: what came of a sweep, as numbers, table, JSON and picture; all of it can be rebuilt from the store."""

import html
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self

from gradus.errors import GradusError, InvalidInput
from gradus.files import write_whole
from gradus.frozen import Frozen
from gradus.metric_names import counted
from gradus.plots import Along, Picture, png
from gradus.report.document import opened, written
from gradus.report.finished import Finished, TaskInfo, is_number
from gradus.report.pictures import comparison_figure
from gradus.report.remarks import remarks, shared
from gradus.report.stored import finished_runs
from gradus.report.summary import Summary, grouped, summaries
from gradus.report.tables import Table, table
from gradus.store import STORE_FILE, Store

__all__ = ["Comparison"]


@dataclass(frozen=True, repr=False)
class Comparison:
    """The runs of a sweep and what came of them. A notebook shows it as its table.

    Args:
        runs: the runs, of one task or of several.
        tasks: what is known of their tasks, by name.
        seconds: wall-clock time of what was trained this time; None where nobody has measured.
        kept: how many runs had finished before, and were kept.
        settings: how it was executed, such as `{"executor": "processes", "workers": 2}`.

    Raises:
        InvalidInput: seconds or kept aren't as said.

    >>> from gradus.rows import Row
    >>> from gradus.runs import Run
    >>> rows = [Row(10, {"valid/loss": 2.0}), Row(20, {"valid/loss": 1.0})]
    >>> runs = [Finished(Run("mine", lr=lr), rows, "finished") for lr in (0.1, 0.2)]
    >>> comparison = Comparison(runs, {"mine": TaskInfo("valid/loss min")})
    >>> [(one.name, one.last["valid/loss"].mean, one.best_step) for one in comparison.summaries()]
    [('lr 0.1', 1.0, 20), ('lr 0.2', 1.0, 20)]
    """

    runs: Sequence[Finished]
    tasks: Mapping[str, TaskInfo] = field(default_factory=Frozen)
    _: KW_ONLY
    seconds: float | None = None
    kept: int = 0
    settings: Mapping[str, Any] = field(default_factory=Frozen)

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))
        if self.seconds is not None and not (is_number(self.seconds) and self.seconds >= 0):
            raise InvalidInput(f"seconds must be a number from 0, or None; got {self.seconds!r}")
        if type(self.kept) is not int or self.kept < 0:
            raise InvalidInput(f"kept must be a whole number from 0; got {self.kept!r}")

    @classmethod
    def read(
        cls,
        store: Store | str | Path,
        sweep: int | None = None,
        *,
        seconds: float | None = None,
        kept: int = 0,
        trusted: bool = False,
    ) -> Self:
        """A sweep, rebuilt from the store alone.

        Args:
            store: the store, or the folder that it is in.
            sweep: the sweep's number; the latest unless given.
            seconds: as the constructor takes it, like the next.
            kept: see there.
            trusted: import the functions that schedules name. Importing runs code, so only for a store of your own.

        Raises:
            GradusError: there is no such store or sweep, or it can't be read.
        """
        with nullcontext(store) if isinstance(store, Store) else Store(Path(store) / STORE_FILE, create=False) as found:
            sweeps = {one.id: one for one in found.sweeps()}
            if not sweeps or (sweep is not None and sweep not in sweeps):
                there = f"it has {', '.join(map(str, sweeps))}" if sweeps else "`gradus compare` makes one"
                raise GradusError(f"there is no sweep {'' if sweep is None else f'{sweep} '}in {found.path}; {there}")
            chosen = sweeps[max(sweeps) if sweep is None else sweep]
            runs, settings = finished_runs(found, chosen, trusted=trusted), dict(chosen.settings)
        for name in ("runs", "taken"):
            settings.pop(name, None)
        tasks = {name: TaskInfo(**info) for name, info in settings.pop("tasks", {}).items()}
        return cls(runs, tasks, seconds=seconds, kept=kept, settings=settings)

    @property
    def conditions(self) -> dict[str, Any]:
        """The conditions that all runs share."""
        return shared(self.runs)

    def summaries(self) -> list[Summary]:
        """One for each group of runs that differ in the seed alone, in the order of the runs."""
        return summaries(self.runs, self.tasks)

    def table(self) -> Table:
        """The summaries as lines of text."""
        return table(self.summaries())

    def remarks(self) -> list[str]:
        """What the table leaves out, a sentence each: runs that didn't finish, met what isn't finite or learned nothing,
        conditions that differ, and how all were done.
        """
        return remarks(self.runs, self.tasks, self.seconds, self.kept, self.settings)

    def figure(self, along: Along | None = None, *, log: bool | None = None) -> Picture:
        """The curves, with the schedules under them, as a matplotlib figure.

        Args:
            along: the horizontal axis: "epochs", "steps" or "seconds"; epochs unless given, where rows count them.
            log: whether losses are on logarithmic axes; where that hides none of them, unless given.
        """
        return comparison_figure(self.runs, self.tasks, along=along, log=log)

    def to_json(self) -> str:
        """Everything as strict JSON, for another program to read; this is what `results.json` holds.

        Its fields: `gradus.comparison` (the format's version), `tasks` (by name, each with `objective`, `chance` and
        `examples`), `conditions` (which all runs share), `seconds`, `kept`, `settings`; `summary`, the fields of each
        `Summary`, its intervals as `{"mean", "half_width"}`; and `runs`, each with `run` (what `Run.from_json` reads),
        `status`, `message`, `conditions` (which not all runs share) and `rows`, each with `step` and its `numbers` by name.
        What isn't finite is the text "NaN", "Infinity" or "-Infinity". `Comparison.from_json` gives back an equal one.
        """
        facts = {"seconds": self.seconds, "kept": self.kept, "settings": dict(self.settings)}
        return written(self.runs, self.tasks, [one.to_json() for one in self.summaries()], self.conditions, facts)

    @classmethod
    def from_json(cls, text: str, *, trusted: bool = False) -> Self:
        """Read what `to_json` wrote, in this version or in version 1.

        Args:
            text: the JSON.
            trusted: import the functions that schedules name. Importing runs code, so only for text of your own.

        Raises:
            InvalidInput: it is no comparison, of a later version, or damaged.
        """
        return cls(**opened(text, trusted=trusted))

    def write(self, folder: Path) -> None:
        """Write `results.json` and `curves.png` into a folder, each whole or not at all.

        Args:
            folder: where to.

        Raises:
            GradusError: one of them can't be written.
        """
        write_whole(folder / "results.json", self.to_json().encode())
        write_whole(folder / "curves.png", png(self.figure()))

    def __repr__(self) -> str:
        tasks = ", ".join(dict.fromkeys(one.run.task for one in self.runs)) or "nothing"
        finished = sum(one.status == "finished" for one in self.runs)
        runs, groups = counted(len(self.runs), "run"), counted(len(grouped(self.runs)), "group")
        return f"<Comparison on {tasks}: {runs} in {groups}, {finished} finished>"

    def _repr_html_(self) -> str:
        return f"{self.table().to_html()}<p>{'<br>'.join(map(html.escape, self.remarks()))}</p>"
