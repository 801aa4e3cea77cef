"""Training of every kind: lengths, rows, groups, precisions, accumulation, optimizers and functions of one's own."""

import itertools
import logging
import math
import random
import shutil
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from gradus.checkpoint import Checkpoints
from gradus.checkpoint.restore import tree_of
from gradus.errors import GradusError, InvalidInput
from gradus.rows import Row
from gradus.runs import Run
from gradus.schedules import Constant, Cosine, Linear, Plateau, absolute, epochs, rest, samples
from gradus.tasks import Task, load_task
from gradus.training import Context, NonFinite, Progress, Stopped, check_run, completed, events, train
from gradus.training.optimizers import build_optimizer
from gradus.training.setup import fresh_model
from gradus.training.step import TrainingStep
from processes import spawned

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def points(count: int = 50, **changes: Any) -> Task:
    """Points in two classes; five of fifty are held out for validation."""
    inputs = torch.randn(count + 20, 4, generator=torch.Generator().manual_seed(0))
    targets = (inputs.sum(dim=1) > 0).long()
    usual = {"model": network, "lr": 0.1, "batch_size": 8, "length": epochs(2)}
    return Task("points", (inputs[20:], targets[20:]), (inputs[:20], targets[:20]), **{**usual, **changes})


def rows_of(run: Run, task: Any, **settings: Any) -> list[Row]:
    return list(train(run, task, device=CPU, **settings))


def stopped_at(updates: int) -> Any:
    """Stops a training after so many updates."""
    asked = itertools.count(1)
    return lambda: next(asked) == updates


def cut_and_resumed(run: Run, task: Any, folder: Path, updates: int) -> list[Row]:
    """The rows of a training that was stopped after so many updates and taken up."""
    with Checkpoints(folder) as checkpoints, suppress(Stopped):
        rows_of(run, task, checkpoints=checkpoints, should_stop=stopped_at(updates))
    with Checkpoints(folder) as checkpoints:
        return rows_of(run, task, checkpoints=checkpoints)


# Lengths and rows


@pytest.mark.parametrize("length", [1, 5, 14, epochs(2.5), samples(100)])
@pytest.mark.parametrize("every", [epochs(1), 4, 100])
@pytest.mark.parametrize("record", [None, 3])
def test_rows_come_at_evaluations_at_multiples_and_at_the_end(length: Any, every: Any, record: int | None) -> None:
    """A run ends after its length, within an epoch too; rows come at each evaluation, at each multiple of record_every, and
    at the end, where alone test is looked at.
    """
    run = completed(Run("points", length=length, evaluate_every=every, record_every=record), points())
    total, evaluation = run.total_steps(6), run.evaluation_steps(6)
    rows = rows_of(run, points())
    evaluated = {step for step in range(1, total + 1) if step % evaluation == 0 or step == total}
    recorded = {step for step in range(1, total + 1) if record is not None and step % record == 0}
    assert [row.step for row in rows] == sorted(evaluated | recorded)
    assert all(row["epoch"] == row.step / 6 for row in rows)
    assert {row.step for row in rows if "valid/loss" in row} == evaluated
    assert [row.step for row in rows if "test/loss" in row] == [total]


def test_what_is_recorded_in_between_changes_no_evaluation() -> None:
    """Rows of evaluations are the same whatever record_every is, and means over training go from one to the next."""
    run = Run("points", length=11, evaluate_every=4)
    alone = rows_of(run, points())
    between = rows_of(run.replace(record_every=1), points())
    assert [row for row in between if "valid/loss" in row] == alone
    losses = [row["train/loss"] for row in between[:4]]
    assert losses[0] != losses[1]
    each = [losses[0], 2 * losses[1] - losses[0]]  # of the first two updates
    assert sum(each) / 2 == losses[1]


def test_without_validation_test_is_shown_at_each_evaluation() -> None:
    """With valid=False all training examples are learned from, and rows have test scores only."""
    rows = rows_of(Run("points", valid=False), points())
    assert [row.step for row in rows] == [7, 14]
    assert all("test/accuracy" in row and "valid/loss" not in row for row in rows)


def test_every_scheduled_hyperparameter_is_in_the_rows() -> None:
    """A row has the value that the last update used of each hyperparameter with a schedule, members of tuples too."""
    schedules = {"lr": Linear(12, end=0.0), "weight_decay": absolute(Linear(12, start=0.0)), "betas[0]": Constant(0.5)}
    rows = rows_of(Run("points", "AdamW", lr=0.1, schedules=schedules), points())
    for row in rows:
        last = row.step - 1
        assert row["lr"] == 0.1 * Linear(12, end=0.0)(last)
        assert row["weight_decay"] == Linear(12, start=0.0)(last)
        assert row["betas[0]"] == 0.45


def test_a_schedule_that_follows_a_metric_follows_the_validation_loss() -> None:
    """Plateau sees valid/loss at each evaluation, also of a resumed training."""
    run = Run("points", lr=1e-9, length=epochs(4), schedules=Constant() * Plateau(patience=0, factor=0.5, threshold=0.5))
    rates = [row["lr"] / 1e-9 for row in rows_of(run, points())]
    assert rates == [1.0, 1.0, 0.5, 0.25]


def test_progress_tells_how_far_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Between rows there is progress, with an update's loss and rate; after a resume it says from where."""
    monkeypatch.setattr("gradus.training.loop._PROGRESS_EVERY", -1.0)
    seen: list[Progress] = []
    run = Run("points", schedules=Cosine(rest()))
    rows = rows_of(run, points(), on_progress=seen.append)
    assert [one.step for one in seen] == [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
    assert {(one.total, one.resumed_from) for one in seen} == {(12, None)}
    assert all(math.isfinite(one.loss) and 0 < one.lr <= 0.1 for one in seen)
    with Checkpoints(tmp_path) as checkpoints, suppress(Stopped):
        rows_of(run, points(), checkpoints=checkpoints, should_stop=stopped_at(8))
    with Checkpoints(tmp_path) as checkpoints:
        found = list(events(run, points(), device=CPU, checkpoints=checkpoints))
    assert [one for one in found if isinstance(one, Row)] == rows
    assert {one.resumed_from for one in found if isinstance(one, Progress)} == {8}


def test_the_time_counts_what_was_before_and_not_what_is_between(tmp_path: Path) -> None:
    """Seconds grow from row to row, and a resumed training's go on from those before."""
    rows = cut_and_resumed(Run("points", record_every=1), points(), tmp_path, 7)
    seconds = [row["time/seconds"] for row in rows]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0


# Cut short and resumed


RESUMED: dict[str, Run] = {
    "within an epoch": Run("points", length=11, evaluate_every=4, record_every=3),
    "accumulated": Run("points", accumulate=4, schedules=Cosine(rest()), options={"momentum": 0.9}),
    "bfloat16": Run("points", precision="bfloat16"),
    "float16": Run("points", precision="float16", options={"momentum": 0.9}),
    "float64": Run("points", "AdamW", precision="float64"),
    "clipped": Run("points", clip_norm=0.1, per="epoch", schedules={"lr": Cosine(rest()), "momentum": Linear(2)}),
    "groups": Run("points", "AdamW", groups={"0.*": {"factor": 0.1}, "2.bias": "frozen"}, schedules=Cosine(rest())),
    "plateau": Run("points", length=epochs(4), schedules=Constant() * Plateau(patience=0, threshold=0.9)),
}


@pytest.mark.parametrize("updates", [1, 6, 7])
@pytest.mark.parametrize("name", RESUMED)
def test_any_run_that_is_stopped_goes_on_to_the_same_rows(name: str, updates: int, tmp_path: Path) -> None:
    """Whatever a run asks for, stopped after any update and taken up it gives the uninterrupted rows, bit for bit."""
    run, task = RESUMED[name], points()
    if name == "clipped":
        run = run.replace(options={"momentum": 0.9})
    assert cut_and_resumed(run, task, tmp_path, updates) == rows_of(run, task)


@pytest.mark.parametrize("kind", ["regression", "characters", "crops", "dicts", "finetuning"])
def test_any_kind_of_data_resumes(kind: str, tmp_path: Path) -> None:
    """Each example task, stopped within an epoch, goes on to the uninterrupted rows, workers and augmentation included."""
    run, task = Run(f"example_tasks.{kind}:task", length=4, evaluate_every=3), load_task(f"example_tasks.{kind}:task")
    assert cut_and_resumed(run, task, tmp_path, 2) == rows_of(run, task)


class Chancy(nn.Module):
    """A network that draws from Python's, NumPy's and torch's generators, when it learns and when it is scored."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(inputs) * random.uniform(0.5, 1) + np.random.rand() + torch.rand(())
        return outputs


def test_whatever_draws_draws_the_same_again(tmp_path: Path) -> None:
    """Python's, NumPy's and torch's global generators are functions of seed and update in a network and in augment, and the
    caller's own are left alone.
    """

    def augment(batch: Any, generator: torch.Generator) -> Any:
        noise = torch.rand((), generator=generator) + random.random() + float(np.random.rand()) + torch.rand(())
        return batch[0] + noise, batch[1]

    task, run = points(model=Chancy, augment=augment), Run("points")
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    rows = rows_of(run, task)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
    random.random()
    assert cut_and_resumed(run, task, tmp_path, 8) == rows


def test_other_data_are_refused_on_resume(tmp_path: Path) -> None:
    """Where the batches have become of another kind, or others in number, a resumed training says so and changes nothing."""
    run = Run("points", length=epochs(2))
    for name, other, said in (
        (
            "kind",
            points(prepare=lambda inputs: inputs.float()),
            r"were \(float32 \[\*, 4\], int64 \[\*\]\) when .* cut short",
        ),
        ("number", points(99), "had 6 updates when this training was cut short, and has 12 now"),
    ):
        if name == "kind":
            other = Task(
                "points", *((x.double(), y) for x, y in (other.train, other.test)), model=network, lr=0.1, batch_size=8
            )
        with Checkpoints(tmp_path / name) as checkpoints, suppress(Stopped):
            rows_of(run, points(), checkpoints=checkpoints, should_stop=stopped_at(3))
        with Checkpoints(tmp_path / name) as checkpoints, pytest.raises(GradusError, match=said):
            rows_of(run, other, checkpoints=checkpoints)
        assert {path.name for path in (tmp_path / name).glob("*.ckpt")} == {"step-000000000003.ckpt"}


def test_a_stop_is_saved_and_said(tmp_path: Path) -> None:
    """A training that is asked to stop has given its rows so far, saves, and raises Stopped; at its end it just ends."""
    seen: list[Row] = []
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(Stopped, match="stopped after 6 updates"):
        seen.extend(train(Run("points"), points(), device=CPU, checkpoints=checkpoints, should_stop=stopped_at(6)))
    assert (tmp_path / "step-000000000006.ckpt").exists()
    assert len(rows_of(Run("points"), points(), should_stop=stopped_at(12))) == 2


def test_a_full_disk_is_said_before_anything_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first checkpoint finds no room, the training doesn't begin."""
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with Checkpoints(tmp_path / "new") as checkpoints, pytest.raises(GradusError, match=r"0 MB free, .* make room there"):
        rows_of(Run("points"), points(), checkpoints=checkpoints)


# Groups


def groups_of(run: Run) -> list[dict[str, Any]]:
    run = completed(run, points())
    return build_optimizer(run, fresh_model(run, points())).param_groups


def test_groups_are_by_the_first_pattern_that_matches() -> None:
    """Each parameter is in the group of the first pattern that matches, the rest in one of their own, with their options."""
    groups = groups_of(Run("points", groups={"*.bias": {"weight_decay": 0.5, "factor": 2.0}, "0.*": {"momentum": 0.9}}))
    assert [[tuple(param.shape) for param in group["params"]] for group in groups] == [[(8,), (2,)], [(8, 4)], [(2, 8)]]
    assert [group["lr"] for group in groups] == [0.2, 0.1, 0.1]
    assert [(group["weight_decay"], group["momentum"]) for group in groups] == [(0.5, 0), (0, 0.9), (0, 0)]


@pytest.mark.parametrize("schedule", [Cosine(rest()), absolute(Cosine(rest(), start=0.1))])
def test_a_frozen_group_stays_and_a_factor_scales_the_rate(schedule: Any) -> None:
    """A frozen parameter keeps its bits; a factor multiplies the rate whether its schedule is a factor or the rate itself;
    and a row's rate is the one before factors.
    """
    made: list[nn.Module] = []
    task = points(model=lambda: made.append(network()) or made[-1])
    run = Run("points", lr=0.1, schedules=schedule, groups={"0.bias": "frozen", "0.weight": {"factor": 0.5}})
    seen: list[list[float]] = []
    original = TrainingStep.__call__

    def step(self: TrainingStep, batches: Any) -> Any:
        seen.append([group["lr"] for group in self.optimizer.param_groups])
        return original(self, batches)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingStep, "__call__", step)
        rows = rows_of(run, task)
    before = fresh_model(completed(run, points()), points())
    assert torch.equal(made[0][0].bias, before[0].bias)
    assert not torch.equal(made[0][0].weight, before[0].weight)
    assert [rates[0] for rates in seen] == pytest.approx([rates[1] / 2 for rates in seen])
    assert [row["lr"] for row in rows] == pytest.approx([seen[row.step - 1][1] for row in rows])


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"1.*": "frozen"}, r"group '1\.\*' matches no parameter.*; the network has 0\.weight, 0\.bias"),
        ({"0.wieght": {"factor": 0.5}}, r"matches no parameter \(did you mean 0\.weight\?\)"),
        ({"0.*": "frozen", "0.bias": {"factor": 0.5}}, r"group '0\.bias' is left without parameters: .* before it"),
        ({"*": "frozen"}, r"freeze all parameters; leave some"),
        ({"0.*": {"wieght_decay": 0.5}}, r"\(did you mean weight_decay\?\)"),
        ({"0.*": {"weight_decay": -1.0}}, r"SGD can't be made with .*weight_decay=-1\.0"),
    ],
)
def test_a_group_that_means_nothing_is_refused(groups: dict[str, Any], said: str) -> None:
    """A pattern without parameters, and options that the optimizer hasn't, are refused by name before training."""
    for refuse in (
        lambda: check_run(Run("points", groups=groups), points()),
        lambda: groups_of(Run("points", groups=groups)),
    ):
        with pytest.raises(InvalidInput, match=said):
            refuse()


# The training step


@pytest.mark.parametrize("optimizer", ["SGD", "torch.optim.SGD", "LBFGS"])
def test_accumulated_batches_are_one_large_batch(optimizer: str) -> None:
    """The mean of the gradients of equal batches is that of all their examples together."""
    task = points(72)  # 72 - 7 = 65 examples, 8 batches of 8 and one
    large = rows_of(Run("points", optimizer, lr=0.1, batch_size=16, length=4, precision="float64"), task)
    small = rows_of(Run("points", optimizer, lr=0.1, batch_size=8, accumulate=2, length=4, precision="float64"), task)
    assert [row["train/loss"] for row in small] == pytest.approx([row["train/loss"] for row in large], rel=1e-9)
    assert small[-1]["valid/loss"] == pytest.approx(large[-1]["valid/loss"], rel=1e-9)


def test_the_last_update_of_an_epoch_may_have_fewer_batches() -> None:
    """Six batches by fours are two updates, and the mean of two is taken in the second."""
    rows = rows_of(Run("points", accumulate=4), points())
    assert [row.step for row in rows] == [2, 4]


def test_precisions_are_those_asked_for() -> None:
    """Under autocast a network's layers compute in the asked type over float32 parameters; float64 is double throughout."""
    for precision, outputs, parameters in (
        ("float32", torch.float32, torch.float32),
        ("bfloat16", torch.bfloat16, torch.float32),
        ("float16", torch.float16, torch.float32),
        ("float64", torch.float64, torch.float64),
    ):
        seen: set[torch.dtype] = set()
        made: list[nn.Module] = []

        def loss(output: torch.Tensor, targets: torch.Tensor, seen: set[torch.dtype] = seen) -> torch.Tensor:
            seen.add(output.dtype)
            return functional.cross_entropy(output, targets)

        task = points(loss=loss, model=lambda made=made: made.append(network()) or made[-1])
        rows_of(Run("points", precision=precision, length=3), task)
        assert seen == {outputs}
        assert {param.dtype for param in made[0].parameters()} == {parameters}


def test_clipping_bounds_the_norm_of_all_gradients_together() -> None:
    """An update of plain SGD is at most lr · clip_norm long, and exactly as long where the gradient is longer."""
    made: list[nn.Module] = []
    task = points(model=lambda: made.append(network()) or made[-1])
    for precision in ("float32", "float16"):
        made.clear()
        run = Run("points", lr=0.5, clip_norm=1e-3, length=1, precision=precision)
        rows_of(run, task)
        before = fresh_model(completed(run, points()), points())
        moved = [one - other for one, other in zip(made[0].parameters(), before.parameters(), strict=True)]
        assert float(nn.utils.get_total_norm(moved)) == pytest.approx(5e-4, rel=1e-3)


def test_what_no_step_can_do_is_refused_before_training() -> None:
    """A closure under a GradScaler or with clipped gradients, and a norm given twice, are refused with the way out."""
    for changes, said in (
        ({"optimizer": "LBFGS", "precision": "float16"}, "a GradScaler can't; compute in bfloat16 or float32"),
        ({"optimizer": "torch.optim.LBFGS", "clip_norm": 1.0}, "can't be clipped; leave clip_norm out"),
        ({"clip_norm": 1.0, "options": {"clip_norm": 1.0}}, "given twice"),
        ({"schedules": {"momentun": Constant()}}, "momentun"),
    ):
        with pytest.raises(InvalidInput, match=said):
            check_run(Run("points", **changes), points())


class Overflowing(nn.Module):
    """A network whose gradient is infinite wherever the loss is scaled by more than a bound."""

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.layer, self.bound = nn.Linear(4, 2), bound
        self.layer.weight.register_hook(lambda grad: grad * (math.inf if self.scale > bound else 1.0))
        self.scale = 2.0**16

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.layer(inputs)
        if outputs.requires_grad:
            outputs.register_hook(self._note)
        return outputs

    def _note(self, grad: torch.Tensor) -> None:
        self.scale = float(grad.abs().max()) * 8  # a gradient of a mean over 8 examples is at most 1/8


@pytest.mark.parametrize("policy", ["stop", "skip", "back-off"])
def test_a_scalers_overflow_is_no_incident_and_its_scale_is_saved(policy: Any, tmp_path: Path) -> None:
    """Where only the scaled gradient overflows, the scaler leaves updates out and scales less, whatever the policy; its
    scale is in the checkpoint, and a resumed training goes on with it.
    """
    told: list[str] = []
    run, task = Run("points", precision="float16", on_nonfinite=policy), points(model=lambda: Overflowing(2000.0))
    rows = rows_of(run, task, on_incident=told.append)
    assert told == []
    assert cut_and_resumed(run, task, tmp_path, 4) == rows
    newest = max(tmp_path.glob("*.ckpt"))
    assert 100 < tree_of(newest)["parts"]["scaler"]["scale"] <= 2**12


def test_a_gradient_that_no_scale_helps_is_an_incident() -> None:
    """A gradient that is infinite without any scaling ends a run that asks to stop."""
    task = points(model=lambda: Overflowing(-1.0))
    with pytest.raises(NonFinite, match=r"the gradient of layer\.weight"):
        rows_of(Run("points", precision="float16", on_nonfinite="stop", length=epochs(5)), task)


def losing(step: int) -> Task:
    """Points whose loss is once no number, at that update's first try."""
    calls = itertools.count(-1)  # the first is a trial before the training

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = functional.cross_entropy(outputs, targets)
        return found * math.nan if outputs.requires_grad and next(calls) == step else found

    return points(loss=loss)


@pytest.mark.parametrize("policy", ["skip", "back-off"])
def test_incidents_between_rows_leave_their_order_and_the_evaluations(policy: Any, tmp_path: Path) -> None:
    """With rows between evaluations, steps still only grow after a return, evaluations are those without such rows, and a
    resumed training's rows are the uninterrupted one's.
    """
    run = Run("points", "AdamW", lr=0.01, on_nonfinite=policy, length=12, evaluate_every=6)
    alone, between = rows_of(run, losing(9)), rows_of(run.replace(record_every=1), losing(9))
    assert [row for row in between if "valid/loss" in row] == alone
    assert [row.step for row in between] == list(range(1, 13))
    assert {row["lr"] for row in alone} == ({0.01} if policy == "skip" else {0.01, 0.005})
    with Checkpoints(tmp_path) as checkpoints, suppress(Stopped):
        rows_of(run.replace(record_every=1), losing(9), checkpoints=checkpoints, should_stop=stopped_at(13))
    with Checkpoints(tmp_path) as checkpoints:
        assert rows_of(run.replace(record_every=1), points(), checkpoints=checkpoints) == between


def test_a_return_halves_the_rate_once() -> None:
    """After a return the rate is half of what it would be, also where only other hyperparameters have schedules."""
    for schedules in ({}, {"momentum": Linear(12)}, {"lr": Linear(12)}):
        run = Run("points", lr=0.1, options={"momentum": 0.9}, schedules=schedules, length=12, evaluate_every=6)
        expected = [0.1 * run.resolved(6).get("lr", Constant())(step - 1) for step in (6, 12)]
        rows = rows_of(run.replace(on_nonfinite="back-off"), losing(9))
        assert [row["lr"] for row in rows] == [expected[0], expected[1] / 2]


def test_incidents_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """What is skipped is logged under "gradus", too."""
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = functional.cross_entropy(outputs, targets)
        return found * math.nan if outputs.requires_grad and next(calls) == 3 else found

    with caplog.at_level(logging.INFO, "gradus"):
        rows_of(Run("points", on_nonfinite="skip"), points(loss=loss))
    assert [one.message for one in caplog.records] == ["skipped an update: the loss was nan at step 2, at learning rate 0.1"]


def test_modules_that_evaluate_stay_so() -> None:
    """A module that the model's maker has put in evaluation mode, as a frozen normalization, learns in it."""
    made: list[nn.Module] = []

    def model() -> nn.Module:
        made.append(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
        made[-1][1].eval()
        return made[-1]

    rows_of(Run("points"), points(model=model))
    assert made[0].training
    assert torch.equal(made[0][1].running_mean, torch.zeros(2))


# Optimizers


class Plain(torch.optim.SGD):
    """An optimizer of the user's own that must be given its rate."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)


class Rateless(torch.optim.Optimizer):
    """One that knows no rate."""

    def __init__(self, params: Any, pull: float = 0.01) -> None:
        super().__init__(params, {"pull": pull})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        del closure
        for group in self.param_groups:
            for param in group["params"]:
                param.mul_(1 - group["pull"])


def test_what_is_left_open_is_the_tasks_or_the_optimizers() -> None:
    """The task's rate and options go with its own optimizer, torch's of that name too; another has its default rate."""
    task = points(optimizer="SGD", options={"momentum": 0.9}, groups={"0.*": {"factor": 0.5}})
    for name, lr, options in (
        (None, 0.1, {"momentum": 0.9}),
        ("torch.optim.SGD", 0.1, {"momentum": 0.9}),
        ("AdamW", 1e-3, {}),
        ("tiny:Signum", 1e-3, {}),
        ("test_training_kinds:Rateless", None, {}),
    ):
        run = completed(Run("points", name), task)
        assert (run.lr, run.options, run.batch_size, run.length) == (lr, options, 8, epochs(2))
        assert run.groups == {"0.*": {"factor": 0.5}}
        assert completed(run, task) == run
    assert completed(Run("points", model="tiny:linear"), task).groups == {}
    with pytest.raises(InvalidInput, match=r"test_training_kinds:Plain has no learning rate by default.*give lr="):
        completed(Run("points", "test_training_kinds:Plain"), task)


@pytest.mark.parametrize("name", ["tiny:Signum", "test_training_kinds:Plain", "test_training_kinds:Rateless", "Prodigy"])
def test_an_optimizer_by_import_path_trains_and_resumes(name: str, tmp_path: Path) -> None:
    """An optimizer of one's own, with a rate, without one, or that finds its own, trains and goes on."""
    run = Run("points", name, lr=None if name.endswith(("Rateless", "Prodigy")) else 0.01)
    rows = cut_and_resumed(run, points(), tmp_path, 5)
    assert rows == rows_of(run, points())
    assert math.isnan(rows[0]["lr"]) == name.endswith("Rateless")


def test_back_off_needs_a_rate_to_halve() -> None:
    """An optimizer without a rate can't back off, and says so before training."""
    with pytest.raises(InvalidInput, match=r'"back-off" halves the learning rate, and .* has none'):
        check_run(Run("points", "test_training_kinds:Rateless", on_nonfinite="back-off"), points())


# Bad input


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": lambda: Twofold()}, "the model returned a tuple"),
        ({"loss": lambda outputs, targets: functional.cross_entropy(outputs, targets, reduction="none")}, "one real number"),
        ({"metrics": {"bad": lambda outputs, _: outputs}}, "the metric 'bad' must give one number"),
    ],
)
def test_a_task_whose_parts_do_not_fit_is_refused_before_training(changes: dict[str, Any], said: str) -> None:
    """What a forward and backward pass of a few examples tells is told in one sentence, before any update."""
    made: list[nn.Module] = []
    task = points(**changes)
    object.__setattr__(task, "model", lambda make=task.model: made.append(make()) or made[-1])
    with pytest.raises(InvalidInput, match=said):
        rows_of(Run("points"), task)
    before = fresh_model(completed(Run("points"), points(**changes)), points(**changes))
    assert all(torch.equal(one, other) for one, other in zip(made[0].parameters(), before.parameters(), strict=True))
    with pytest.raises(InvalidInput, match=said):
        check_run(Run("points"), points(**changes))


class Twofold(nn.Linear):
    """A network that gives a tuple."""

    def __init__(self) -> None:
        super().__init__(4, 2)

    def forward(self, inputs: torch.Tensor) -> Any:
        return super().forward(inputs), inputs


# Training functions


def drawing(run: Run, context: Context) -> Iterator[Mapping[str, float]]:
    """A training function that draws from every global generator."""
    for step in range(3):
        yield {"valid/loss": random.random() + float(np.random.rand()) + float(torch.rand(())) + run.seed, "step": 10 * step}
    assert context.folder is None or context.folder.is_dir()


def test_a_training_function_is_trained_like_any_run(tmp_path: Path) -> None:
    """Its rows are as it yields them, the same each time, and differ by seed; the caller's random state is as it was."""
    before = torch.get_rng_state()
    with Checkpoints(tmp_path / "own") as checkpoints:
        rows = rows_of(Run("test_training_kinds:drawing"), None, checkpoints=checkpoints)
    random.random()
    assert rows == rows_of(Run("test_training_kinds:drawing"), drawing)
    assert [row.step for row in rows] == [0, 10, 20]
    assert rows != rows_of(Run("test_training_kinds:drawing", seed=1), drawing)
    assert torch.equal(before, torch.get_rng_state())
    check_run(Run("test_training_kinds:drawing"), drawing)
    assert completed(Run("test_training_kinds:drawing"), drawing) == Run("test_training_kinds:drawing")


def test_a_training_function_is_asked_to_stop() -> None:
    """It hears of a stop through its context, and the training then says that it was stopped; without a step, rows count."""

    def patient(run: Run, context: Context) -> Iterator[Mapping[str, float]]:
        del run
        while not context.should_stop():
            yield {"loss": 1.0}

    seen: list[Row] = []
    with pytest.raises(Stopped, match="stopped after 3 updates"):
        seen.extend(train(Run("patient"), patient, device=CPU, should_stop=lambda: len(seen) == 3))
    assert [row.step for row in seen] == [1, 2, 3]


def test_a_training_function_that_yields_no_numbers_is_told() -> None:
    """What returns nothing, or yields no named numbers, is told what a training function yields."""
    for given in (None, {"loss": 1.0}, [3.0], "loss"):

        def function(run: Run, context: Context, given: Any = given) -> Any:
            del run, context
            return given

        with pytest.raises(InvalidInput, match=r"yields? named numbers"):
            rows_of(Run("mine"), function)


# Several processes


def _side_by_side(rank: int, world: int, folder: str) -> None:
    """Each process learns from its half of the batches; a loss of the second is no number once."""
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        found = functional.cross_entropy(outputs, targets)
        return found * math.nan if outputs.requires_grad and rank == 1 and next(calls) == 3 else found

    whole = points()
    inputs, targets = whole.train

    def batches(seed: int, epoch: int) -> list[Any]:
        order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed + epoch)).split(8)[:6]
        return [(inputs[chosen[rank::world]], targets[chosen[rank::world]]) for chosen in order]

    task = Task(
        "halves",
        batches,
        whole.test,
        model=lambda: nn.parallel.DistributedDataParallel(network()),
        loss=loss,
        lr=0.1,
        batch_size=8,
        length=epochs(2),
        metrics={},
    )
    told: list[str] = []
    run = Run("halves", valid=False, on_nonfinite="skip")
    with Checkpoints(folder) as checkpoints:
        rows = rows_of(run, task, on_incident=told.append, checkpoints=checkpoints)
    everyone: list[Any] = [None] * world
    torch.distributed.all_gather_object(everyone, (rows, told))
    assert everyone[0] == everyone[1]
    assert len(rows) == 2
    assert len(told) == 1
    assert all(math.isfinite(row["train/loss"]) for row in rows)


@pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed")
def test_processes_that_train_together_agree(tmp_path: Path) -> None:
    """Under DistributedDataParallel all processes have the same rows and leave the same updates out."""
    spawned(_side_by_side, 2, str(tmp_path))
