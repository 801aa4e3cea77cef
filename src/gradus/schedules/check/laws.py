"""What `check` looks for: one table, from which the manual's is made, and the form of what is found."""

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

__all__ = ["LAWS", "Finding", "Law", "Rank"]

Rank = Literal["mistake", "note"]


class Law(NamedTuple):
    """One thing that `check` finds: when, of which rank, and an example.

    Args:
        code: its name.
        rank: "mistake" where hardly anybody means it, "note" where good recipes have it too.
        rule: when it is found.
        schedule: the text of an example.
        options: the arguments of `check` under which the example has it.
    """

    code: str
    rank: Rank
    rule: str
    schedule: str
    options: dict[str, Any]


# The thresholds are here in words, and in plan.py and run.py by name; a test holds each line.
LAWS = (
    Law(
        "ends-early",
        "mistake",
        "It ends and holds (almost) nothing, at most 1/10,000 of its peak, for more than a tenth of the run; or a floor for "
        "more than half of it; or, where stairs or a level are written out, the last one for more than nine tenths; or "
        "`after('raise')` ends the run.",
        "Cosine(500)",
        {"total_steps": 1000},
    ),
    Law(
        "ends-early",
        "note",
        "It ends and holds a floor for a tenth to half of the run.",
        "Cosine(800, end=0.1)",
        {"total_steps": 1000},
    ),
    Law(
        "ends-late",
        "mistake",
        "A fall or a rise in it needs more than 1.25 times the run (Hoffmann et al., 2022, appendix B, find that a longer "
        "cosine costs), and more than a twentieth of its height is left; or a phase or a stair begins after the run.",
        "Cosine(10_000)",
        {"total_steps": 1000},
    ),
    Law("ends-late", "note", "The same up to 1.25 times the run.", "Linear(1200)", {"total_steps": 1000}),
    Law(
        "vanishes",
        "mistake",
        "It goes on for ever, and is at (almost) nothing for more than the last quarter of the run (half of it, where its "
        "end is the run's); or it is 0 throughout.",
        "Step(30)",
        {"total_steps": 50_000},
    ),
    Law(
        "hardly-falls",
        "mistake",
        "A decay without an end falls by less than a fiftieth in the whole run.",
        "Exponential(0.9999)",
        {"total_steps": 100},
    ),
    Law(
        "rises-again",
        "mistake",
        "It comes down, turns, and climbs again without a cycle being asked for; or the run ends as it climbs back by more "
        "than half of its fall.",
        'Cosine(100).after("mirror")',
        {"total_steps": 150},
    ),
    Law(
        "ends-mid-cycle",
        "note",
        "A cycle is cut off by the run's end in its upper half.",
        "CosineRestarts(100)",
        {"total_steps": 1020},
    ),
    Law(
        "jump",
        "mistake",
        "Where one phase hands over to the next the values differ by more than `factor`, a tenth unless given. Written-out "
        "levels may differ, a rise from a level is a constant warmup, and a rise after a fall to twice the value, or half "
        "of the way back up, is a restart.",
        "warmup(100, start=0.01) >> Cosine(900, start=0.7)",
        {"total_steps": 1000},
    ),
    Law(
        "rate-as-factor",
        "mistake",
        "The factor looks like a rate: its peak is the base itself, other than 1; or both are small, below 1/20 and at most "
        "1/5, so that the product is next to nothing. A constant that is multiplied in is meant as a factor.",
        "Cosine(1000, start=3e-4, end=3e-5)",
        {"total_steps": 1000, "base": 3e-4},
    ),
    Law(
        "factor-as-rate",
        "mistake",
        "`absolute(...)` has the peak 1, at least ten times the base.",
        "absolute(Cosine(1000))",
        {"total_steps": 1000, "base": 3e-4},
    ),
    Law(
        "end-as-rate",
        "note",
        "The factor's end is far below 1 and of the base's size, so that it looks like a rate.",
        "Cosine(1000, end=3e-5)",
        {"total_steps": 1000, "base": 3e-4},
    ),
    Law(
        "grows",
        "mistake",
        "It passes 10,000; or stairs lead up (their gamma is above 1) to more than ten times the first value.",
        "Exponential(1.1)",
        {"total_steps": 1000},
    ),
    Law("negative", "mistake", "The value falls below 0.", "Linear(1000, end=-0.1)", {"total_steps": 1000}),
    Law(
        "milestone-twice",
        "mistake",
        "A milestone is named twice, so that the value falls by gamma² there.",
        "MultiStep((300, 300, 600))",
        {"total_steps": 1000},
    ),
    Law("starts-at-zero", "note", "The first update does nothing.", "warmup(100) >> Cosine(900)", {"total_steps": 1000}),
    Law(
        "floor-not-reached",
        "note",
        "A decay has a floor above 0, and more than a twentieth of the way down to it is left at the run's end.",
        "Exponential(0.999, floor=0.01)",
        {"total_steps": 1000},
    ),
    Law(
        "long-warmup",
        "note",
        "It rises for more than 2/(1 − beta2) steps (Ma and Yarats, 2021, section 4), where beta2 is given.",
        "warmup(300, start=0.01) >> Cosine(700)",
        {"total_steps": 1000, "beta2": 0.99},
    ),
)
_RANKS = {(law.code, law.rank) for law in LAWS}


@dataclass(frozen=True)
class Finding:
    """Something about a schedule that is seldom meant.

    Args:
        code: which of `LAWS` found it, such as "ends-early".
        step: where it shows.
        message: what is wrong, and the way out.
        rank: "mistake" where hardly anybody means it, "note" where good recipes have it too.

    >>> from gradus.schedules import Cosine, check
    >>> [(finding.code, finding.step) for finding in check(Cosine(900), 2500)]
    [('ends-early', 900)]
    """

    code: str
    step: int
    message: str
    rank: Rank = "mistake"

    def __post_init__(self) -> None:
        assert (self.code, self.rank) in _RANKS, f"{self.code} isn't found as a {self.rank}"

    def __str__(self) -> str:
        return self.message
