"""What holds for every schedule: the registry's, and any that Hypothesis composes."""

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gradus.schedules import Constant, Lambda, Linear, OneCycle, Schedule, parse, schedule
from gradus.schedules import max as highest
from gradus.schedules import min as lowest
from registry import COMPOSITIONS, ENDING_LEAVES, LEAVES, RUN, SCHEDULES, TEMPLATES, close

STEPS = np.arange(60)
each_schedule = pytest.mark.parametrize("name", SCHEDULES)
each_template = pytest.mark.parametrize("name", TEMPLATES)


@each_schedule
def test_a_step_gives_a_float(name: str) -> None:
    """A Python int, and any other integer, gives a Python float, the same one."""
    value = SCHEDULES[name](7)
    assert type(value) is float
    assert SCHEDULES[name](np.int32(7)) == value


@each_schedule
def test_an_array_gives_its_kind(name: str) -> None:
    """NumPy, torch and JAX arrays of any shape give arrays of their kind and shape, equal to the values one by one."""
    one_by_one = np.array([SCHEDULES[name](int(t)) for t in STEPS]).reshape(6, 10)
    steps = STEPS.reshape(6, 10)
    ours = SCHEDULES[name](steps)
    assert isinstance(ours, np.ndarray)
    assert ours.dtype == np.float64
    assert close(ours, one_by_one, 1e-13)
    in_torch = SCHEDULES[name](torch.from_numpy(steps))
    assert isinstance(in_torch, torch.Tensor)
    assert in_torch.dtype == torch.float64
    assert close(in_torch.numpy(), one_by_one, 1e-13)
    in_jax = SCHEDULES[name](jnp.asarray(steps))
    assert isinstance(in_jax, jax.Array)
    assert close(in_jax, one_by_one, 1e-5)


@each_schedule
def test_arrays_in_order_out_of_order_and_of_small_integers_agree(name: str) -> None:
    """The values don't depend on the order of the steps nor on the width of their integers."""
    shuffled = np.random.default_rng(0).permutation(STEPS)
    assert np.array_equal(SCHEDULES[name](shuffled), SCHEDULES[name](STEPS)[shuffled])
    assert np.array_equal(SCHEDULES[name](STEPS.astype(np.uint8)), SCHEDULES[name](STEPS))
    assert SCHEDULES[name](STEPS[:0]).shape == (0,)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "lambda"])
def test_jax_traces_it(name: str) -> None:
    """Under jax.jit the values are those without it."""
    traced = jax.jit(SCHEDULES[name])
    assert close(traced(jnp.asarray(STEPS)), SCHEDULES[name](STEPS), 1e-5)
    assert close(traced(7), SCHEDULES[name](7), 1e-5)


@each_schedule
def test_no_step_overflows(name: str) -> None:
    """No step up to 2^53 − 1 overflows, divides by zero or leaves the finite numbers, alone or in an array."""
    far = [10**3, 2**31, 2**53 - 1]
    if name == "raise":
        far = [10**3]
    if name == "lambda":
        far = [10**3]  # the function is the user's
    values = SCHEDULES[name](np.array(far))
    assert np.isfinite(values).all()
    assert [SCHEDULES[name](t) for t in far] == pytest.approx(values.tolist(), rel=1e-9, abs=1e-12)


@each_schedule
def test_the_end_is_held(name: str) -> None:
    """From its length on, a schedule with an end has one value."""
    one = SCHEDULES[name]
    if one.length is None or name == "raise":
        assert one.is_endless or name == "raise"
        return
    assert isinstance(one.length, int)
    assert {one(one.length + later) for later in (0, 1, 13, 10**6)} == {one(one.length)}


@each_schedule
def test_it_is_a_value(name: str) -> None:
    """Copies and pickles are equal, hash alike and print alike; others differ; nothing can be set."""
    one = SCHEDULES[name]
    for again in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert again == one
        assert hash(again) == hash(one)
        assert repr(again) == repr(one)
        assert again(5) == one(5)
    assert one != Constant(0.123)
    assert [other for other in SCHEDULES.values() if other == one] == [one]
    field = dataclasses.fields(one)[0].name  # type: ignore[arg-type]
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(one, field, 1)


@each_schedule
def test_json_round_trip(name: str) -> None:
    """from_json(to_json(s)) equals s, for schedules and for templates; the JSON is strict."""
    for one in (SCHEDULES[name], *(pair[0] for pair in TEMPLATES.values())):
        json.loads(one.to_json(), parse_constant=pytest.fail)
        assert Schedule.from_json(one.to_json(), trusted=True) == one


@each_schedule
def test_text_round_trip(name: str) -> None:
    """parse(repr(s)) equals s, for schedules and for templates."""
    for one in (SCHEDULES[name], *(pair[0] for pair in TEMPLATES.values())):
        assert parse(repr(one), trusted=True) == one


@given(one=COMPOSITIONS)
@example(one=OneCycle(1, pct_start=5e-324))  # a span so short that a step over it is infinite
@settings(max_examples=150)
def test_compositions_are_schedules(one: Schedule) -> None:
    """Whatever is composed evaluates alike alone and in arrays, and comes back from its JSON and its text."""
    together = one(np.arange(80))
    assert close(together, [one(t) for t in range(80)], 1e-12)
    assert Schedule.from_json(one.to_json()) == one
    assert parse(repr(one)) == one
    if not one.is_endless:
        assert isinstance(one.length, int)
        assert one(one.length) == one(one.length + 5)


# The algebra


@given(a=ENDING_LEAVES, b=ENDING_LEAVES, c=LEAVES)
@settings(max_examples=60)
def test_composition_is_associative(a: Schedule, b: Schedule, c: Schedule) -> None:
    """(a ∘ b) ∘ c equals a ∘ (b ∘ c), as values, for >>, *, +, min and max."""
    assert (a >> b) >> c == a >> (b >> c)
    assert (a * b) * c == a * (b * c)
    assert (a + b) + c == a + (b + c)
    assert lowest(lowest(a, b), c) == lowest(a, lowest(b, c))
    assert highest(highest(a, b), c) == highest(a, highest(b, c))


@given(a=ENDING_LEAVES, b=LEAVES, t=st.integers(0, 100))
@settings(max_examples=100)
def test_operators_do_what_they_say(a: Schedule, b: Schedule, t: int) -> None:
    """a >> b is a before its length and b from its own 0 after; the others act step by step."""
    assert isinstance(a.length, int)
    assert (a >> b)(t) == (a(t) if t < a.length else b(t - a.length))
    assert (a * b)(t) == a(t) * b(t)
    assert (a + b)(t) == a(t) + b(t)
    assert lowest(a, b)(t) == min(a(t), b(t))
    assert highest(a, b)(t) == max(a(t), b(t))
    assert (0.5 * a + 2)(t) == 0.5 * a(t) + 2
    assert (a - b - 2)(t) == a(t) - b(t) - 2
    assert (a - (b - 2))(t) == a(t) - (b(t) - 2)
    assert (2 - a)(t) == 2 - a(t)
    assert (-a)(t) == -a(t)
    assert (a / (9 + b) / 3)(t) == a(t) / (9 + b(t)) / 3
    assert (2 ** (a**2))(t) == 2 ** (a(t) ** 2)
    assert a.clip(-0.5, 0.5)(t) == max(-0.5, min(0.5, a(t)))


@given(a=ENDING_LEAVES, n=st.integers(0, 30), k=st.integers(1, 5), t=st.integers(0, 200))
@settings(max_examples=100)
def test_methods_do_what_they_say(a: Schedule, n: int, k: int, t: int) -> None:
    """delay shifts, take stops, skip begins later, stretch slows, staircase waits, repeat and mirror go on."""
    length = a.length
    assert isinstance(length, int)
    assert a.delay(n)(t) == a(max(t - n, 0))
    assert a.take(n)(t) == a(min(t, n))
    assert a.skip(n)(t) == a(t + n)
    assert a.skip(n).length == max(length - n, 0)
    assert a.staircase(k)(t) == a(t // k * k)
    assert a.staircase(k).length == -(-length // k) * k
    assert a.stretch(k)(k * t) == a(t)
    assert a.stretch(k).length == k * length
    assert a.after("hold") == a
    if length:
        assert a.repeat()(t) == a(t % length)
        assert a.repeat(k)(t) == (a(t % length) if t < k * length else a(length))
        there = t % (2 * length)
        assert a.after("mirror")(t) == a(there if there < length else 2 * length - there)


@given(a=ENDING_LEAVES, b=ENDING_LEAVES)
@settings(max_examples=60)
def test_lengths_follow(a: Schedule, b: Schedule) -> None:
    """Lengths add up in a sequence; side by side the longer one counts, and constants don't."""
    assert isinstance(a.length, int)
    assert isinstance(b.length, int)
    assert (a >> b).length == a.length + b.length
    assert (a * b).length == lowest(a, b, 0.3).length == max(a.length, b.length)
    assert (a + 1).length == len(a) == a.length
    assert (a >> Constant()).length is None
    assert a  # true even without a step
    with pytest.raises(TypeError, match="has no end, so it has no length"):
        len(Constant())


def test_after_raise_refuses_late_steps() -> None:
    """.after("raise") has the values up to its end and refuses the steps past it, alone and in arrays."""
    one = Linear(10).after("raise")
    assert one(10) == 0.0
    for late in (11, np.array([3, 11])):
        with pytest.raises(schedule.InvalidInput, match=r"ends at step 10, and step 11 was asked for"):
            one(late)
    assert (one >> Constant(0.5))(np.arange(40))[-1] == 0.5


# Templates


@each_template
def test_templates_resolve(name: str) -> None:
    """A template resolves to the schedule one would have written for that run, and what is concrete stays as it is."""
    template, expected = TEMPLATES[name]
    resolved = template.resolve(1000, **RUN)
    assert resolved == expected
    assert resolved.resolve(7) is resolved


@each_template
def test_unresolved_templates_name_what_is_missing(name: str) -> None:
    """Evaluating a template is refused, and the message names the arguments of resolve that make it concrete."""
    with pytest.raises(schedule.InvalidInput, match=r"is a template; make it concrete first: \.resolve\(\w+=\.\.\."):
        TEMPLATES[name][0](0)


def test_one_template_serves_every_length() -> None:
    """A template with rest() ends with the run, whatever its length."""
    for total in (125, 12_345, 10**9):
        template, _ = TEMPLATES["rest between"]
        assert template.resolve(total).length == total


def _fresh(code: str) -> Any:
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_schedules_import_no_torch() -> None:
    """Importing gradus.schedules and evaluating on NumPy imports neither torch nor anything else that is heavy."""
    code = """
import json, sys
from gradus.schedules import *
import numpy
(warmup(5) >> Cosine(9))(numpy.arange(20)); parse("Cosine(3)"); Cosine(3).to_json()
print(json.dumps([m for m in ("torch", "matplotlib", "scipy", "rich", "jax", "array_api_compat") if m in sys.modules]))
"""
    assert _fresh(code) == []


def test_a_star_import_leaves_min_and_max_alone() -> None:
    """`from gradus.schedules import *` doesn't shadow Python's min and max."""
    assert _fresh("from gradus.schedules import *; import json; print(json.dumps([min(2, 1), max(2, 1)]))") == [1, 2]


def test_a_bare_lambda_works_and_is_not_saved() -> None:
    """A function without an importable name is evaluated, and refuses to be saved with the reason."""
    assert Lambda(lambda t: 2.0 * t)(3) == 6.0
    with pytest.raises(schedule.InvalidInput, match=r"can't be saved: nothing can be imported by its name"):
        Lambda(lambda t: 2.0 * t).to_json()


def test_untrusted_text_imports_nothing() -> None:
    """Neither JSON nor text imports a function that it names, until it is said to be trusted."""
    import registry

    one = Lambda(registry.halving)
    with pytest.raises(schedule.InvalidInput, match=r"importing runs code; .*trusted=True"):
        Schedule.from_json(one.to_json())
    with pytest.raises(schedule.InvalidInput, match=r"importing runs code: pass trusted=True"):
        parse(repr(one))
    assert Schedule.from_json(one.to_json(), trusted=True) == one
