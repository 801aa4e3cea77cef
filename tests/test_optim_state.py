"""An optimizer's state, looked at and changed between steps by whoever likes to: loggers, wrappers, frameworks."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradus.checkpoint
import gradus.optim
from gradus.errors import InvalidInput
from gradus.optim import state_watch
from optim_registry import BY_NAME, CLASSES, Case, give_gradients, params

SHAPES = [(2, 3), (1,), (4,)]


@pytest.fixture(params=[True, False], ids=["version tags", "no version tags"])
def tags(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether this Python tells a changed dict by a tag; later ones don't."""
    if not request.param:
        monkeypatch.setattr(state_watch, "_has_tags", lambda: False)


@pytest.mark.parametrize("name", CLASSES)
def test_reading_the_state_keeps_the_plan(name: str) -> None:
    """Who reads every slot after each step changes nothing, and what was worked out for the first step serves all."""
    read, unread = params(torch.float32, SHAPES), params(torch.float32, SHAPES)
    optimizer, other = CLASSES[name](read), CLASSES[name](unread)
    plans = []
    for step in range(5):
        give_gradients(read, unread, step=step)
        optimizer.step()
        other.step()
        plans.append(optimizer._plan)
        assert [float(optimizer.state[param]["step"]) for param in read] == [step + 1] * len(read)
        assert all(len(kept) >= len(optimizer.rule.scalars) for kept in optimizer.state.values())
    assert all(map(torch.equal, read, unread))
    assert len({id(plan) for plan in plans}) == 1


@pytest.mark.parametrize("case", BY_NAME.values(), ids=str)
def test_what_was_handed_out_goes_on(case: Case) -> None:
    """A state, or a parameter's part of it, that was taken before the first step shows each step, as torch's does."""
    ours, theirs = params(shapes=SHAPES), params(shapes=SHAPES)
    got, want = case.ours(ours), case.theirs(theirs)
    held, its = got.state, want.state
    for step in range(4):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
        for a, b in zip(ours, theirs, strict=True):
            for name, value in its.get(b, {}).items():
                if value is not None:
                    torch.testing.assert_close(held[a][name].double(), value.double(), rtol=1e-6, atol=1e-9)


CHANGES = {
    "a step in place": lambda state, some: state[some[0]]["step"].fill_(7),
    "a step": lambda state, some: state[some[1]].update(step=torch.tensor(7.0)),
    "an equal step": lambda state, some: state[some[1]].update(step=state[some[1]]["step"].clone()),
    "a slot in place": lambda state, some: state[some[0]]["exp_avg"].mul_(3),
    "a slot": lambda state, some: state[some[2]].update(exp_avg=torch.ones_like(some[2])),
    "an equal slot of one element": lambda state, some: state[some[1]].update(exp_avg=state[some[1]]["exp_avg"].clone()),
    "a slot of another shape of memory": lambda state, some: state[some[0]].update(exp_avg=torch.ones(3, 2).mT.double()),
    "a parameter's state": lambda state, some: state.pop(some[0]),
    "everything": lambda state, _: state.clear(),
    "a copy in its place": lambda state, some: state.update({some[0]: copy.deepcopy(state[some[0]])}),
    "the order": lambda state, some: state.update({some[0]: state.pop(some[0])}),
}


@pytest.mark.usefixtures("tags")
@pytest.mark.parametrize("name", ["Adam", "NAdam"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_is_changed_holds_from_the_next_step_on(change: str, name: str) -> None:
    """Whatever is written into the state, even long after it was handed out, counts from the next step on, as with torch."""
    ours, theirs = params(shapes=SHAPES), params(shapes=SHAPES)
    got, want = getattr(gradus.optim, name)(ours), getattr(torch.optim, name)(theirs)
    held, its = got.state, want.state
    for step in range(8):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
        if step in (2, 4):
            CHANGES[change](held, ours)
            CHANGES[change](its, theirs)
        for a, b in zip(ours, theirs, strict=True):
            assert held.get(a, {}).get("step", 0) == its.get(b, {}).get("step", 0)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


HELD = {
    "the state": lambda state, _: state,
    "a view of the state": lambda state, _: state.values(),
    "a parameter's part": lambda state, some: state[some[0]],
    "a step": lambda state, some: state[some[0]]["step"],
    "a step without its graph": lambda state, some: state[some[0]]["step"].detach(),
    "an array of a step": lambda state, some: state[some[0]]["step"].numpy(),
    "a product": lambda state, some: state[some[0]]["mu_product"],
    "the same product": lambda state, some: state[some[0]]["mu_product"].view(1),
}


def looked_at(name: str, look: Any) -> tuple[Any, list[nn.Parameter], Any]:
    """An optimizer after five updates, what a look after the first one has given, and its parameters."""
    some = params(shapes=SHAPES)
    optimizer = getattr(gradus.optim, name)(some)
    give_gradients(some, step=0)
    optimizer.step()
    got = look(optimizer.state, some)
    for _ in range(4):
        optimizer.step()
    return optimizer, some, got


@pytest.mark.usefixtures("tags")
@pytest.mark.parametrize("what", HELD)
def test_what_anybody_holds_is_watched(what: str) -> None:
    """As long as anybody holds a part of the state, its numbers go on in their hands; a step after that, nobody watches."""
    optimizer, some, held = looked_at("NAdam", HELD[what])
    assert optimizer._plan.is_watched
    now = optimizer.state[some[0]]
    if what.endswith("step") or "step " in what:
        assert float(held) == float(now["step"]) == 5
    elif what.endswith("product"):
        assert float(held) == float(now["mu_product"])
    del held, now
    for _ in range(102):
        optimizer.step()
    assert not optimizer._plan.is_watched
    assert float(optimizer.state[some[0]]["step"]) == 107


@pytest.mark.parametrize(
    "look",
    [
        lambda state, some: None,  # noqa: ARG005
        lambda state, some: float(state[some[0]]["step"]),
        lambda state, some: [value for kept in state.values() for value in kept.values() if value.dim()],  # noqa: ARG005
        lambda state, some: state[some[0]].update(step=state[some[0]]["step"].clone()),
        lambda state, some: state.update({some[0]: dict(state[some[0]])}) and None,
    ],
)
@pytest.mark.parametrize("name", ["SGD", "NAdam"])
def test_a_look_that_is_over_costs_nothing(name: str, look: Any) -> None:
    """Who has looked, and holds nothing that a step would have to go on with, costs nothing more; a later look is right."""
    optimizer, some, _held = looked_at(name, look)
    plan = optimizer._plan
    assert not plan.is_watched
    optimizer.step()
    optimizer.state[some[0]]["step"].fill_(20)
    optimizer.step()
    assert float(optimizer.state[some[0]]["step"]) == 21
    assert float(optimizer.state[some[1]]["step"]) == 7


@pytest.mark.parametrize("name", CLASSES)
def test_saving_leaves_no_watch(name: str) -> None:
    """An optimizer that is saved now and then steps as one that isn't, and its saved steps are right each time."""
    some = params(torch.float32, SHAPES)
    optimizer = CLASSES[name](some)
    for count in range(1, 8):
        give_gradients(some, step=count)
        optimizer.step()
        if count in (2, 6):
            saved = optimizer.state_dict()["state"]
            assert {float(kept["step"]) for kept in saved.values()} == {count}
        assert optimizer._plan.is_watched == (count in (2, 3, 6, 7))


@pytest.mark.usefixtures("tags")
def test_copies_in_the_place_of_a_parameters_part() -> None:
    """Somebody who puts a copy of a parameter's part into the state, and keeps either of the two, is served as by torch."""
    ours, theirs = params(shapes=[(1,), (3,)]), params(shapes=[(1,), (3,)])
    got, want = gradus.optim.Adam(ours), torch.optim.Adam(theirs)
    kept: list[Any] = []
    for step in range(12):
        give_gradients(ours, theirs, step=step)
        got.step()
        want.step()
        for optimizer, param in ((got, ours[0]), (want, theirs[0])):
            state = optimizer.state
            if step == 2:
                kept.append((state[param], dict(state[param])))
                state[param] = kept[-1][1]
            if step == 8:
                kept[optimizer is want][1]["exp_avg"].mul_(3)
            del state
        for mine, its in zip(*kept, strict=True) if kept else ():
            for slot, value in its.items():
                torch.testing.assert_close(mine[slot].double(), value.double())
    torch.testing.assert_close(ours[0], theirs[0])


@pytest.mark.usefixtures("tags")
def test_something_of_ones_own_in_the_state_costs_no_plan() -> None:
    """A wrapper that keeps something of its own with each parameter, anew at each step, has it kept (SAM, Lookahead)."""
    some = params(shapes=SHAPES)
    optimizer = gradus.optim.SGD(some, lr=0.1, momentum=0.9)
    plans = set()
    for step in range(4):
        give_gradients(some, step=step)
        optimizer.step()
        plans.add(id(optimizer._plan))
        for param in some:
            optimizer.state[param]["old_p"] = param.detach().clone()
    assert len(plans) == 1
    assert all(torch.equal(optimizer.state[param]["old_p"], param) for param in some)


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("stepped", [False, True])
def test_what_a_subclass_keeps_beside_the_slots_is_saved_with_them(name: str, stepped: bool) -> None:
    """What a subclass or a wrapper keeps in a parameter's state comes back with it, before the first step too."""
    some = params(torch.float32, shapes=[(3, 2)])
    optimizer = CLASSES[name](some)
    give_gradients(some, step=0)
    if stepped:
        optimizer.step()
    optimizer.state[some[0]]["average"] = some[0].detach().clone()
    again = CLASSES[name](params(torch.float32, shapes=[(3, 2)]))
    again.load_state_dict(optimizer.state_dict())
    (kept,) = again.state.values()
    assert torch.equal(kept["average"], optimizer.state[some[0]]["average"])
    assert kept["average"] is not optimizer.state[some[0]]["average"]
    assert set(kept) - {"step"} == set(optimizer.state[some[0]]) - {"step"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_shown_step_counts_past_single_precision(dtype: torch.dtype) -> None:
    """Steps are counted past 2^24, where single precision stops, in a state that somebody holds too (ao#4915)."""
    (param,) = params(dtype, shapes=[(3,)])
    optimizer = gradus.optim.Adam([param])
    give_gradients([param], step=0)
    optimizer.step()
    optimizer.state[param]["step"] = torch.tensor(2.0**24 - 2)
    for count in range(1, 6):
        optimizer.step()
        assert float(optimizer.state[param]["step"]) == 2**24 - 2 + count


def test_a_saved_state_stays_as_it_was() -> None:
    """The steps of a `state_dict` are the optimizer's no more, and a saved file is as small as torch's."""
    some = params(shapes=[(1,)] * 50)
    optimizer = gradus.optim.NAdam(some)
    for step in range(2):
        give_gradients(some, step=step)
        optimizer.step()
        saved = optimizer.state_dict()
    optimizer.step()
    for kept in saved["state"].values():
        assert float(kept["step"]) == 2
        assert all(value.untyped_storage().nbytes() == value.nbytes for value in kept.values())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))])
def test_a_copied_optimizer_goes_on(copied: Any) -> None:
    """A copy of a model with its optimizer, whose state somebody holds, trains on as the original does."""
    layer = nn.Linear(3, 2)
    optimizer = gradus.optim.NAdam(layer.parameters())
    for _ in range(2):
        layer(torch.ones(3)).sum().backward()
        optimizer.step()
        assert optimizer.state
    other, its = copied((layer, optimizer))
    for some, one in ((layer, optimizer), (other, its)):
        one.zero_grad()  # a copy has no gradients
        some(torch.ones(3)).sum().backward()
        one.step()
    assert all(map(torch.equal, layer.parameters(), other.parameters()))
    assert [float(kept["step"]) for kept in its.state.values()] == [3, 3]


def test_a_refused_checkpoint_leaves_the_state_as_it_was(tmp_path: Path) -> None:
    """A checkpoint of which one part fits and the next doesn't leaves every entry of the state of its kind, to the bit."""
    layer = nn.Linear(3, 2)
    optimizer = gradus.optim.NAdam(layer.parameters())
    layer(torch.ones(3)).sum().backward()
    optimizer.step()
    gradus.checkpoint.save(tmp_path / "a", optimizer=optimizer, model=nn.Linear(4, 2))
    optimizer.step()
    before = copy.deepcopy([*optimizer.state.values()])
    with pytest.raises(InvalidInput, match="doesn't fit, and nothing is changed"):
        gradus.checkpoint.load(tmp_path / "a", optimizer=optimizer, model=layer)
    after = [*optimizer.state.values()]
    for one, other in zip(before, after, strict=True):
        assert {name: (type(value), value.dtype) for name, value in one.items()} == {
            name: (type(value), value.dtype) for name, value in other.items()
        }
        assert all(torch.equal(one[name], other[name]) for name in one)
