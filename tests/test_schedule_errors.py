"""Input that schedules refuse, and what they say: what must hold, what was given, and the way out."""

import contextlib
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradus.schedules as g
from gradus.errors import InvalidInput
from gradus.schedules import Absolute, Constant, Cosine, CosineRestarts, Cyclic, Linear, Schedule, parse
from gradus.schedules.algebra import Power, Product, Sequence
from registry import SCHEDULES, Refused

FIELDS = [
    Refused(
        lambda: Cosine(-1),
        "Cosine's length must be a whole number of steps from 0 to 2^53, or a span such as epochs(5); got -1",
    ),
    Refused(lambda: Cosine(2.5), "got 2.5"),
    Refused(lambda: Cosine("20"), "got '20'"),
    Refused(lambda: Cosine(True), "got True"),
    Refused(lambda: Cosine(2**53 + 1), "from 0 to 2^53"),
    Refused(lambda: Cosine(20, end=math.nan), "Cosine's end must be a finite number; got nan"),
    Refused(lambda: Cosine(20, start=math.inf), "Cosine's start must be a finite number; got inf"),
    Refused(lambda: Cosine(20, start="high"), "got 'high'"),
    Refused(lambda: g.Polynomial(5, power=0), "Polynomial's power must be a finite number above 0; got 0"),
    Refused(lambda: g.Step(0), "Step's every must be a whole number of steps from 1"),
    Refused(lambda: g.Step(5, gamma=-0.1), "Step's gamma must be a finite number that isn't negative; got -0.1"),
    Refused(lambda: g.MultiStep(7), "MultiStep's milestones must be a list such as (30, 60); got 7"),
    Refused(lambda: g.MultiStep((5, 3)), "must come in order; 3 follows 5"),
    Refused(lambda: g.Piecewise(()), "must hold at least one pair (step, value); got none"),
    Refused(lambda: g.Piecewise(((0, 1.0, 2.0),)), "must be a pair (step, value); got (0, 1.0, 2.0)"),
    Refused(lambda: g.Piecewise(((5, 1.0), (5, 2.0))), "must come in order; 5 follows 5"),
    Refused(lambda: g.Piecewise(((0, 1.0),), "spline"), "must be one of 'constant', 'linear', 'cosine'; got 'spline'"),
    Refused(lambda: Cyclic(5, mode="square"), "must be one of 'triangular', 'triangular2', 'exp_range'; got 'square'"),
    Refused(lambda: Cyclic(5, gamma=1.5), "Cyclic's gamma must be a number above 0 and at most 1; got 1.5"),
    Refused(lambda: g.OneCycle(9, pct_start=1.5), "OneCycle's pct_start must be a number from 0 to 1; got 1.5"),
    Refused(lambda: g.OneCycle(9, pct_start=0.6, three_phase=True), "pct_start must be at most 0.5"),
    Refused(lambda: g.OneCycle(9, three_phase=1), "three_phase must be True or False; got 1"),
    Refused(lambda: CosineRestarts(5, growth=0.5), "CosineRestarts's growth must be a finite number, 1 or more; got 0.5"),
    Refused(lambda: CosineRestarts(5, cycles=0), "cycles must be a whole number from 1 to 2^53, or None for no end; got 0"),
    Refused(lambda: g.Lambda(3), "Lambda's function must be callable; got 3"),
    Refused(lambda: g.Lambda("no_such_module:f"), "there is no module 'no_such_module'"),
    Refused(lambda: g.Lambda("math:no_such_function"), "no_such_function"),
    Refused(lambda: g.epochs(-1), "epochs(...) takes a number from 0 to 2^53; got -1"),
    Refused(lambda: g.fraction(1.5), "fraction(...) is a part of the whole run, from 0 to 1; got 1.5"),
    Refused(lambda: g.tokens(math.nan), "tokens(...) takes a number from 0 to 2^53; got nan"),
    Refused(
        lambda: g.wsd(5, shape="square"),
        'wsd\'s shape must be "linear", "cosine", "1-sqrt" or "exponential"; got \'square\'',
    ),
    Refused(
        lambda: g.warmup(5, shape="square"), 'shape must be "linear", "cosine", "exponential" or "logarithmic"; got \'square'
    ),
    Refused(lambda: g.warmup(5, shape="exponential"), "so warmup's start must be a number above 0 (such as 0.01); got 0.0"),
    Refused(lambda: g.warmup(5, start="x", shape="exponential"), "must be a number above 0 (such as 0.01); got 'x'"),
    Refused(lambda: g.wsd(5, shape="exponential"), "so wsd's end must be a number above 0 (such as 0.01); got 0.0"),
    Refused(lambda: g.cooldown(1, 2, 3), "cooldown's schedule must be a schedule; got 1"),
    Refused(lambda: g.cooldown(Linear(9), g.rest() - 3, 2), "cooldown's at is rest() where the way down ends with the run"),
    Refused(lambda: g.cooldown(Linear(9), g.rest(), g.rest()), "only one of cooldown's at and length can be rest()"),
    Refused(lambda: g.cooldown(Linear(9), 2, 3, end=0.1, end_value=1e-5), "cooldown takes end, a part of the value at its"),
    Refused(lambda: g.cooldown(Linear(9), 2, 3, end_value="x"), "Constant's value must be a finite number; got 'x'"),
    Refused(lambda: g.hyperbolic(100, 50), "hyperbolic's bound must be at least as long as its length; got 50 for 100"),
    Refused(lambda: g.hyperbolic(g.epochs(3), 50), "hyperbolic's length and bound must be of one unit"),
    Refused(lambda: g.hyperbolic(g.rest(), g.rest()), "hyperbolic's length and bound must be of one unit"),
    Refused(lambda: g.Chebyshev(12), "Chebyshev's nodes must be a power of two from 1 to 2^53; got 12"),
    Refused(lambda: g.Chebyshev(8, low=2.0), "Chebyshev needs low <= high; got 2.0 and 1.0"),
    Refused(lambda: Linear(3).clip("x"), "clip's bounds must be numbers or schedules; got 'x'"),
    Refused(lambda: g.wsd_s(5, 7, 3), "wsd_s's stable must be a list of lengths such as (700, 700); got 7"),
    Refused(lambda: g.wsd_s(5, (7,), 3, shape="square"), "wsd_s's shape must be"),
    Refused(lambda: g.cooldown(Cosine(5), 2, 3, shape="square"), "cooldown's shape must be"),
    Refused(lambda: g.untuned_linear(1.0), "untuned_linear's beta2 must be at least 0 and below 1; got 1.0"),
    Refused(lambda: g.untuned_exponential("0.9"), "untuned_exponential's beta2 must be at least 0 and below 1; got '0.9'"),
    Refused(lambda: g.RAdamWarmup(0.6), "RAdamWarmup's beta2 must be a number above 0.6 and below 1; got 0.6"),
    Refused(lambda: g.Noise(0.1, seed=-1), "Noise's seed must be a whole number from 0 to 2^32 - 1; got -1"),
    Refused(lambda: g.Noise(0.1, seed=0.5), "Noise's seed must be a whole number from 0 to 2^32 - 1; got 0.5"),
    Refused(lambda: g.Noise(-0.1), "Noise's spread must be a finite number that isn't negative; got -0.1"),
    Refused(lambda: g.Noise(0.1, distribution="pink"), "must be one of 'uniform', 'normal'; got 'pink'"),
    Refused(lambda: g.Rex(5, d=1), "Rex's d must be at least 0 and below 1; got 1"),
    Refused(lambda: g.Tanh(5, low=3, high=-6), "Tanh needs low < high"),
    Refused(lambda: g.Tanh(5, low=30, high=40), "near enough to 0 for the tangent to change between them"),
    Refused(lambda: g.PowerLaw(-1), "PowerLaw's exponent must be a finite number that isn't negative; got -1"),
    Refused(lambda: Cosine(5, k=0), "Cosine's k must be a finite number above 0; got 0"),
    Refused(lambda: g.sgdr(0), "sgdr's cycles must be a whole number from 1 to 100; got 0"),
    Refused(lambda: g.noam(0, 10), "noam's d_model must be a whole number from 1; got 0"),
]
COMPOSITION = [
    Refused(
        lambda: Constant() >> Cosine(3),
        "Constant() has no end, so nothing can follow it; say how long it lasts: .take(steps)",
    ),
    Refused(
        lambda: Cyclic(3).repeat(), "Repeat's schedule must have an end, and Cyclic(3) has none; give it one: .take(steps)"
    ),
    Refused(lambda: Linear(0).repeat(), "a schedule of no steps can't be repeated: Linear(0)"),
    Refused(
        lambda: Linear(3).after("bounce"), "after's mode must be one of 'hold', 'repeat', 'mirror', 'raise'; got 'bounce'"
    ),
    Refused(lambda: Constant().after("mirror"), "must have an end"),
    Refused(lambda: Linear(3).stretch(0), "Stretch's factor must be a finite number above 0; got 0"),
    Refused(lambda: Linear(3).staircase(0), "Staircase's every must be a whole number of steps from 1"),
    Refused(lambda: Linear(3).take(-1), "Take's steps must be a whole number of steps from 0"),
    Refused(lambda: Linear(3).clip(0.5, 0.1), "clip needs low <= high; got low=0.5, high=0.1"),
    Refused(lambda: g.absolute(Linear(3)) * 2, "absolute(...) says how a whole schedule is applied, so it goes outermost"),
    Refused(lambda: Absolute(0.1), "Absolute's schedule must be a schedule; got 0.1"),
    Refused(lambda: g.min(Linear(3), "x"), "min and max take schedules and numbers; got 'x'"),
    Refused(lambda: Product(()), "must hold at least one schedule; got none"),
    Refused(lambda: Power((Linear(3), Linear(4), Linear(5))), "Power needs two members, base and exponent; got 3"),
    Refused(lambda: Linear(3) / 0, "nothing can be divided by 0; got Linear(3) / Constant(0.0)"),
    Refused(lambda: 1 / g.Plateau(), "a factor that follows a metric stands in the outermost product"),
    Refused(lambda: g.rest() - g.rest(), "rest() is lessened by a whole number of steps or by a span; got rest()"),
    Refused(lambda: Sequence((1,)), "must be a schedule; got 1"),
]
EVALUATION = [
    Refused(lambda: (1 / Linear(3))(3), "Constant() / Linear(3) is no finite number at step 3"),
    Refused(lambda: (1 / Linear(3))(np.arange(9)), "Constant() / Linear(3) is no finite number at step 3"),
    Refused(lambda: ((Linear(3) - 1) ** 0.5)(2), "is no finite number at step 2"),
    Refused(lambda: ((Linear(3) - 1) ** 0.5)(np.arange(1, 3)), "is no finite number at step 1"),
    Refused(lambda: (1e200 * Constant(1e200))(0), "is no finite number at step 0"),
    Refused(lambda: Cosine(3)(-1), "steps are counted from 0 and stay below 2^63; got -1"),
    Refused(lambda: Cosine(3)(2**63), "stay below 2^63"),
    Refused(lambda: Cosine(3)(1.0), "a step must be an integer or an array of integers; got 1.0"),
    Refused(lambda: Cosine(3)(True), "got True"),
    Refused(lambda: Cosine(3)("1"), "got '1'"),
    Refused(lambda: Cosine(3)(None), "got None"),
    Refused(lambda: Cosine(3)(np.arange(3.0)), "the number of updates done so far; got float64 values"),
    Refused(lambda: Cosine(3)(np.array([1, -2])), "steps are counted from 0; got -2 in the array"),
]
RESOLUTION = [
    Refused(lambda: Cosine(g.epochs(3)).resolve(100), "epochs(3) can't be counted in steps without steps_per_epoch"),
    Refused(lambda: Cosine(g.rest()).resolve(), "rest() can't be counted in steps without total_steps"),
    Refused(
        lambda: (Cosine(g.rest()) >> Linear(g.rest())).resolve(10), "only one phase of a sequence can take rest(); here 2 do"
    ),
    Refused(lambda: g.wsd(900).resolve(1000), "the other phases take 1100 of 1000 steps"),
    Refused(lambda: Linear(200).delay(g.rest()).resolve(100), "the other phases take 200 of 100 steps"),
    Refused(lambda: Linear(g.rest()).delay(g.rest()).resolve(100), "only one of a delay and what it delays can take rest()"),
    Refused(lambda: Linear(g.rest() - 200).resolve(100), "rest() - 200 is below 0, for 100 steps are left"),
    Refused(lambda: Linear(g.rest() - g.epochs(2)).resolve(100), "can't be counted in steps without steps_per_epoch"),
    Refused(lambda: Cosine(g.rest()).resolve(0), "total_steps must be a finite number above 0; got 0"),
    Refused(lambda: Cosine(g.rest()).resolve(2.5), "total_steps must be a whole number of steps; got 2.5"),
    Refused(
        lambda: Cosine(g.epochs(1)).resolve(steps_per_epoch=math.nan), "steps_per_epoch must be a finite number above 0"
    ),
]
TEXT = [
    Refused(lambda: parse("Cosin(3)"), "unknown schedule 'Cosin' (did you mean Cosine?); known are"),
    Refused(lambda: parse("cosine(3)"), "did you mean Cosine?"),
    Refused(lambda: parse("Cosine(3"), "'(' was never closed, at character 7"),
    Refused(
        lambda: parse("Cosine(3, foo=1)"),
        "Cosine(length, start=1.0, end=0.0, k=1.0, power=1.0): got an unexpected keyword argument 'foo'",
    ),
    Refused(lambda: parse("Cosine()"), "missing a required argument: 'length'"),
    Refused(lambda: parse("Cosine(-3)"), "in 'Cosine(-3)': Cosine's length must be a whole number"),
    Refused(lambda: parse("Cosine"), "Cosine needs its arguments in brackets"),
    Refused(lambda: parse(""), "must be something like"),
    Refused(lambda: parse("epochs(3)"), "is no schedule but epochs(3)"),
    Refused(lambda: parse("epochs(3) * 2"), "between schedules there are >>, *, /, +, - and **, and a span"),
    Refused(lambda: parse("Cosine(3) // 2"), "has no place in a schedule"),
    Refused(lambda: parse("Linear(epochs(3) - 1)"), "only rest() can be lessened, as in rest() - 100; got epochs(3)"),
    Refused(lambda: parse("Linear(3) >> 'x'"), "unsupported operand"),
    Refused(lambda: parse("Cosine(3) / 0"), "in 'Cosine(3) / 0': nothing can be divided by 0"),
    Refused(lambda: parse("10.0**64 * 10.0**64 * 10.0**64 * 10.0**64 * 10.0**64 * 10.0**64"), "this is no finite number"),
    Refused(lambda: parse("(-8) ** 0.5"), "this is no finite number"),
    Refused(lambda: parse("Linear(\ud800)"), "can't read"),
    Refused(lambda: parse("Linear(9, end=1" + "0" * 400 + ")"), "Linear's end must be a finite number; got 1000"),
    Refused(lambda: parse("Linear(9, end=" + "9" * 5000 + ")"), "can't read|must be a finite number"),
    Refused(lambda: parse("1 >> 2"), "joins schedules, and these are two numbers"),
    Refused(lambda: parse("Cosine(9**9**9)"), "this power is too large"),
    Refused(lambda: parse("Cosine(1/0)"), "division by zero"),
    Refused(lambda: parse("Cosine(*[3])"), "* and ** have no place"),
    Refused(lambda: parse("Cosine(3).to_json()"), "no method .to_json here; a schedule has .after, .clip"),
    Refused(lambda: parse("Cosine(3).__class__"), "has no place in a schedule"),
    Refused(lambda: parse("__import__('os').system('true')"), "no method .system here|unknown schedule '__import__'"),
    Refused(lambda: parse("[x for x in ()]"), "has no place in a schedule"),
    Refused(lambda: parse("-'x'"), "only a number or a schedule can be negated"),
    Refused(lambda: parse("(" * 500 + "1" + ")" * 500), "too many nested parentheses|nested too deeply"),
    Refused(lambda: parse("Cosine(3)" + " + 1" * 4000), "has at most 10,000 characters"),
    Refused(lambda: parse("Cosine(3)\0"), "can't read"),
]
JSON = [
    Refused(lambda: Schedule.from_json("{"), "this is not JSON"),
    Refused(lambda: Schedule.from_json("[]"), "this JSON is no schedule"),
    Refused(
        lambda: Schedule.from_json('{"gradus.schedule": 2, "schedule": {}}'), "has version 2; this Gradus reads version 1"
    ),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Zigzag"}')), "unknown kind of schedule: 'Zigzag'; this Gradus knows"
    ),
    Refused(lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": 3, "top": 1}')), "Cosine has no field 'top'"),
    Refused(lambda: Schedule.from_json(_json('{"kind": "Cosine"}')), "Cosine can't be made from fields []"),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": NaN}')), "a schedule's numbers are finite; got NaN"
    ),
    Refused(lambda: Schedule.from_json(_json('{"span": "epochs", "amount": 3}')), "must hold a schedule"),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": {"span": "weeks", "amount": 3}}')), "got 'weeks'"
    ),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": {"span": "rest", "less": [[]]}}')),
        "rest() is lessened by a whole number of steps or by a span; got []",
    ),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": {"span": "rest", "less": [{"span": "rest"}]}}')),
        "what a span is lessened by must be a list of whole numbers and spans",
    ),
    Refused(lambda: Schedule.from_json(_json('{"kind": "MetricFactor"}')), "unknown kind of schedule: 'MetricFactor'"),
    Refused(lambda: Schedule.from_json(_json('{"kind": "Constant", "value": 1' + "0" * 400 + "}")), "must be a finite"),
    Refused(lambda: Schedule.from_json(_json('{"kind": "\\ud800"}')), "unknown kind of schedule"),
    Refused(
        lambda: Schedule.from_json(_json('{"kind": "Cosine", "length": {"span": "rest", "x": 3}}')),
        "a span has no field 'x'",
    ),
    Refused(lambda: Schedule.from_json('{"gradus.schedule": 1, "schedule": {}, "more": 1}'), "has no field 'more'"),
    Refused(lambda: Schedule.from_json("[" * 100_000), "this is not JSON"),
    Refused(lambda: Schedule.from_json(" " * 1_000_001), "at most 1,000,000 characters"),
    Refused(lambda: Schedule.from_json(3), "read from JSON text; got int"),
    Refused(lambda: Schedule.from_json(_nested(200)), "nested more than 100 levels deep"),
]


def _json(schedule: str) -> str:
    return f'{{"gradus.schedule": 1, "schedule": {schedule}}}'


def _nested(levels: int) -> str:
    inner = '{"kind": "Cosine", "length": 3}'
    for _ in range(levels):
        inner = f'{{"kind": "Delay", "schedule": {inner}, "steps": 1}}'
    return _json(inner)


@pytest.mark.parametrize("case", [*FIELDS, *COMPOSITION, *EVALUATION, *RESOLUTION, *TEXT, *JSON])
def test_refused_with_a_reason(case: Refused) -> None:
    """Each is refused with InvalidInput, a ValueError, whose message says what is wrong with what."""
    with pytest.raises(InvalidInput) as caught:
        case.make()
    assert any(part in str(caught.value) for part in case.message.split("|")), str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@given(text=st.text(max_size=60) | st.text("CosineLr()>*+,.=0123456789 '\"[]_-", max_size=60))
@settings(max_examples=1000)
def test_no_text_does_anything_but_parse_or_refuse(text: str) -> None:
    """Any text is a schedule or refused with InvalidInput; nothing else happens."""
    with contextlib.suppress(InvalidInput):
        assert isinstance(parse(text), Schedule)


_scraps = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["Cosine", "Sequence", "kind", "rest"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["kind", "length", "members", "span", "amount", "schedule", "steps"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(scrap=_scraps)
@settings(max_examples=1000)
def test_no_json_does_anything_but_load_or_refuse(scrap: object) -> None:
    """Any JSON in the place of a schedule is a schedule or refused with InvalidInput; nothing else happens."""
    with contextlib.suppress(InvalidInput):
        assert isinstance(Schedule.from_json(json.dumps({"gradus.schedule": 1, "schedule": scrap})), Schedule)


HOSTILE: list[Any] = [
    *(10**400, -(10**400), 1e308, -1e308, 5e-324, -0.0, 2**53, 2**63, 2**64, True, None, "", "\ud800", "x" * 300, "1"),
    *([], [[]], [1], [1, 2, 3], ["a"], [[0, 1]], [[5, 1], [3, 1]], {}, {"kind": []}, {"kind": "own:Saw"}, {"span": None}),
    *({"span": "rest"}, {"span": "epochs", "amount": 10**400}, {"span": "fraction", "amount": 0.5}),
    *(
        {"span": "rest", "amount": None, "less": [1, 2**60]},
        {"span": "rest", "less": {}},
        {"kind": "Constant", "value": 1e300},
    ),
    *({"kind": "Plateau"}, {"kind": "Absolute", "schedule": {"kind": "Constant"}}, {"kind": "Linear", "length": 0}),
]
EVERY_KIND = {
    json.loads(one.to_json())["schedule"]["kind"]: json.loads(one.to_json())["schedule"]
    for one in [*SCHEDULES.values(), g.Plateau(), g.Greedy()]
}


def everything_asked(one: Schedule) -> None:
    """What is printed, saved, explained and evaluated of whatever has been read."""
    assert parse(repr(one), trusted=True) == one
    assert Schedule.from_json(one.to_json(), trusted=True) == one
    assert g.explain(one).endswith(".")
    resolved = one.resolve(1000, steps_per_epoch=10, samples_per_step=8, tokens_per_step=100)
    for t in (0, 7, 2**53 - 1, np.arange(5), np.array([2**53 - 1])):
        with contextlib.suppress(InvalidInput):
            assert np.isfinite(resolved(t)).all()


@pytest.mark.parametrize("kind", sorted(EVERY_KIND))
def test_each_field_of_each_kind_takes_or_refuses_anything(kind: str) -> None:
    """Whatever stands in a field's place in JSON, the kind works, or is refused with InvalidInput on one line."""
    whole, said = EVERY_KIND[kind], []
    for field in whole.keys() - {"kind"}:
        for value in HOSTILE:
            try:
                everything_asked(Schedule.from_json(_json(json.dumps(whole | {field: value})), trusted=kind != "Lambda"))
            except InvalidInput as error:
                said.append(str(error))
    assert all("\n" not in one and len(one) < 3000 for one in said)


@pytest.mark.parametrize(
    ("read", "text", "message"),
    [
        (parse, "Cosine(length=3, length=4)", "Cosine is given length twice"),
        (parse, "Cosine(3).take(steps=1, steps=2)", "take is given steps twice"),
        (
            Schedule.from_json,
            Cosine(3).to_json().replace('"length": 3', '"length": 3, "length": 4'),
            "gives each field once; 'length' is given again",
        ),
        (Schedule.from_json, Cosine(3).to_json().replace("{", '{"gradus.schedule": 1, ', 1), "'gradus.schedule' is given"),
    ],
)
def test_nothing_is_given_twice(read: Callable[[str], Schedule], text: str, message: str) -> None:
    """Of two values for one field none is taken, from text or from JSON."""
    with pytest.raises(InvalidInput, match=message):
        read(text)
