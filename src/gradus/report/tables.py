"""Tables: summaries as lines of text, for terminals, notebooks and documents."""

import html
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gradus.metric_names import heading, is_accuracy, worded
from gradus.report.summary import Summary
from gradus.sweep.statistics import Interval

__all__ = ["Table", "table"]

_NOTHING = "–"
_SHORT = 12  # characters that a column next to the name may have
_GAP = 3  # characters between two columns
_DECIMALS, _LARGE = 6, 1e7  # beyond, numbers are shown with powers of ten
_IN_ASCII = {"±": "+-", "–": "-", "…": "...", "—": "-"}


@dataclass(frozen=True)
class Table:
    """Headings and lines of cells, all of them text.

    Args:
        headings: of the columns.
        lines: of each line its cells.
        least: how many columns from the left `fitting` never leaves out; as many from the right, `kept_right`.
        kept_right: see there.

    >>> print(Table(("run", "valid accuracy %"), (("a", "97.2"), ("b", "96.1"))).to_markdown())
    | run | valid accuracy % |
    |:--|--:|
    | a | 97.2 |
    | b | 96.1 |
    """

    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    least: int = 1
    kept_right: int = 0

    def fitting(self, width: int) -> "Table":
        """The table without the columns for which there is no room: those before the right ones that are kept.

        Headings may be broken at their blanks, cells not.

        Args:
            width: in characters.
        """
        columns = list(range(len(self.headings)))
        while sum(self._width(column) + _GAP for column in columns) > width and len(columns) > self.least + self.kept_right:
            del columns[-1 - self.kept_right]
        return self._of(columns)

    def _width(self, column: int) -> int:
        words = self.headings[column].split() or [""]
        return max(len(text) for text in (*words, *(line[column] for line in self.lines)))

    def _of(self, columns: Sequence[int]) -> "Table":
        def of(cells: Sequence[str]) -> tuple[str, ...]:
            return tuple(cells[column] for column in columns)

        return Table(of(self.headings), tuple(map(of, self.lines)), self.least, self.kept_right)

    def in_ascii(self) -> "Table":
        """The table in ASCII alone, for what can show nothing else; other signs become "?"."""
        return Table(
            tuple(map(_ascii, self.headings)),
            tuple(tuple(map(_ascii, line)) for line in self.lines),
            self.least,
            self.kept_right,
        )

    def to_html(self) -> str:
        """An HTML table."""

        def line(tag: str, cells: Sequence[str]) -> str:
            return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

        body = "".join(line("td", cells) for cells in self.lines)
        return f"<table><thead>{line('th', self.headings)}</thead><tbody>{body}</tbody></table>"

    def to_markdown(self) -> str:
        """A Markdown table, numbers to the right."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        marks = [":--" if column < self.least else "--:" for column in range(len(self.headings))]
        return "\n".join([line(self.headings), "|" + "|".join(marks) + "|", *map(line, self.lines)])


def _ascii(text: str) -> str:
    for sign, plain in _IN_ASCII.items():
        text = text.replace(sign, plain)
    return text.encode("ascii", "replace").decode()


def table(summaries: Sequence[Summary]) -> Table:
    """A line for each summary: what differs, the last values of each number with their intervals, best step and times.

    Accuracies, numbers whose names end in "accuracy", are shown in per cent.

    Args:
        summaries: of one comparison.
    """
    beside = _beside_names(summaries)
    metrics = list(dict.fromkeys(name for one in summaries for name in one.last))
    columns: list[tuple[str, Callable[[Summary], str]]] = [(_name_heading(summaries, beside), lambda one: one.name)]
    columns += [(_heading(name), partial(_difference, name)) for name in beside]
    columns += [(heading(name), partial(_last, name)) for name in metrics]
    right = [column for column in _RIGHT if any(column[1](one) != _NOTHING for one in summaries)]
    columns += right
    lines = tuple(tuple(cell(one) for _, cell in columns) for one in summaries)
    return Table(tuple(heading for heading, _ in columns), lines, 1 + len(beside), len(right))


_RIGHT: tuple[tuple[str, Callable[[Summary], str]], ...] = (
    ("best step", lambda one: _NOTHING if one.best_step is None else str(one.best_step)),
    ("seconds", lambda one: _NOTHING if one.seconds is None else f"{one.seconds:.1f}"),
    ("examples/s", lambda one: _NOTHING if one.examples_per_second is None else f"{one.examples_per_second:,.0f}"),
)


def _beside_names(summaries: Sequence[Summary]) -> list[str]:
    """The differences that names don't say, as far as they are short."""
    names = summaries[0].differs if summaries else ()
    return [
        name
        for name in names
        if not all(_difference(name, one) in one.name for one in summaries)
        and all(len(_difference(name, one)) <= _SHORT for one in summaries)
    ]


def _name_heading(summaries: Sequence[Summary], beside: Sequence[str]) -> str:
    """What names stand for, where that is one thing."""
    said = [name for name in (summaries[0].differs if summaries else ()) if name not in beside]
    return _heading(said[0]) if len(said) == 1 else "run"


def _heading(field: str) -> str:
    """A column's heading for a field in which runs differ."""
    kind, _, name = field.partition(".")
    if kind == "schedules":
        return "schedule" if name == "lr" else f"{name} schedule"
    return worded(name or kind)


def _difference(name: str, one: Summary) -> str:
    value = one.differs[name]
    return _NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _last(name: str, one: Summary) -> str:
    """An interval as text: with two digits of its half-width that count, and the mean as exactly."""
    value = one.last.get(name)
    if value is None:
        return _NOTHING
    if is_accuracy(name):
        return _joined(100 * value.mean, None if value.half_width is None else 100 * value.half_width, ".2f")
    return _joined(value.mean, value.half_width, _form(value))


def _joined(mean: float, half_width: float | None, form: str) -> str:
    return f"{mean:{form}}" if half_width is None else f"{mean:{form}} ± {half_width:{form}}"


def _form(value: Interval) -> str:
    half = value.half_width
    if half is None or not half or not math.isfinite(half):
        return ".4g"
    decimals = 1 - math.floor(math.log10(half))
    return ".2e" if decimals > _DECIMALS or abs(value.mean) >= _LARGE else f".{max(0, decimals)}f"
