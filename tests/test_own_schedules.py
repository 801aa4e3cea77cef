"""Kinds of schedules of a user's own: fields and a formula are all it takes. The laws of every schedule hold them too."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pytest
import torch

import gradus
from gradus.errors import InvalidInput
from gradus.schedules import Constant, Cosine, Schedule, Span, check, epochs, explain, parse, rest, warmup
from gradus.schedules.schedule import KINDS
from registry import Saw, Stairs

TEN_LINES = '''
from gradus.schedules import Schedule


class Teeth(Schedule):
    """Falls along a line, again and again."""

    length: int
    teeth: int = 4

    def at(self, t, ops):
        return 1 - ops.progress(t, self.length) * self.teeth % 1
'''


def test_ten_lines_give_a_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class in a module of the user's own is drawn, explained, checked, saved, read in another process, and scheduled."""
    (tmp_path / "own_teeth.py").write_text(TEN_LINES)
    monkeypatch.chdir(tmp_path)
    one = parse("own_teeth:Teeth(100, teeth=2)", trusted=True)
    assert repr(one) == "own_teeth:Teeth(100, teeth=2)"
    assert (one(25), one.length, one(np.array([25]))[0]) == (0.5, 100, 0.5)
    assert explain(one) == "Follows Teeth from 1 to 1 over 100 steps and holds 1."
    assert isinstance(check(one, 100), list)
    assert one.plot() is not None
    code = f"from gradus.schedules import Schedule; print(Schedule.from_json({one.to_json()!r}, trusted=True)(25))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "0.5\n"
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler = gradus.Scheduler(optimizer, lr=warmup(10) >> one)
    scheduler.set_step(35)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    again = gradus.Scheduler(optimizer, lr=warmup(10) >> one)
    again.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("text", ["registry:Saw(10)", "registry:Saw (10).take(3) >> Constant()", "2 * registry:Saw(10) + 1"])
def test_untrusted_text_imports_no_class(text: str) -> None:
    """A class is imported by its name only where the text is trusted, from text and from JSON."""
    assert parse(repr(parse(text, trusted=True)), trusted=True) == parse(text, trusted=True)
    with pytest.raises(InvalidInput, match=r"registry:Saw is a class to import, and importing runs code: pass trusted=True"):
        parse(text)
    with pytest.raises(InvalidInput, match=r"is a class to import, and importing runs code; .* trusted=True"):
        Schedule.from_json(parse(text, trusted=True).to_json())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("os:system('true')", "the class 'os:system' must be a subclass of Schedule"),
        ("registry:Schedule(3)", "must be a subclass of Schedule"),
        ("registry:Sawn(3)", "has no 'Sawn' .did you mean Saw"),
        ("no_such_module:Saw(3)", "there is no module 'no_such_module'"),
        ("registry:Saw(3, tooth=1)", "unexpected keyword argument 'tooth'"),
        ("registry:Saw('3')", "Saw's length must be a whole number of steps"),
        ("registry:Saw(3, teeth=0.5)", r"Saw's teeth must be a whole number from -2\^53 to 2\^53; got 0.5"),
    ],
)
def test_what_a_name_may_name(text: str, message: str) -> None:
    """A name leads to a subclass of Schedule and to nothing else, and its fields are checked as they are declared."""
    with pytest.raises(InvalidInput, match=message):
        parse(text, trusted=True)
    name, _, _ = text.partition("(")
    if ":Saw(" not in text:
        with pytest.raises(InvalidInput, match=message):
            Schedule.from_json(f'{{"gradus.schedule": 1, "schedule": {{"kind": "{name}"}}}}', trusted=True)


FIELDS: dict[str, tuple[Any, Any, Any]] = {  # annotation, what is kept of what, and what is refused
    "float": (float, (1, 1.0), "1"),
    "int": (int, (np.int64(3), 3), 2.5),
    "bool": (bool, (True, True), 1),
    "str": (str, ("up", "up"), 3),
    "optional": (float | None, (None, None), "x"),
    "either": (int | str, ("up", "up"), 2.5),
    "literal": (Literal["up", "down"], ("up", "up"), "sideways"),
    "steps": (int | Span, (epochs(3), epochs(3)), -1),
    "schedule": (Schedule, (Cosine(3), Cosine(3)), 3),
    "many": (tuple[float, ...], ([1, 2], (1.0, 2.0)), 3),
    "pair": (tuple[int, str], ((1, "a"), (1, "a")), (1, 2, 3)),
    "any tuple": (tuple, ([1, ("a", None)], (1, ("a", None))), ({},)),
    "anything": (Any, ([True, 2], (True, 2)), {"a": 1}),
    "annotated": (Annotated[float, "in percent"], (2, 2.0), "x"),
    "checked": (Annotated[int, lambda _, value: value], (7, 7), None),
}


@pytest.mark.parametrize("sort", FIELDS)
def test_plain_annotations_are_checked(sort: str) -> None:
    """Each annotation keeps what it names, as a value that hashes, and refuses with the field's name what it doesn't."""
    annotation, (given, kept), refused = FIELDS[sort]
    own = type("Own", (Schedule,), {"__annotations__": {"x": annotation}, "at": lambda _, t, ops: ops.full(t, 1.0)})
    assert own(given).x == kept
    assert hash(own(given)) == hash(own(kept))
    if refused is not None:
        with pytest.raises(InvalidInput, match=r"Own's x must"):
            own(refused)


def _own(**body: Any) -> Callable[[], type]:
    return lambda: type("Own", (Schedule,), body)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            _own(__annotations__={"x": list}),
            "Own's x can't be list: a schedule is a value that can be saved, so it is a num",
        ),
        (_own(__annotations__={"x": dict[str, int]}), r"Own's x can't be dict\[str, int\]"),
        (_own(__annotations__={"x": np.ndarray}), "Own's x can't be ndarray"),
        (_own(__annotations__={"x": list | None}), "Own's x can't be list"),
        (_own(__annotations__={"x": tuple[set, ...]}), "Own's x can't be set"),
        (_own(__annotations__={"x": "no_such_type"}), "annotations of Own can't be read: name 'no_such_type'"),
        (_own(__annotations__={"x": float}, x=[1]), "Own can't be a schedule: mutable default <class 'list'>"),
        (_own(__annotations__={"x": float, "y": float}, x=1.0), "non-default argument 'y' follows default argument"),
        (_own(__init__=print), "can't have a __init__ of its own: .* declare its fields instead"),
        (_own(__post_init__=print), r"can't have a __post_init__ of its own: .* check them in validate\(self\)"),
        (lambda: _own()()()(3), r"Own has no formula; define its method at\(self, t, ops\)"),
    ],
)
def test_what_is_no_value_is_refused(make: Callable[[], Any], message: str) -> None:
    """A class that can't be a value is refused when it is defined, with the way out."""
    with pytest.raises(InvalidInput, match=message):
        make()


@pytest.mark.parametrize("decorate", [dataclass, dataclass(frozen=True), dataclass(frozen=True, repr=False, eq=False)])
def test_a_decorator_changes_nothing(decorate: Any) -> None:
    """Who decorates the class as a dataclass, from habit, has the same class."""
    one = Saw(10, teeth=2)
    body = {name: vars(Saw)[name] for name in ("__annotations__", "teeth", "low", "at")}
    decorated = decorate(type("Saw", (Schedule,), body))(10, teeth=2)
    assert repr(decorated) == "Saw(10, teeth=2)"
    assert hash(decorated) == hash(type(decorated)(10, teeth=2))
    assert decorated == type(decorated)(10, teeth=2)
    assert [decorated(t) for t in range(12)] == [one(t) for t in range(12)]


def test_a_name_of_ours_stays_ours() -> None:
    """A user's class named like a kind of Gradus's doesn't take its place in text and JSON."""

    class Cosine(Schedule):
        length: int

    assert KINDS["Cosine"] is not Cosine
    assert type(parse("Cosine(3)")) is KINDS["Cosine"]
    assert repr(Cosine(3)) == "Cosine(3)"
    with pytest.raises(
        InvalidInput, match=r"can't be saved: nothing can be imported by the name of its class; .* top level"
    ):
        Cosine(3).to_json()


def test_its_length_is_inferred() -> None:
    """`length` is in steps or a span, and a kind without one goes on for ever."""
    assert (Saw(7).length, len(Saw(7)), Saw(7).is_endless) == (7, 7, False)
    assert Saw(rest()).resolve(30) == Saw(30)
    assert (Stairs(4).length, Stairs(4).is_endless) == (None, True)
    with pytest.raises(InvalidInput, match="has no end, so nothing can follow it"):
        Stairs(4) >> Constant()

    class Level(Schedule):
        height: float
        length: ClassVar[int] = 12

        def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002 - one number for all steps
            return self.height

    assert (Level(2.0).length, Level(2.0)(3), Level(2.0)(np.arange(2)).tolist()) == (12, 2.0, [2.0, 2.0])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, None, "1", 1j, [1, 2]])
def test_a_formula_gives_finite_numbers(value: Any) -> None:
    """What a formula gives at a step is a finite number, or the step is refused with its schedule."""

    class Odd(Schedule):
        def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
            return value if t == 3 else 1.0

    assert Odd()(2) == 1.0
    with pytest.raises(InvalidInput, match=r"Odd\(\) (is no finite number|must give a number).* at step 3"):
        Odd()(3)


def test_an_array_names_the_step_that_is_not_finite() -> None:
    """In an array the first step without a finite value is named."""

    class Pole(Schedule):
        def at(self, t: Any, ops: Any) -> Any:
            return ops.where(t < 7, 1.0 + ops.real(t), ops.full(t, float("inf")))

    with pytest.raises(InvalidInput, match=r"Pole\(\) is no finite number at step 7"):
        Pole()(np.arange(10))
    with pytest.raises(InvalidInput, match=r"Pole\(\) is no finite number at step 7"):
        Pole()(torch.arange(10))


def test_its_fields_are_checked_together() -> None:
    """`validate` checks fields against each other, once their spans are steps."""

    class Between(Schedule):
        low: float
        high: float

        def validate(self) -> None:
            if self.low > self.high:
                raise InvalidInput(f"low must be at most high; got {self.low} and {self.high}")

        def at(self, t: Any, ops: Any) -> Any:
            return ops.full(t, self.high)

    assert Between(1, 2)(0) == 2.0
    with pytest.raises(InvalidInput, match=r"low must be at most high; got 2\.0 and 1\.0"):
        Between(2, 1)


class Scalar(Schedule):
    """A formula for one number, as the module `math` has it."""

    every: int = 4

    def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
        return 1.0 if t < self.every else math.exp(-t / self.every)


class Quotient(Schedule):
    """A formula in Python's operators, which torch divides in float32 where the clock is whole."""

    every: int = 3

    def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
        return 1 / (1 + t / self.every)


class Table(Schedule):
    """A formula that looks up the step."""

    heights: tuple[float, ...] = (1.0, 0.3, 0.1)

    def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
        return self.heights[min(int(t), len(self.heights) - 1)]


@pytest.mark.parametrize("one", [Scalar(), Quotient(), Table(), 2 * (warmup(3) >> Scalar()), Quotient() ** 2 - Table()])
@pytest.mark.parametrize("kind", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_any_formula_gives_over_arrays_what_it_gives_step_by_step(one: Schedule, kind: Callable[[Any], Any]) -> None:
    """Whatever a formula is written in, an array of steps gives float64, and each element what its step gives."""
    steps = [0, 1, 2, 5, 2**24 + 1, 3]
    values = one(kind(steps))
    assert isinstance(values, type(kind(steps)))
    assert str(values.dtype).endswith("float64")
    assert values.tolist() == pytest.approx([one(step) for step in steps], rel=1e-15)
    assert isinstance(check(one, 100), list)


def test_a_formula_that_fails_over_arrays_says_so_as_over_one_step() -> None:
    """An answer that is no number is refused with its step, and an error of the formula's own comes through."""

    class Text(Schedule):
        def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
            return "a"

    class Failing(Schedule):
        def at(self, t: Any, ops: Any) -> Any:  # noqa: ARG002
            raise KeyError("mine")

    with pytest.raises(InvalidInput, match="must give a number at step 0; it gives 'a'"):
        Text()(np.arange(3))
    with pytest.raises(KeyError, match="mine"):
        Failing()(np.arange(3))


@pytest.mark.parametrize("name", ["kind", "at", "take", "resolve", "plot", "to_json", "is_endless", "_needs", "_checks"])
def test_no_field_takes_the_place_of_something_that_every_schedule_has(name: str) -> None:
    """A field under the name of a method, or of what JSON calls the class, is refused when the class is defined."""
    with pytest.raises(InvalidInput, match=f"can't have a field '{name}'"):
        type("Mine", (Schedule,), {"__annotations__": {name: float}, "__module__": __name__})


def test_a_formula_of_the_wrong_name_is_refused() -> None:
    """A class that defines `__call__` would mean one thing alone and another in a composition."""
    with pytest.raises(InvalidInput, match=r"can't have a __call__ of its own.*at\(self, t, ops\)"):
        type("Mine", (Schedule,), {"__call__": lambda *_: 1.0, "__module__": __name__})
