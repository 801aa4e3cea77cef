"""Training: the reference loop, its randomness, and what it does when the loss explodes."""

import itertools
import math
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

import tiny
from gradus.checkpoint import Checkpoints, latest, load
from gradus.checkpoint.restore import tree_of
from gradus.errors import GradusError, InvalidInput
from gradus.randomness import generator, seed_for
from gradus.rows import Row
from gradus.runs import Run
from gradus.scheduler import Scheduler
from gradus.schedules import Constant, Cosine, MultiStep, absolute, epochs, rest
from gradus.tasks import Split, Task, digits
from gradus.training import Diverged, NonFinite, check_run, completed, pick_device, train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def bits(value: Any) -> Any:
    """All of a state to the last bit, comparable."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.detach().flatten().clone().view(torch.uint8).tolist()
    if isinstance(value, dict):
        return {key: bits(member) for key, member in value.items()}
    return [bits(member) for member in value] if isinstance(value, (list, tuple)) else value


def dropping_out() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 2))


def a_task(**changes: Any) -> Task:
    """Forty points in two classes, the last batch of an epoch shorter than the others."""
    inputs = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(dim=1) > 0).long()
    splits = Split(inputs[:30], targets[:30]), Split(inputs[30:], targets[30:])
    return Task("points", *splits, **{"model": dropping_out, **changes})


def learns(outputs: torch.Tensor) -> bool:
    """Whether these are outputs in an update, and not of a score, nor of the few examples that are tried before."""
    return outputs.requires_grad and len(outputs) > 5


def a_run(**changes: Any) -> Run:
    """Four epochs of four updates, scored on the test examples after each."""
    usual: dict[str, Any] = {"schedules": Cosine(rest()), "lr": 0.5, "length": epochs(4), "batch_size": 8}
    return Run("points", **{**usual, "valid": False, "per": "epoch", **changes})


def rows_of(run: Run, task: Task, **settings: Any) -> list[Row]:
    return list(train(run, task, device=CPU, **settings))


def test_the_same_run_gives_the_same_rows() -> None:
    """The same Run gives the same rows, bit for bit, with dropout and shuffling, whatever was drawn before."""
    first = rows_of(a_run(), a_task())
    torch.rand(7)
    assert rows_of(a_run(), a_task()) == first
    assert rows_of(a_run(seed=1), a_task()) != first


def test_the_callers_randomness_is_left_alone() -> None:
    """torch's global generator is where it was, at every row and after."""
    torch.manual_seed(3)
    expected = torch.get_rng_state()
    for _ in train(a_run(), a_task(), device=CPU):
        assert torch.equal(torch.get_rng_state(), expected)
    assert torch.equal(torch.get_rng_state(), expected)


def textbook_rows(run: Run, task: Task, rates: list[float]) -> list[Row]:
    """The loop as a course writes it, with the run's own randomness: an outside truth for the rows."""
    torch.manual_seed(seed_for(run.seed, "weights"))
    model = task.model()
    rows, step = [], 0
    for epoch in range(4):
        model.train()
        loss_sum, right = 0.0, 0
        for batch in torch.randperm(30, generator=generator(run.seed, "order", epoch)).split(run.batch_size):
            torch.manual_seed(seed_for(run.seed, "step", step))
            inputs, targets = task.train.inputs[batch], task.train.targets[batch]
            outputs = model(inputs)
            loss = functional.cross_entropy(outputs, targets)
            model.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= rates[step] * parameter.grad
            loss_sum += loss.item() * len(batch)
            right += int((outputs.argmax(1) == targets).sum())
            step += 1
        model.eval()
        with torch.no_grad():
            outputs = model(task.test.inputs)
        rows.append(
            Row(
                step,
                {
                    "epoch": epoch + 1,
                    "lr": rates[step - 1],
                    "train/loss": loss_sum / 30,
                    "train/accuracy": right / 30,
                    "test/loss": functional.cross_entropy(outputs, task.test.targets).item(),
                    "test/accuracy": (outputs.argmax(1) == task.test.targets).double().mean().item(),
                },
            )
        )
    return rows


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_rows_are_the_textbooks(per: str) -> None:
    """Each update uses the schedule's value for its own epoch or step, and the rows are a plain loop's."""
    run, task = a_run(per=per), a_task()
    counts = [step // 4 if per == "epoch" else step for step in range(16)]
    schedule = Cosine(4 if per == "epoch" else 16)
    expected = textbook_rows(run, task, [0.5 * schedule(count) for count in counts])
    for row, truth in zip(rows_of(run, task), expected, strict=True):
        assert (row.step, row.results()) == (truth.step, pytest.approx(truth.results(), rel=1e-6))


def test_the_first_epoch_has_the_first_rate() -> None:
    """A rate per epoch holds from the first update of its epoch, neither an epoch late nor stepped beforehand.

    The textbook's loop (d2l.ai, chapter 12.11) trains epoch 0 at the full rate under warmup, and runs MultiStepLR down
    before it trains with it.
    """
    schedule = MultiStep((1, 3), gamma=0.5)
    rates = [row["lr"] for row in train(a_run(schedules=schedule), a_task(), device=CPU)]
    assert rates == [0.5, 0.25, 0.25, 0.125]
    assert a_run(schedules=schedule).rates(4) == rates


def test_schedules_count_in_epochs_or_steps() -> None:
    """The same template is counted in epochs per epoch and in updates per step; absolute(...) is the rate itself."""
    template = absolute(Cosine(epochs(2), start=0.3))
    assert a_run(schedules=template).resolved(4)["lr"] == absolute(Cosine(2, start=0.3))
    assert a_run(schedules=template, per="step").resolved(4)["lr"] == absolute(Cosine(8, start=0.3))
    assert next(train(a_run(schedules=template), a_task(), device=CPU))["lr"] == 0.3


def test_any_torch_optimizer_trains() -> None:
    """A run names its optimizer and its options, and they hold."""
    plain, heavy = a_run(schedules=Constant()), a_run(schedules=Constant(), options={"momentum": 0.9})
    assert rows_of(plain, a_task()) != rows_of(heavy, a_task())
    assert len(rows_of(a_run(optimizer="AdamW", lr=0.01), a_task())) == 4


def test_an_optimizer_that_asks_for_a_closure_gets_one() -> None:
    """LBFGS trains as in a plain loop, with the same dropout in all evaluations of an update, and rows have the first one's
    losses.
    """
    run, task = (
        a_run(optimizer="torch.optim.LBFGS", lr=0.1, schedules=Constant(), length=epochs(1), options={"max_iter": 3}),
        a_task(),
    )
    torch.manual_seed(seed_for(0, "weights"))
    model = task.model()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=3)
    total = 0.0
    for step, batch in enumerate(torch.randperm(30, generator=generator(0, "order", 0)).split(8)):

        def closure(step: int = step, batch: torch.Tensor = batch) -> torch.Tensor:
            torch.manual_seed(seed_for(0, "step", step))
            optimizer.zero_grad()
            loss = functional.cross_entropy(model(task.train.inputs[batch]), task.train.targets[batch])
            loss.backward()
            return loss

        total += optimizer.step(closure).item() * len(batch)  # type: ignore[arg-type]
    model.eval()
    (row,) = rows_of(run, task)
    assert row["train/loss"] == total / 30
    assert row["test/loss"] == functional.cross_entropy(model(task.test.inputs), task.test.targets).item()


def test_divergence_is_reported_at_its_step() -> None:
    """A loss that stops being a number ends the run at its epoch's end, naming the first bad step and its rate."""
    calls = iter(range(1000))

    def explodes_at_six(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        loss = functional.cross_entropy(outputs, targets)
        return loss * math.nan if learns(outputs) and next(calls) == 6 else loss

    rows: list[Row] = []
    with pytest.raises(Diverged, match=r"diverged at step 6: the loss was nan at learning rate 0\.4") as caught:
        rows.extend(train(a_run(), a_task(loss=explodes_at_six), device=CPU))
    assert caught.value.step == 6


def test_a_finite_explosion_is_divergence_too() -> None:
    """A loss of 100 times the first one is divergence, even where the network then dies quietly at chance level."""
    run = Run("digits", lr=300.0, length=epochs(3), batch_size=64)
    with pytest.raises(Diverged) as caught:
        list(train(run, digits(), device=CPU))
    assert caught.value.step < 23
    assert caught.value.lr == 300.0


def test_an_explosion_by_the_last_update_is_seen() -> None:
    """Where an epoch's last update blows up, no training loss shows it, and the test loss tells."""
    run = Run("digits", lr=1e20, length=epochs(2), batch_size=1437)
    with pytest.raises(Diverged, match=r"diverged at step 0: the loss was (nan|inf) at learning rate 1e\+20"):
        list(train(run, digits(), device=CPU))


def test_errors_come_before_training() -> None:
    """An unknown optimizer, an unknown option and an uncountable schedule are refused before any update."""
    for changes, message in [
        (
            {"optimizer": "Adamn"},
            r"a class in gradus.optim, such as AdamW; torch.optim.AdamW for .*; got 'Adamn' \(did you mean Adan\?\)",
        ),
        ({"optimizer": "Optimizer"}, "got 'Optimizer'"),
        ({"optimizer": "lr_scheduler"}, "got 'lr_scheduler'"),
        ({"options": {"impulse": 1}}, "SGD can't be made with lr=0.5, impulse=1: "),
        ({"schedules": Cosine(rest()) >> Cosine(rest())}, "only one phase of a sequence can take rest"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            next(train(a_run(**changes), a_task(), device=CPU))


def test_devices_are_named_or_found() -> None:
    """No name gives a device that works; a name that isn't one, or isn't here, is refused with the way out."""
    assert pick_device().type in ("cpu", "cuda", "mps")
    assert pick_device("cpu") == CPU
    for wrong, meant in (("gpu", r" \(did you mean cuda\?\)"), ("cuda:99", ".*"), ("meta:x", ".*")):
        with pytest.raises(InvalidInput, match=f"device '{wrong}'{meant} can't be used here: .*leave it out"):
            pick_device(wrong)


def test_seeds_are_told_apart() -> None:
    """Seeds, purposes and steps each change what is drawn, and nothing else does."""
    seen = {seed_for(seed, purpose, step) for seed in range(5) for purpose in ("order", "step") for step in range(50)}
    assert len(seen) == 500
    assert all(0 <= seed < 2**63 for seed in seen)


# Cut short and resumed


class CutShort(Exception):
    """Stands for a power cut, which comes at a step without any warning."""


def cut_at(step: int, **changes: Any) -> Task:
    """The task, whose loss brings the power cut at its n-th training step."""
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if learns(outputs) and next(calls) == step:
            raise CutShort
        return functional.cross_entropy(outputs, targets)

    return a_task(loss=loss, **changes)


def final_state(folder: Path) -> dict[str, Any]:
    """Weights, slots and the scheduler's state in the newest checkpoint of a folder."""
    newest = latest(folder)
    assert newest is not None
    return tree_of(newest)["parts"]


def checkpointed(run: Run, task: Task, folder: Path, every: int | None) -> list[Row]:
    """The rows up to the end, or to the power cut."""
    rows: list[Row] = []
    with suppress(CutShort), Checkpoints(folder, asynchronous=True) as checkpoints:
        for row in train(run, task, device=CPU, checkpoints=checkpoints, checkpoint_every=every):
            rows.append(row)  # noqa: PERF402 - those before the cut count
    return rows


RESUMED = {
    "SGD": a_run(options={"momentum": 0.9}),
    "AdamW": a_run(optimizer="torch.optim.AdamW", lr=0.01, per="step"),
    "ours": a_run(optimizer="AdamW", lr=0.01),
    "Lion": a_run(optimizer="Lion", lr=0.003, per="step"),
    "schedule-free": a_run(optimizer="SGDScheduleFree", schedules=Constant()),
}


Uninterrupted = Callable[[Run], tuple[list[Row], Any]]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Uninterrupted:
    """The rows of a run that nothing cuts short, and the state it ends in, to the last bit; each trained once."""
    known: dict[str, tuple[list[Row], Any]] = {}

    def of(run: Run) -> tuple[list[Row], Any]:
        if run.to_json() not in known:
            folder = tmp_path_factory.mktemp("whole")
            rows = checkpointed(run, a_task(), folder, None)
            assert rows == rows_of(run, a_task())
            known[run.to_json()] = rows, bits(final_state(folder))
        return known[run.to_json()]

    return of


@pytest.mark.parametrize("every", [None, 1, 3])
@pytest.mark.parametrize("step", [0, 6, 11])
@pytest.mark.parametrize("name", RESUMED)
def test_a_run_cut_short_anywhere_ends_as_if_it_had_not_been(
    name: str, step: int, every: int | None, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """Rows, weights, slots and schedule of a resumed run are the uninterrupted run's, bit for bit, within an epoch too."""
    run = RESUMED[name]
    before, rows = (checkpointed(run, task, tmp_path, every) for task in (cut_at(step), a_task()))
    assert (rows, bits(final_state(tmp_path))) == uninterrupted(run)
    assert len(before) == step // 4
    assert every == 3 or rows[: len(before)] == before  # their seconds too


CLOSURES = {
    "torch's": a_run(optimizer="torch.optim.LBFGS", lr=0.1, per="step", options={"max_iter": 3, "history_size": 4}),
    "ours": a_run(
        optimizer="gradus.optim.LBFGS", options={"line_search_fn": "strong_wolfe", "max_iter": 3, "history_size": 4}
    ),
}


@pytest.mark.parametrize("evaluation", [0, 20, 35])
@pytest.mark.parametrize("name", CLOSURES)
def test_a_run_whose_optimizer_looks_several_times_resumes_too(
    name: str, evaluation: int, tmp_path: Path, uninterrupted: Uninterrupted
) -> None:
    """Cut at any evaluation of the loss, within an update too, a run of LBFGS ends with the uninterrupted run's rows and
    state, bit for bit.
    """
    run = CLOSURES[name]
    before, rows = (checkpointed(run, task, tmp_path, 1) for task in (cut_at(evaluation), a_task()))
    assert len(before) < 4
    assert (rows, bits(final_state(tmp_path))) == uninterrupted(run)


def test_a_training_that_ends_within_a_pass_leaves_its_workers_to_the_next() -> None:
    """Trainings on one task's Dataset share its workers, whether they end within a pass, or are left there."""
    task, known = tiny.items(), set(active_children())
    for seed in range(2):
        rows_of(Run("tiny:items", length=3, seed=seed), task)
        left = train(Run("tiny:items", seed=seed, record_every=2), task, device=CPU)
        next(left)
        left.close()
        assert len(set(active_children()) - known) == 2


SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.mark.parametrize("sent", SIGNALS)
@pytest.mark.parametrize("step", [2, 3])
def test_a_signal_waits_for_the_step_and_is_saved(sent: int, step: int, tmp_path: Path) -> None:
    """Ctrl-C, SIGTERM and SIGHUP take effect after the update in hand, which is in a checkpoint then; handlers come back."""
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        if learns(outputs) and next(calls) == step:
            os.kill(os.getpid(), sent)
        return functional.cross_entropy(outputs, targets)

    def stop(*_: object) -> None:
        raise CutShort

    before = {number: signal.signal(number, stop) for number in SIGNALS}
    try:
        with pytest.raises(CutShort), Checkpoints(tmp_path, asynchronous=True) as checkpoints:
            list(train(a_run(), a_task(loss=loss), device=CPU, checkpoints=checkpoints, checkpoint_every=100))
        assert [signal.getsignal(number) for number in before] == [stop] * len(SIGNALS)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert latest(tmp_path) == tmp_path / f"step-{step + 1:012d}.ckpt"


def test_a_signal_that_somebody_else_takes_does_not_stop_the_training(tmp_path: Path) -> None:
    """Where the caller's handler only makes a note, as batch systems' users have it, the training saves and goes on."""
    seen: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: seen.append(number))
    try:
        with Checkpoints(tmp_path) as checkpoints:
            for row in train(a_run(), a_task(), device=CPU, checkpoints=checkpoints):
                if row["epoch"] == 1:
                    os.kill(os.getpid(), signal.SIGTERM)
        assert seen == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
    assert latest(tmp_path) == tmp_path / "step-000000000016.ckpt"


def test_the_checkpoints_of_another_run_are_refused(tmp_path: Path) -> None:
    """A run doesn't go on from another's checkpoints, and says which folder they are in."""
    with Checkpoints(tmp_path) as checkpoints:
        list(train(a_run(), a_task(), device=CPU, checkpoints=checkpoints))
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(GradusError, match=f"in {tmp_path} are another run's; name"):
        next(train(a_run(seed=1), a_task(), device=CPU, checkpoints=checkpoints))


def test_checkpoints_without_a_trainings_fields_are_refused(tmp_path: Path) -> None:
    """A checkpoint that names the run and holds nothing else of it is refused, by its folder."""
    with Checkpoints(tmp_path) as checkpoints:
        list(train(a_run(), a_task(), device=CPU, checkpoints=checkpoints))
        newest = latest(tmp_path)
        assert newest is not None
        model = dropping_out()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        parts = {"model": model, "optimizer": optimizer, "scheduler": Scheduler(optimizer, lr=Cosine(4))}
        load(newest, **parts)
        checkpoints.save(17, **parts, extra={"run": completed(a_run(), a_task()).to_json()})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(GradusError, match=f"in {tmp_path} are no training's"):
        next(train(a_run(), a_task(), device=CPU, checkpoints=checkpoints))


@pytest.mark.parametrize("every", [0, -1, 1.5, True])
def test_checkpoint_every_counts_updates(every: Any) -> None:
    """What counts no updates is refused."""
    with pytest.raises(InvalidInput, match="checkpoint_every must be a whole number of updates, from 1; got"):
        next(train(a_run(), a_task(), device=CPU, checkpoint_every=every))


# What isn't finite


class Spoiling(nn.Module):
    """A network one of whose gradients is NaN in some of its training steps."""

    def __init__(self, steps: set[int]) -> None:
        super().__init__()
        self.body, self.norm, self.done = dropping_out(), nn.BatchNorm1d(2), 0
        self.body[4].weight.register_hook(lambda grad: grad * (math.nan if self.done - 1 in steps else 1.0))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.done += self.training
        outputs: torch.Tensor = self.norm(self.body(inputs))
        return outputs


def losing(steps: set[int], value: float) -> Task:
    """The task, whose loss is that value at some updates, as often as they are done."""
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = functional.cross_entropy(outputs, targets)
        return found * value if learns(outputs) and next(calls) in steps else found

    return a_task(loss=loss)


def test_a_gradient_that_is_not_finite_is_told_with_its_place() -> None:
    """The step, the rate, the group and the parameter's name of the first bad gradient are told, before it is used."""
    model = Spoiling({5})
    run, task = a_run(on_nonfinite="stop"), a_task(model=lambda: model)
    with pytest.raises(NonFinite) as caught:
        list(train(run, task, device=CPU))
    rate = run.rates(4)[1]
    assert str(caught.value) == f"the gradient of body.4.weight (group 0) was nan at step 5, at learning rate {rate:.4g}"
    found = caught.value
    assert (found.step, found.lr, found.parameter, found.group) == (5, rate, "body.4.weight", 0)
    assert all(param.isfinite().all() for param in model.parameters())
    assert str(pickle.loads(pickle.dumps(found))) == str(found)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_stops_at_its_step(value: float) -> None:
    """Where the run asks to stop, the first bad loss ends it within its epoch."""
    with pytest.raises(NonFinite, match=rf"the loss was {value} at step 6, at learning rate 0\.4"):
        list(train(a_run(on_nonfinite="stop"), losing({6}, value), device=CPU))


@pytest.mark.parametrize("policy", ["stop", "skip", "back-off"])
def test_looking_changes_nothing(policy: str) -> None:
    """Where everything is finite, the rows are the same whether it is looked at or not."""
    told: list[str] = []
    rows = rows_of(a_run(on_nonfinite=policy), a_task(), on_incident=told.append)
    assert rows == rows_of(a_run(), a_task())
    assert told == []


def test_a_skipped_update_leaves_no_trace() -> None:
    """With "skip", weights, slots and buffers are as if there had been no such update, and the clock goes on."""
    made, told = list[Spoiling](), list[str]()
    run = a_run(on_nonfinite="skip", length=epochs(1), optimizer="torch.optim.AdamW", lr=0.01, schedules=Constant())
    rows = list(train(run, a_task(model=lambda: made.append(Spoiling({2})) or made[0]), device=CPU, on_incident=told.append))
    assert told == ["skipped an update: the gradient of body.4.weight (group 0) was nan at step 2, at learning rate 0.01"]
    assert [row.step for row in rows] == [4]
    torch.manual_seed(seed_for(0, "weights"))
    expected = Spoiling(set())
    optimizer = torch.optim.AdamW(expected.parameters(), lr=0.01)
    for step, batch in enumerate(torch.randperm(30, generator=generator(0, "order", 0)).split(8)):
        torch.manual_seed(seed_for(0, "step", step))
        if step != 2:
            inputs, targets = a_task().train.inputs[batch], a_task().train.targets[batch]
            functional.cross_entropy(expected(inputs), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    assert bits(made[0].state_dict()) == bits(expected.state_dict())


def test_a_loss_that_was_skipped_is_not_counted() -> None:
    """An epoch's mean is over the updates that were done; an epoch without any has diverged."""
    told: list[str] = []
    (row,) = train(a_run(on_nonfinite="skip", length=epochs(1)), losing({1}, math.nan), device=CPU, on_incident=told.append)
    assert math.isfinite(row["train/loss"])
    assert told == ["skipped an update: the loss was nan at step 1, at learning rate 0.5"]
    with pytest.raises(Diverged, match="diverged at step 3: the loss was nan"):
        list(train(a_run(on_nonfinite="skip"), losing({0, 1, 2, 3}, math.nan), device=CPU))


def test_backing_off_goes_back_with_half_the_rate() -> None:
    """With "back-off", a bad epoch is done again from its beginning with half the rate from there on."""
    run, told = a_run(on_nonfinite="back-off", schedules=Constant()), list[str]()
    rows = list(train(run, losing({6}, math.nan), device=CPU, on_incident=told.append))
    assert told == ["went back to step 4, with 0.5 of the rate: the loss was nan at step 6, at learning rate 0.5"]
    assert [row["lr"] for row in rows] == [0.5, 0.25, 0.25, 0.25]
    assert rows[0] == rows_of(a_run(schedules=Constant()), a_task())[0]


def test_backing_off_has_an_end() -> None:
    """After eight returns the run has diverged, with the step at which it did."""
    told: list[str] = []
    with pytest.raises(NonFinite, match="the loss was nan at step 0, at learning rate"):
        list(train(a_run(on_nonfinite="back-off"), losing(set(range(99)), math.nan), device=CPU, on_incident=told.append))
    assert len(told) == 8


@pytest.mark.parametrize("name", ["torch.optim.LBFGS", "LBFGS"])
def test_policies_where_the_optimizer_looks_several_times(name: str) -> None:
    """Under LBFGS "stop" and "back-off" go by the first look of an update, and "skip" is refused before any training."""
    run = a_run(
        optimizer=name, lr=0.1, schedules=Constant(), length=epochs(2), options={"max_iter": 1}
    )  # one look an update
    told: list[str] = []
    with pytest.raises(NonFinite, match=r"the loss was nan at step 6, at learning rate 0\.1"):
        list(train(replace(run, on_nonfinite="stop"), losing({6}, math.nan), device=CPU))
    backing = train(replace(run, on_nonfinite="back-off"), losing({6}, math.nan), device=CPU, on_incident=told.append)
    assert [row["lr"] for row in backing] == [0.1, 0.05]
    assert told == ["went back to step 4, with 0.5 of the rate: the loss was nan at step 6, at learning rate 0.1"]
    for refuse in (lambda run: check_run(run, a_task()), lambda run: next(train(run, a_task(), device=CPU))):
        with pytest.raises(InvalidInput, match=r"can't be skipped; use \"stop\" or \"back-off\""):
            refuse(replace(run, on_nonfinite="skip"))


def test_a_line_search_may_go_too_far() -> None:
    """A loss that is no number within a line search is the optimizer's own affair, and no incident."""
    run = a_run(
        optimizer="gradus.optim.LBFGS", options={"line_search_fn": "strong_wolfe"}, length=epochs(1), on_nonfinite="stop"
    )
    assert len(list(train(run, losing({1}, math.nan), device=CPU))) == 1


@pytest.mark.parametrize("step", [7, 9])
@pytest.mark.parametrize("policy", ["skip", "back-off"])
def test_a_guarded_run_resumes_to_the_same_rows(policy: str, step: int, tmp_path: Path) -> None:
    """A run cut short after an incident, within its epoch too, ends with the uninterrupted rows and tells all incidents."""
    run = a_run(on_nonfinite=policy, schedules=Cosine(rest()), per="step", optimizer="AdamW", lr=0.01)

    def task(cut: int | None) -> Task:
        bad, calls = losing({5}, math.nan).loss, itertools.count()

        def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            if learns(outputs) and next(calls) == cut:
                raise CutShort
            return bad(outputs, targets)

        return a_task(loss=loss)

    expected: list[str] = []
    rows = list(train(run, task(None), device=CPU, on_incident=expected.append))
    with suppress(CutShort), Checkpoints(tmp_path) as checkpoints:
        list(train(run, task(step), device=CPU, checkpoints=checkpoints, checkpoint_every=1))
    told: list[str] = []
    with Checkpoints(tmp_path) as checkpoints:
        again = list(train(run, a_task(), device=CPU, checkpoints=checkpoints, on_incident=told.append))
    assert again == rows
    assert told == expected
    assert len(told) == 1
