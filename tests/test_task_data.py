"""Laws of a task's data: batches are a function of seed, epoch and number, whatever the data are kept as."""

import gc
import os
import random
import signal
from collections import namedtuple
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.multiprocessing import active_children
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from gradus.errors import GradusError, InvalidInput
from gradus.randomness import generator
from gradus.tasks import Data, Task, examples_in, kind_of
from gradus.tasks.batches import converted, moved
from gradus.tasks.data import data_of
from gradus.tasks.drawing import seed_generators
from gradus.tasks.hashing import digest_of

COUNT = 23
X, Y = torch.arange(COUNT * 2.0).reshape(COUNT, 2), torch.arange(COUNT)


class Drawing(Dataset[Any]):
    """Items that are drawn from all three global generators."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> dict[str, Any]:
        self.asked.append(index)
        return {"x": X[index] + torch.rand(2), "numbers": (random.random(), np.random.random()), "index": index}


class AtOnce(Drawing):
    """The same, asked for a whole batch at once."""

    def __getitems__(self, indices: list[int]) -> list[dict[str, Any]]:
        return [self[index] for index in indices]


def drawn(seed: int, epoch: int) -> Iterator[tuple[Tensor, Any]]:
    """Batches that are drawn from the global generators, and from one of the function's own."""
    own = np.random.default_rng((seed, epoch))
    for indices in torch.randperm(COUNT).split(5):
        yield X[indices] + torch.rand(2) + random.random() + np.random.random(), own.random(len(indices))


def listed(seed: int, epoch: int) -> list[Any]:
    """The same in a list."""
    return list(drawn(seed, epoch))


def loaded(seed: int, epoch: int) -> DataLoader[Any]:
    """A DataLoader of one's own, whose order torch draws."""
    del seed, epoch
    return DataLoader(Drawing(), batch_size=5, shuffle=True)


GIVEN: dict[str, Callable[[], Any]] = {
    "tensors": lambda: (X, Y),
    "arrays": lambda: [X.numpy(), Y.numpy()],
    "named tensors": lambda: {"x": X, "mask": X > 3, "y": Y.numpy()},
    "a TensorDataset": lambda: TensorDataset(X, Y),
    "a Dataset": Drawing,
    "a Dataset of batches": AtOnce,
    "a list": lambda: [(X[index], index) for index in range(COUNT)],
    "a generator function": lambda: drawn,
    "a function of a list": lambda: listed,
    "a function of a DataLoader": lambda: loaded,
}
kinds = pytest.mark.parametrize("kind", GIVEN)


def data(kind: str, **settings: Any) -> Data:
    return data_of(GIVEN[kind](), f"'{kind}'", **settings)


def batches(of: Data, seed: int = 0, epoch: int = 0, **settings: Any) -> list[str]:
    """Digests of an epoch's batches."""
    return [digest_of([batch]) for batch in of.batches(seed, epoch, 5, **settings)]


@kinds
@pytest.mark.parametrize("start", [1, 3, 5])
def test_a_pass_goes_on_from_any_batch(kind: str, start: int) -> None:
    """The batches from a number on are the last ones of the whole pass, bit for bit, of another object too."""
    whole = batches(data(kind), seed=3, epoch=2)
    assert len(whole) == data(kind).batches_per_epoch(5) == 5
    assert batches(data(kind), seed=3, epoch=2, start=start) == whole[start:]


@kinds
def test_what_is_drawn_is_a_function_of_seed_and_epoch(kind: str) -> None:
    """Whatever the caller draws before and between, a pass is the same; another seed or epoch gives another."""
    of = data(kind)
    torch.manual_seed(1)
    first = batches(of)
    again = []
    for batch in of.batches(0, 0, 5):
        torch.rand(3), np.random.random(), random.random()
        again.append(digest_of([batch]))
    assert again == first
    assert len({tuple(batches(of, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)}) == 4


@kinds
def test_the_callers_random_states_are_as_before(kind: str) -> None:
    """Making batches moves none of the caller's generators, not even between two normal numbers of NumPy's."""
    of = data(kind)
    np.random.standard_normal()  # it keeps a second one for the next call
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()
    passing = of.batches(0, 0, 5)
    next(passing)
    passing.close()
    of.digest(), of.replayed(2), of.batches_per_epoch(5)
    assert random.getstate() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])
    assert all(map(np.array_equal, np.random.get_state(), before[2]))


DRAWS: dict[str, Callable[[], Any]] = {
    "a number": np.random.random,
    "a normal number": np.random.standard_normal,  # every second one is kept from the one before
    "nothing": int,
    "a seed": lambda: np.random.seed(3),
    "numbers of the others": lambda: (random.gauss(0, 1), torch.randn(3).tolist()),
}


@settings(max_examples=30)
@given(st.lists(st.sampled_from(sorted(DRAWS)), max_size=8))
def test_a_caller_draws_as_if_no_batch_were_made(draws: list[str]) -> None:
    """Whatever a caller draws between batches, and however often, it draws what it would draw without them."""
    drawn: list[list[Any]] = []
    for of in (None, data("a Dataset")):
        seed_generators(11)
        passing = of.batches(0, 0, 1) if of else None
        drawn.append([])
        for one in draws:
            if passing:
                next(passing)
            drawn[-1].append(DRAWS[one]())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("kind", ["tensors", "a Dataset", "a list"])
@pytest.mark.parametrize("chosen", [None, [1, 4, 2, 22, 9, 17, 13]])
def test_the_order_is_the_generators(kind: str, chosen: list[int] | None) -> None:
    """The order of an epoch is torch's permutation under (seed, "order", epoch); unshuffled, it is that of the store."""
    of = data(kind) if chosen is None else data(kind).chosen(torch.tensor(chosen))
    indices = torch.tensor(chosen) if chosen else torch.arange(COUNT)
    order = indices[torch.randperm(len(indices), generator=generator(7, "order", 4))]

    def found(**settings: Any) -> Tensor:
        given = list(of.batches(7, 4, 4, **settings))
        return torch.cat([batch["index"] if isinstance(batch, dict) else batch[1] for batch in given])

    assert torch.equal(found(), order)
    assert torch.equal(found(shuffle=False), indices)


def test_a_dataset_equals_its_tensors() -> None:
    """A Dataset of rows of tensors gives the batches that the tensors themselves give."""
    rows = data_of([(X[index], Y[index]) for index in range(COUNT)], "rows")
    assert batches(rows) == [digest_of([list(batch)]) for batch in data("tensors").batches(0, 0, 5)]


def test_a_resumed_pass_makes_no_earlier_items() -> None:
    """Of a Dataset, and of a list that a function gives, batches before the first that is asked for aren't made."""
    dataset = Drawing()
    list(data_of(dataset, "it").batches(0, 0, 5, start=3))
    assert len(dataset.asked) == COUNT - 15


# Workers


@pytest.fixture(scope="module")
def two_workers() -> Data:
    """Data whose batches two workers make."""
    return data("a Dataset", workers=2)


@pytest.mark.parametrize("start", [0, 3])
def test_workers_change_nothing(two_workers: Data, start: int) -> None:
    """Batches are the same with any number of workers, from any number on, pass after pass."""
    for epoch in range(2):
        assert batches(two_workers, epoch=epoch, start=start) == batches(data("a Dataset"), epoch=epoch, start=start)


def test_a_pass_may_be_left_and_passes_may_meet(two_workers: Data) -> None:
    """With workers, a pass that is left in its middle, or in which another begins, changes none."""
    expected, other = batches(data("a Dataset")), batches(data("a Dataset"), epoch=1)
    passing = two_workers.batches(0, 0, 5)
    found = [digest_of([next(passing)])]
    assert batches(two_workers, epoch=1) == other
    assert found + [digest_of([batch]) for batch in passing] == expected
    left = two_workers.batches(0, 0, 5)
    next(left)
    left.close()
    assert batches(two_workers, epoch=1) == other


def test_a_signal_to_the_whole_group_leaves_the_pass_whole() -> None:
    """Workers that are asked to end, as a terminal or a time limit asks a group of processes, give their batches first."""
    of, known = data("a Dataset", workers=2), {child.pid for child in active_children()}
    passing = of.batches(0, 0, 5)
    found = [digest_of([next(passing)])]
    for child in active_children():
        if child.pid not in known:
            os.kill(child.pid, signal.SIGINT)
            os.kill(child.pid, signal.SIGTERM)
    assert found + [digest_of([batch]) for batch in passing] == batches(data("a Dataset"))


def test_a_pass_after_a_killed_worker_works() -> None:
    """A worker that is killed fails the pass it is in, and no later one."""
    of, known = data("a Dataset", workers=2), {child.pid for child in active_children()}
    passing = of.batches(0, 0, 1)
    next(passing)
    for child in active_children():
        if child.pid not in known:
            os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="worker"):
        list(passing)
    assert batches(of) == batches(data("a Dataset"))


def test_workers_end_with_their_data() -> None:
    """When the data are gone, so are their workers."""
    of, known = data("a Dataset", workers=2), {child.pid for child in active_children()}
    list(of.batches(0, 0, 5))
    workers = [child for child in active_children() if child.pid not in known]
    assert len(workers) == 2
    del of
    gc.collect()
    assert not any(worker.is_alive() for worker in workers)


def test_an_error_in_a_worker_is_the_datasets_own() -> None:
    """What an item raises reaches the caller by its type, and another pass works."""
    failing = data_of([*range(9), None], "it", collate=torch.tensor, workers=1)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="NoneType"):
            list(failing.batches(0, 0, 5, shuffle=False))
    assert torch.equal(next(failing.batches(0, 0, 5, shuffle=False)), torch.arange(5))


def test_a_daemon_makes_the_batches_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a process that may have no children, no worker is asked for, and the batches are the same."""
    monkeypatch.setattr("gradus.tasks.data.datasets.current_process", lambda: SimpleNamespace(daemon=True))
    monkeypatch.setattr("gradus.tasks.data.datasets.DatasetData._new_loader", None)
    assert batches(data("a Dataset", workers=2)) == batches(data("a Dataset"))


# Sizes


@kinds
@pytest.mark.parametrize("accumulate", [1, 2, 5, 9])
def test_an_incomplete_update_is_one(kind: str, accumulate: int) -> None:
    """A pass has as many updates as batches, `accumulate` to each, a last one of fewer included."""
    of = data(kind)
    assert of.steps_per_epoch(5, accumulate) == len(range(0, 5, accumulate))
    assert of.examples == (None if "function" in kind else COUNT)


def test_tokens_are_counted_where_targets_are_rows_of_them() -> None:
    """Targets [n, length] of whole numbers are tokens; all else has none."""
    assert data_of((Y.reshape(1, COUNT), Y.reshape(1, COUNT)), "it").tokens_per_example == COUNT
    assert {data(kind).tokens_per_example for kind in GIVEN} == {None}


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.01])
@pytest.mark.parametrize("kind", [kind for kind in GIVEN if "function" not in kind])
def test_what_is_held_out_is_in_one_part(kind: str, fraction: float) -> None:
    """Each example is in one of the two parts, in the stored order; which one depends on nothing but the number of them."""
    parts = data(kind).split(fraction)

    def places(of: Data) -> list[int]:
        return [
            int(number)
            for batch in of.batches(0, 0, 5, shuffle=False)
            for number in (batch["index"] if "index" in batch else batch["y"] if "y" in batch else batch[1])
        ]

    learned, held_out = map(places, parts)
    assert sorted(learned + held_out) == list(range(COUNT))
    assert (learned, held_out) == (sorted(learned), sorted(held_out))
    assert len(held_out) == max(1, round(COUNT * fraction))
    assert places(data("tensors").split(fraction)[1]) == held_out


# What can't be gone through again


class Endless(IterableDataset[Any]):
    """Examples without numbers."""

    def __iter__(self) -> Iterator[Any]:
        return iter([1])


class Unmeasured(Dataset[Any]):
    """A Dataset without a length."""

    def __getitem__(self, index: int) -> int:
        return index


REFUSED: list[tuple[Any, str]] = [
    (
        iter([1, 2]),
        r"is a list_iterator, which can be gone through only once; give the function that makes it, \(seed, epoch\)",
    ),
    (drawn(0, 0), "is a generator, which can be gone through only once; give the function that makes it"),
    (
        DataLoader(Drawing()),
        "is a DataLoader, whose order and draws can't be repeated; give its Dataset instead, .* workers=",
    ),
    (iter(DataLoader(Drawing())), "is a _SingleProcessDataLoaderIter, which can be gone through only once"),
    (Endless(), r"is an IterableDataset, .*; give a function \(seed, epoch\) -> batches, such as lambda seed, epoch"),
    (Unmeasured(), "is a Unmeasured without __len__, so its epochs have no end; give it one"),
    ([], "needs at least one example; got a list of none"),
    (lambda: None, r"is a function, which must take \(seed, epoch\); it takes other arguments"),
    (Drawing, "is a class, Drawing; give an object of it"),
    ({1, 2}, r"must be \(inputs, targets\).*; got set"),
    ({}, r"must be \(inputs, targets\).*; got \{\}"),
    ((X, None), r"must be \(inputs, targets\).*; got \(float32 \[\*, 2\], NoneType\)"),
    (b"bytes", r"must be \(inputs, targets\).*; got bytes"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_what_cannot_be_repeated_is_refused(given: Any, message: str) -> None:
    """A split that can't be gone through again from any batch is refused, with what to give in its place."""
    with pytest.raises(InvalidInput, match=f"^task 'mine': 'train' {message}"):
        Task("mine", given, (X, Y), model=lambda: nn.Linear(2, COUNT))


ONCE, OWN = iter([(X, Y), (Y, X)]), np.random.default_rng()


class Unrepeatable(Drawing):
    """Items from a generator that nobody seeds."""

    def __getitem__(self, index: int) -> Any:
        return index + OWN.random()


@pytest.mark.parametrize("unsound", [lambda *_: ONCE, lambda *_: [OWN.random(3)], Unrepeatable()])
def test_what_differs_when_asked_again_is_found(unsound: Any) -> None:
    """Data that give other examples when they are asked again are found out by asking again."""
    with pytest.raises(InvalidInput, match="when it is asked again, so no training could be resumed; draw with the global"):
        data_of(unsound, "it").replayed(2)


def test_epochs_of_a_function_are_of_one_length() -> None:
    """A function whose epochs differ in their number of batches is refused in the epoch that differs; so is one of none."""
    growing = data_of(lambda seed, epoch: [X] * (2 + seed + epoch), "it")
    assert growing.batches_per_epoch(1) == 2
    assert len(list(growing.batches(0, 0, 1))) == 2
    for seed, epoch in ((0, 1), (1, 0)):
        with pytest.raises(GradusError, match=rf"same number of batches in each epoch; .* says 2, and epoch {epoch} gave"):
            list(growing.batches(seed, epoch, 1))
    for none in (lambda *_: [], lambda *_: iter(())):
        with pytest.raises(InvalidInput, match="must give at least one batch; it gave none"):
            data_of(none, "it").batches_per_epoch(1)


def test_a_function_without_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that never ends is refused when its batches are counted, with what ends it."""
    monkeypatch.setattr("gradus.tasks.data.functions._COUNTED_AT_MOST", 100)
    with pytest.raises(
        InvalidInput, match=r"must come to an end in each epoch, .*itertools.islice.*; it gave 100 batches and more"
    ):
        data_of(lambda *_: count(), "it").batches_per_epoch(1)


@pytest.mark.parametrize("one", [3, None, "text", X, {"x": X}])
def test_a_function_gives_batches(one: Any) -> None:
    """What a function gives must be batches to go through, no single one."""
    with pytest.raises(InvalidInput, match="it must give batches to iterate over, a list or a generator; it gave"):
        next(data_of(lambda *_: one, "it").batches(0, 0, 1))


def test_items_that_make_no_batch_are_told() -> None:
    """Items that can't be had or collated are one sentence with what went wrong and the way out."""
    for items, said in (([object(), object()], "TypeError: default_collate"), ([X[:1], X[:2], X], "RuntimeError: stack")):
        with pytest.raises(
            InvalidInput, match=f"the items 0, 1.* can't be made into a batch: {said}.*collate= makes a batch"
        ):
            data_of(items, "it").replayed(5)


# Digests


@kinds
def test_a_digest_is_of_the_data_alone(kind: str) -> None:
    """Equal data have equal digests, whatever the random states are; a part of them has another."""
    torch.manual_seed(5)
    digest = data(kind).digest()
    random.seed(9)
    assert data(kind).digest() == digest
    if "function" not in kind:
        assert data(kind).chosen(torch.arange(COUNT - 1)).digest() != digest


@settings(max_examples=30)
@given(st.integers(0, 2), st.integers(0, COUNT - 1))
def test_one_changed_number_changes_the_digest(part: int, place: int) -> None:
    """A digest of tensors is of all of them: their numbers, their dtypes and their shapes."""
    changed = [X.clone(), Y.clone()]
    if part < 2:
        changed[part].view(-1)[place] += 1
    else:
        changed[1] = changed[1].to(torch.int32)
    assert data_of(tuple(changed), "it").digest() != data("tensors").digest()


def test_things_that_look_alike_have_other_digests() -> None:
    """Nothing that is nested or joined otherwise has the digest of another."""
    things: list[Any] = [
        (1,), 0.0, -0.0,
        ["ab", "c"], ["a", "bc"], [["ab"], "c"], [b"ab", "c"], "abc", {"ab": "c"}, 1, 1.0, True, "1", None, [], {},
        torch.zeros(2), torch.zeros(2, 1), torch.zeros(2, dtype=torch.int32), np.zeros(2), np.zeros(2, np.float32),
        float("nan"), float("inf"), X.bfloat16(), X.bool(), X > X, X[0, 0],
    ]  # fmt: skip
    assert len({digest_of([one]) for one in things}) == len(things)


# Batches


BATCHES: list[tuple[Any, int | None, str]] = [
    ((X, Y), 23, "(float32 [*, 2], int64 [*])"),
    ([X[:4], Y[:4]], 4, "(float32 [*, 2], int64 [*])"),
    ({"labels": Y, "texts": ["a"] * 23}, 23, "{'labels': int64 [*], 'texts': [str, ...]}"),
    (["a", "b", "c"], 3, "[str, ...]"),
    (([["a"], ["b"]], 3), 1, "(([str, ...]), int)"),
    ((torch.tensor(1.0), np.zeros((7, 2))), 7, "(float32 [], float64 [*, 2])"),
    (X, 23, "float32 [*, 2]"),
    (3, None, "int"),
    ((), None, "()"),
    (torch.tensor(1.0), None, "float32 []"),
]


@pytest.mark.parametrize(("batch", "count", "_kind"), BATCHES[:4] + BATCHES[5:], ids=str)
def test_examples_are_counted_in_any_batch(batch: Any, count: int | None, _kind: str) -> None:
    """The first tensor, array or list of single things tells how many examples a batch has; else that is told."""
    if count is None:
        with pytest.raises(InvalidInput, match="a batch must hold a tensor, an array or a list"):
            examples_in(batch)
    else:
        assert examples_in(batch) == count


@pytest.mark.parametrize(("batch", "_count", "kind"), BATCHES[:4] + BATCHES[5:], ids=str)
def test_a_batch_is_described(batch: Any, _count: int | None, kind: str) -> None:
    """The kind of a batch names what is in it, and not how many examples."""
    assert kind_of(batch) == kind


def test_batches_move_whole() -> None:
    """Tensors in any nesting move, arrays become tensors; text and numbers stay, and so do the containers."""
    Pair = namedtuple("Pair", "one other")
    batch = {"x": [X, ("text", 3)], "pair": Pair(X.numpy(), None), "names": np.array(["a"])}
    there = moved(batch, torch.device("meta"))
    assert there["x"][0].device.type == there["pair"].one.device.type == "meta"
    assert there["x"][1] == ("text", 3)
    assert isinstance(there["pair"], Pair)
    assert there["names"] is batch["names"]


def test_what_moves_by_itself_moves_whole() -> None:
    """A batch that has a `to` of its own is moved by it, read-only arrays without a warning."""
    packed = nn.utils.rnn.pack_sequence([X, X[:3]])
    there = moved([packed], torch.device("cpu"))[0]
    assert isinstance(there, nn.utils.rnn.PackedSequence)
    assert moved(np.broadcast_to(1.0, (3,)), torch.device("cpu")).tolist() == [1, 1, 1]


def test_real_numbers_are_converted_and_no_others() -> None:
    """Conversion reaches real tensors in any nesting, and leaves whole numbers, masks and text."""
    batch = converted({"x": [X.double(), Y], "mask": X > 1, "text": "a"}, torch.float32)
    assert [one.dtype for one in (*batch["x"], batch["mask"])] == [torch.float32, torch.int64, torch.bool]
    assert batch["text"] == "a"
