"""Laws of the range test: it leaves everything as it was, reads curves as they are, and refuses what it can't use."""

import copy
import json
import math
import os
import random
import re
import signal
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import gradus
from gradus.errors import GradusError, InvalidInput
from gradus.plots import terminal_range
from gradus.rangetest import Found, RangeTest, find_lr, range_test
from gradus.rangetest import suggestions as rules
from gradus.rangetest.curve import Curve, ShortRun, good_interval, near_best
from gradus.rangetest.found import FOUND_FILE, findings, keep, rate_found
from gradus.rangetest.stopping import StopRule
from gradus.rangetest.trainer import Measured, fetched
from gradus.rangetest.trials import Trials, _score
from gradus.runs import Run
from gradus.snapshot import Snapshot
from gradus.tasks import load_task
from gradus.training import completed

ASSETS = Path(__file__).parent / "assets"

CLASSES = 3
INPUTS, TARGETS = torch.randn(4, 6), torch.tensor([0, 1, 2, 0])


class Recurrent(nn.Module):
    """An LSTM over the features, one at a time."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(1, 5, batch_first=True)
        self.head = nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.head(self.lstm(x.unsqueeze(-1))[0][:, -1])


class Tied(nn.Module):
    """Two layers of the same weights, a buffer that isn't saved, a counter, and a memory of the last batch."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, CLASSES)
        self.two.weight = self.one.weight
        self.register_buffer("mean", torch.zeros(6), persistent=False)
        self.calls, self.last = 0, None

    def forward(self, x):
        self.calls += 1
        self.mean.lerp_(x.detach().mean(0), 0.1)
        self.last = self.two(self.one(x).relu())
        return self.head(self.last)


def frozen():
    """A network whose first layer isn't trained, and whose BatchNorm stays in evaluation mode."""
    net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
    net[0].requires_grad_(False)
    net[1].eval()
    return net


MODELS = {
    "dropout": lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.4), nn.Linear(16, CLASSES)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES)),
    "batch norm, evaluating": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES)).eval(),
    "recurrent": Recurrent,
    "tied": Tied,
    "frozen": frozen,
    "compiled": lambda: torch.compile(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, CLASSES)), backend="eager"),
}


class Lookahead(torch.optim.Optimizer):
    """A user's optimizer over another, with weights in a place of its own."""

    def __init__(self, inner):
        self.inner, self.count = inner, 0
        super().__init__(inner.param_groups, {})
        self.param_groups = inner.param_groups
        self.slow = [param.detach().clone() for group in self.param_groups for param in group["params"]]

    @torch.no_grad()
    def step(self):
        self.inner.step()
        self.count += 1
        params = [param for group in self.param_groups for param in group["params"]]
        for slow, param in zip(self.slow, params, strict=True):
            param.copy_(slow.lerp_(param, 0.5))


OPTIMIZERS = {
    "SGD": lambda params: torch.optim.SGD(params, lr=0.1, momentum=0.9),
    "Adam": lambda params: torch.optim.Adam(params, lr=0.01),
    "a tensor for a rate": lambda params: torch.optim.Adam(params, lr=torch.tensor(0.01)),
    "RMSprop": lambda params: torch.optim.RMSprop(params, lr=0.01, centered=True),
    "ASGD": lambda params: torch.optim.ASGD(params, lr=0.01),
    "LBFGS": lambda params: torch.optim.LBFGS(params, lr=0.5, max_iter=3),
    "groups": lambda params: torch.optim.AdamW([{"params": [p], "lr": 0.01 / (i + 1)} for i, p in enumerate(params)]),
    "gradus SGD": lambda params: gradus.optim.SGD(params, lr=0.1, momentum=0.9),
    "gradus AdamW": lambda params: gradus.optim.AdamW(params, lr=0.01),
    "gradus LBFGS": lambda params: gradus.optim.LBFGS(params, lr=0.5, max_iter=3),
    "gradus Prodigy": lambda params: gradus.optim.Prodigy(params),
    "gradus SGDScheduleFree": lambda params: gradus.optim.SGDScheduleFree(params, lr=0.1),
    "a user's": lambda params: Lookahead(torch.optim.Adam(params, lr=0.01)),
}
CASES = [(model, "Adam") for model in MODELS] + [("tied", optimizer) for optimizer in OPTIMIZERS]


def loader_of(examples=48, **options):
    """Twelve batches, shuffled by a generator of the loader's own."""
    generator = torch.Generator().manual_seed(5)
    inputs = torch.randn(examples, 6, generator=generator)
    targets = (inputs[:, :3].argmax(1) + (inputs[:, 3] > 1)) % CLASSES
    return DataLoader(
        TensorDataset(inputs, targets), batch_size=examples // 12, shuffle=True, generator=generator, **options
    )


def step(model, optimizer, loader):
    """One ordinary update on the loader's next batch."""
    inputs, targets = next(iter(loader))

    def closure():
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(inputs), targets)
        loss.backward()
        return loss

    if "LBFGS" in type(optimizer).__name__:
        optimizer.step(closure)
    else:
        closure()
        optimizer.step()


def made(model, optimizer, warm):
    """A model, an optimizer and a loader, after as many updates; gradients are left where they are."""
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    net = MODELS[model]()
    made_optimizer = OPTIMIZERS[optimizer]([param for param in net.parameters() if param.requires_grad])
    loader = loader_of()
    for _ in range(warm):
        step(net, made_optimizer, loader)
    return net, made_optimizer, loader


def frozen_copy(thing):
    """A value that says everything of some nested state, in bits."""
    if isinstance(thing, torch.Tensor):
        return (str(thing.dtype), tuple(thing.shape), thing.detach().cpu().numpy().tobytes())
    if isinstance(thing, np.ndarray):
        return thing.tobytes()
    if isinstance(thing, dict):
        return [(key if not isinstance(key, torch.Tensor) else id(key), frozen_copy(value)) for key, value in thing.items()]
    if isinstance(thing, (list, tuple)):
        return [frozen_copy(value) for value in thing]
    return repr(thing)


def everything(net, optimizer, loader):
    """All that must be as before, in bits and in identities."""
    return {
        "tensors": [(name, id(one), one.data_ptr(), frozen_copy(one)) for name, one in net.named_parameters()]
        + [(name, id(one), one.data_ptr(), frozen_copy(one)) for name, one in net.named_buffers()],
        "grads": [(id(one.grad), frozen_copy(one.grad)) for one in net.parameters()],
        "flags": [(module.training) for module in net.modules()] + [one.requires_grad for one in net.parameters()],
        "attributes": [(getattr(module, "calls", None), id(getattr(module, "last", None))) for module in net.modules()],
        "optimizer": frozen_copy(optimizer.state_dict()),
        "own": (getattr(optimizer, "count", None), frozen_copy(getattr(optimizer, "slow", None))),
        "rates": [(id(group["lr"]), float(group["lr"])) for group in optimizer.param_groups],
        "randomness": (
            frozen_copy(torch.get_rng_state()),
            random.getstate(),
            repr(np.random.get_state()),
            frozen_copy(loader.generator.get_state()),
        ),
    }


def quick(net, optimizer, loader, loss_fn=functional.cross_entropy, **options):
    """A range test of a moment."""
    return range_test(net, optimizer, loss_fn, loader, **{"steps": 12, "start": 1e-4, "progress": False, **options})


@pytest.mark.parametrize(("model", "optimizer"), CASES)
@pytest.mark.parametrize("warm", [0, 2])
def test_everything_is_bit_for_bit_as_before(model, optimizer, warm):
    """Tensors, gradients, flags, states, rates and generators are the same objects and bits, and so is what follows."""
    net, made_optimizer, loader = made(model, optimizer, warm)
    before = everything(net, made_optimizer, loader)
    quick(net, made_optimizer, loader, seeds=2, start=0.5)
    assert everything(net, made_optimizer, loader) == before
    twin, twins_optimizer, twins_loader = made(model, optimizer, warm)
    for _ in range(3):
        step(net, made_optimizer, loader)
    mine = frozen_copy([*net.parameters(), *net.buffers()]), frozen_copy(torch.get_rng_state())
    made(model, optimizer, warm)  # the global generators as they were
    for _ in range(3):
        step(twin, twins_optimizer, twins_loader)
    assert (frozen_copy([*twin.parameters(), *twin.buffers()]), frozen_copy(torch.get_rng_state())) == mine


class Broken(Exception):
    """What is injected."""


@pytest.mark.parametrize("at", range(14))
@pytest.mark.parametrize("error", [Broken, KeyboardInterrupt])
@pytest.mark.parametrize("optimizer", ["Adam", "LBFGS", "gradus AdamW"])
def test_a_failure_at_any_step_leaves_everything_as_it_was(at, error, optimizer):
    """Whichever loss fails, in the growing rates or in a short training, the error comes out and nothing has changed."""
    net, made_optimizer, loader = made("tied", optimizer, 1)
    before = everything(net, made_optimizer, loader)
    calls = iter(range(10_000))

    def loss_fn(output, target):
        if next(calls) == 3 * at:
            raise error
        return functional.cross_entropy(output, target)

    with pytest.raises(error):
        quick(net, made_optimizer, loader, loss_fn)
    assert everything(net, made_optimizer, loader) == before


@pytest.mark.parametrize("place", ["loader", "step", "metric", "backward"])
def test_a_failure_in_any_part_leaves_everything_as_it_was(place, monkeypatch):
    """Wherever in the fourth update something fails, nothing has changed."""
    net, optimizer, loader = made("dropout", "Adam", 1)
    before = everything(net, optimizer, loader)
    calls = iter(range(10_000))

    def fail(*_):
        if next(calls) == 3:
            raise Broken

    options = {}
    if place == "loader":
        monkeypatch.setattr(TensorDataset, "__getitem__", lambda self, i: fail() or tuple(t[i] for t in self.tensors))
    elif place == "step":
        optimizer.register_step_post_hook(fail)
    elif place == "metric":
        options["metric"] = lambda *_: fail() or 0.0
    else:
        net[3].register_full_backward_hook(fail)
    with pytest.raises(Broken):
        quick(net, optimizer, loader, **options)
    assert everything(net, optimizer, loader) == before


def test_ctrl_c_while_everything_is_put_back_waits():
    """A Ctrl-C that comes in the middle of the restoring is obeyed after it."""
    net, optimizer, loader = made("batch norm", "Adam", 1)
    before = everything(net, optimizer, loader)
    came = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        snapshot = Snapshot([net, optimizer, loader.generator])
        for _ in range(3):
            step(net, optimizer, loader)
        snapshot._undo.insert(1, lambda: os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            snapshot.__exit__(None, None, None)
    finally:
        signal.signal(signal.SIGINT, came)
    assert everything(net, optimizer, loader) == before


def test_a_snapshot_above_the_limit_goes_to_a_file_and_comes_back():
    """With no memory allowed, everything is put back from a file, which is gone afterwards."""
    net, optimizer, loader = made("batch norm", "Adam", 2)
    before = everything(net, optimizer, loader)
    with Snapshot([net, optimizer, loader.generator], memory_limit=0) as snapshot:
        assert snapshot.on_disk
        for _ in range(3):
            step(net, optimizer, loader)
    assert everything(net, optimizer, loader) == before
    assert snapshot._file.closed
    tensors = [*net.parameters(), *net.buffers(), *(param.grad for param in net.parameters())]
    slots = [slot for kept in optimizer.state.values() for slot in kept.values()]
    assert snapshot.nbytes == sum(one.untyped_storage().nbytes() for one in [*tensors, *slots])


def test_a_full_disk_is_said_before_anything_is_changed(monkeypatch):
    """Where the file of the snapshot can't be written, nothing has been trained."""
    net, optimizer, loader = made("batch norm", "Adam", 1)
    before = everything(net, optimizer, loader)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(GradusError, match=r"can't be written to .*: No space left on device; make room there"):
        quick(net, optimizer, loader, memory_limit=0)
    assert everything(net, optimizer, loader) == before


def test_views_ties_and_sparse_tensors_come_back():
    """Tensors that share storage, are expanded, sparse, or have been moved elsewhere are as they were, and where."""
    base = torch.arange(6.0)
    things = {"base": base, "view": base[2:4], "wide": torch.ones(1).expand(4), "sparse": torch.eye(3).to_sparse()}
    moved = torch.zeros(3, requires_grad=True)
    things["moved"] = moved
    before, place = frozen_copy({**things, "sparse": things["sparse"].to_dense()}), moved.data_ptr()
    with Snapshot([things]):
        things["view"].fill_(9)
        things["sparse"].mul_(5)
        things["new"] = 1
        moved.data = torch.ones(5)
        moved.requires_grad_(False)
    assert frozen_copy({**things, "sparse": things["sparse"].to_dense()}) == before
    assert (moved.data_ptr(), moved.requires_grad) == (place, True)


def test_schedulers_and_what_counts_updates_are_as_before():
    """torch's schedulers, and ours that counts the optimizer's updates through a hook, don't notice."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    torchs = torch.optim.lr_scheduler.StepLR(optimizer, 3)
    ours = gradus.Scheduler(optimizer, count_updates=True, momentum=gradus.schedules.Linear(10))
    step(net, optimizer, loader)
    before = copy.deepcopy((torchs.state_dict(), ours.state_dict(), ours._updates_done, list(vars(optimizer))))
    quick(net, optimizer, loader)
    assert (torchs.state_dict(), ours.state_dict(), ours._updates_done, list(vars(optimizer))) == before


def test_a_scaler_is_used_and_comes_back():
    """With a GradScaler the updates go through it, and its scale, its growth and its memory are as before."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=2)
    before = everything(net, optimizer, loader), repr(vars(scaler))
    scales = []
    optimizer.register_step_pre_hook(lambda *_: scales.append(scaler.get_scale()))
    seen = []

    def loss_fn(output, target):
        seen.append(output.dtype)
        return functional.cross_entropy(output, target)

    quick(net, optimizer, loader, loss_fn, amp=scaler, verify=False)
    assert (everything(net, optimizer, loader), repr(vars(scaler))) == before
    assert max(scales) > 4.0
    assert set(seen) == {torch.float16}


def test_the_rates_are_the_schedules_and_groups_keep_their_ratios():
    """Update t is done at start·(end/start)^(t/(n − 1)) in the highest group, and in the others in proportion."""
    net, _, loader = made("dropout", "SGD", 0)
    groups = [{"params": net[0].parameters(), "lr": 0.02}, {"params": net[3].parameters(), "lr": torch.tensor(0.1)}]
    optimizer = torch.optim.SGD(groups)
    used = []
    optimizer.register_step_pre_hook(lambda *_: used.append([float(group["lr"]) for group in optimizer.param_groups]))
    found = quick(net, optimizer, loader, start=1e-6, end=1e-3, steps=10, verify=False)
    want = np.array([1e-6 * 1000 ** (t / 9) for t in range(10)])
    np.testing.assert_allclose(np.array(used)[:, 1], want, rtol=1e-6)  # a tensor in single precision
    np.testing.assert_allclose(np.array(used)[:, 0], want / 5, rtol=1e-6)
    np.testing.assert_allclose(found.lrs, want)
    linear = quick(net, optimizer, loader, start=1e-6, end=1e-3, steps=10, verify=False, mode="linear")
    np.testing.assert_allclose(linear.lrs, np.linspace(1e-6, 1e-3, 10))


def test_rates_that_a_warmup_holds_at_zero_take_their_ratios_from_the_initial_ones():
    """Where every group's rate is 0 its initial rate counts, and where there is none all are equal."""
    used = []
    for initial in ({"initial_lr": 0.5}, {}):
        net, _, loader = made("dropout", "SGD", 0)
        optimizer = torch.optim.SGD([{"params": net[0].parameters(), **initial}, {"params": net[3].parameters()}], lr=0.0)
        if initial:
            optimizer.param_groups[1]["initial_lr"] = 1.0
        optimizer.register_step_pre_hook(
            lambda *_, own=optimizer: used.append([float(group["lr"]) for group in own.param_groups])
        )
        quick(net, optimizer, loader, start=1e-3, end=1e-2, steps=10, verify=False)
    assert used[0] == [0.0005, 0.001]
    assert used[10] == [0.001, 0.001]


def test_a_loss_belongs_to_the_rate_of_the_update_before_it():
    """On a quadratic each loss is that of gradient descent by hand, after the update at the rate beside it."""
    weight = nn.Linear(1, 1, bias=False)
    nn.init.constant_(weight.weight, 2.0)
    optimizer = torch.optim.SGD(weight.parameters(), lr=1.0)
    loader = [(torch.ones(1, 1), torch.zeros(1, 1))] * 2
    found = quick(weight, optimizer, loader, functional.mse_loss, start=0.01, end=0.4, steps=10, verify=False)
    w, want = 2.0, []
    for lr in found.lrs:
        w -= lr * 2 * w
        want.append(w * w)
    np.testing.assert_allclose(found.losses, want, rtol=1e-5)


def test_accumulated_batches_are_one_update():
    """Four batches in an update give the losses of one batch four times as large."""
    inputs, targets = torch.randn(32, 6), torch.randint(CLASSES, (32,))
    curves = []
    for size, accumulate in ((8, 4), (32, 1)):
        torch.manual_seed(0)
        net = nn.Linear(6, CLASSES)
        loader = list(zip(inputs.split(size), targets.split(size), strict=True)) * 2
        options = {"accumulate": accumulate, "verify": False, "end": 1.0}
        curves.append(quick(net, torch.optim.SGD(net.parameters(), lr=1.0), loader, **options).losses)
    np.testing.assert_allclose(*curves, rtol=1e-4)


class Stream(IterableDataset):
    """Batches without a length."""

    def __iter__(self):
        return ((torch.ones(4, 6), torch.zeros(4, dtype=torch.int64)) for _ in range(5))


LOADERS = {
    "all data at once": lambda: list(DataLoader(loader_of().dataset, batch_size=48)) * 2,
    "an iterable data set": lambda: DataLoader(Stream(), batch_size=None),
    "dicts": lambda: [{"x": torch.randn(4, 6), "y": torch.tensor([0, 1, 2, 0])}] * 3,
    "batches": lambda: loader_of(),
}


@pytest.mark.parametrize("kind", LOADERS)
@pytest.mark.parametrize("custom", [True, False])
def test_every_kind_of_loader_serves(kind, custom):
    """Whatever gives batches is read as often as needed, through a function of the user's where a batch is no pair."""
    net, optimizer, _ = made("dropout", "Adam", 0)

    def step_fn(model, batch):
        inputs, targets = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
        return functional.cross_entropy(model(inputs), targets)

    loader = LOADERS[kind]()
    if kind == "dicts" and not custom:
        with pytest.raises(InvalidInput, match=r"must be a pair \(input, target\); got a dict.*step_fn"):
            quick(net, optimizer, loader)
        return
    options = {"step_fn": step_fn, "loss_fn": None} if custom else {}
    found = quick(net, optimizer, loader, end=1e-2, **options)
    assert len(found.lrs) == 12
    assert bool(found.metrics) == (not custom)


def test_an_iterator_that_can_be_read_once_serves_for_one_curve():
    """A one-shot iterator is read up to its end, and the curve says so."""
    net, optimizer, loader = made("dropout", "Adam", 0)
    found = quick(net, optimizer, iter(list(loader)), steps=40, verify=False)
    assert (len(found.lrs), found.stopped_because) == (11, "the data ended")


def test_an_iterator_of_persistent_workers_goes_on_where_it_was():
    """A test in the middle of an epoch leaves the loader's one iterator alone."""
    net, optimizer, _ = made("dropout", "Adam", 0)
    data = TensorDataset(torch.arange(24.0).repeat(6, 1).T, torch.zeros(24, dtype=torch.int64))
    loader = DataLoader(data, batch_size=4, num_workers=1, persistent_workers=True, multiprocessing_context="spawn")
    batches = iter(loader)
    next(batches)
    quick(net, optimizer, loader, verify=False)
    assert next(batches)[0][0, 0] == 4
    del batches, loader._iterator


def test_what_a_validation_loader_gives_is_measured_in_evaluation_mode():
    """With a val_loader every loss is that of its batches after the update, without dropout, and modes come back."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, CLASSES), nn.Dropout(0.5))
    optimizer = torch.optim.SGD(net.parameters(), lr=1.0)
    held = [(torch.randn(8, 6), torch.randint(CLASSES, (8,)))]
    found = quick(net, optimizer, loader_of(), val_loader=held, verify=False, end=1e-3)
    by_hand = functional.cross_entropy(net[0](held[0][0]), held[0][1]).detach()
    assert found.losses[0] == pytest.approx(float(by_hand), abs=1e-3)
    assert np.ptp(np.diff(found.losses)) < 1e-3  # a smooth curve: dropout would jump
    assert net.training


def schedule_free(params, package):
    """A schedule-free optimizer of ours or of its authors'."""
    kind = gradus.optim.SGDScheduleFree if package == "gradus" else pytest.importorskip(package).SGDScheduleFree
    return kind(list(params), lr=0.5)


@pytest.mark.parametrize("package", ["gradus", "schedulefree"])
@pytest.mark.parametrize("held", [None, [(INPUTS, TARGETS)]], ids=["trained on", "held"])
def test_a_schedule_free_optimizer_in_evaluation_is_tested_in_training_and_comes_back(package, held):
    """Between its eval() and its train() a range test finds what it finds after train(), and the averages stay in place."""
    found = []
    for evaluating in (False, True):
        torch.manual_seed(0)
        net, loader = nn.Linear(6, CLASSES), loader_of()
        optimizer = schedule_free(net.parameters(), package)
        optimizer.train()
        for _ in range(3):
            step(net, optimizer, loader)
        if evaluating:
            optimizer.eval()
        before = everything(net, optimizer, loader)
        found.append(quick(net, optimizer, loader, val_loader=held, verify=False))
        assert everything(net, optimizer, loader) == before
    assert found[1].losses == pytest.approx(found[0].losses, rel=1e-5)


@pytest.mark.parametrize("package", ["gradus", "schedulefree"])
def test_a_validation_loader_measures_the_averages_of_a_schedule_free_optimizer(package):
    """With a val_loader the losses are those of the averages, which are what is used, as after eval() by hand."""

    def begun():
        torch.manual_seed(0)
        net = nn.Linear(6, CLASSES)
        optimizer = schedule_free(net.parameters(), package)
        optimizer.train()
        return net, optimizer

    batches = [(INPUTS, TARGETS)] * 2
    net, optimizer = begun()
    found = quick(net, optimizer, batches, val_loader=[(INPUTS, TARGETS)], verify=False, start=0.1, end=1.0)
    net, optimizer = begun()
    by_hand = []
    for rate in [*found.lrs, None]:
        optimizer.eval()
        by_hand.append(functional.cross_entropy(net(INPUTS), TARGETS).item())
        optimizer.train()
        if rate is not None:
            optimizer.param_groups[0]["lr"] = rate
            step(net, optimizer, batches)
    assert found.losses == pytest.approx(by_hand[1:], rel=1e-5)


class Far(torch.Tensor):
    """A tensor that says it lies on a GPU."""

    device = property(lambda _: torch.device("cuda"))


@pytest.mark.parametrize(("kind", "at_once"), [(torch.Tensor, 1), (Far, 10)])
def test_numbers_are_fetched_in_their_order_and_from_a_gpu_ten_at_a_time(kind, at_once):
    """Losses and metrics come out as they went in, so many at once, and all of them before an error that follows."""
    given_ = []

    def measure():
        for number in range(25):
            given_.append(number)
            yield Measured(torch.tensor(number + 0.5).as_subclass(kind), torch.tensor(0.25 * number))
        raise Broken

    numbers = fetched(measure())
    for number in range(25):
        assert next(numbers) == (number + 0.5, 0.25 * number)
        assert len(given_) == min(25, at_once * (number // at_once + 1))
    with pytest.raises(Broken):
        next(numbers)


# Suggestions on curves that are known


RATES = np.geomspace(1e-6, 10, 141)


def cliff(start, edge, low=0.5, high=2.3):
    """A loss that falls in a straight line over log rate from `start` to `edge`, and leaps up beyond."""
    part = np.clip(np.log(RATES / start) / np.log(edge / start), 0, 1)
    return np.where(edge * 1.001 < RATES, 2 * high, high + (low - high) * part)


@given(st.floats(-5, -2), st.floats(0.5, 2.5))
@settings(max_examples=50)
def test_on_a_straight_fall_each_rule_gives_what_its_formula_says(start, decades):
    """Minimum/10, valley, steepest and the interval are where hand arithmetic puts them."""
    low, high = 10**start, 10 ** (start + decades)
    losses, step_ = cliff(low, high), RATES[1] / RATES[0]
    assert rules.minimum(RATES, losses) == pytest.approx(high / 10, rel=1.05 * (step_ - 1))
    assert rules.valley(RATES, losses) == pytest.approx(math.sqrt(low * high), rel=2 * (step_ - 1))
    assert low / step_ <= rules.steepest(RATES, losses) <= high
    begin, edge = rules.interval(RATES, losses, 2.3)
    assert begin == pytest.approx(low * (high / low) ** 0.1, rel=1.05 * (step_ - 1))
    assert edge == pytest.approx(high, rel=1.05 * (step_ - 1))
    assert rules.middle((begin, edge)) ** 2 == pytest.approx(begin * edge)


def test_steepest_is_the_inflection_of_a_sigmoid():
    """On a falling sigmoid over log rate the steepest descent is at its middle."""
    losses = 2 / (1 + (RATES / 1e-3) ** 2)
    assert rules.steepest(RATES, losses) == pytest.approx(1e-3, rel=0.1)


def test_smiths_criterion_is_the_turn_of_the_metric():
    """The suggestion is the metric's top, the lower bound where a tenth of its rise is done."""
    metric = np.exp(-(np.log10(RATES / 0.01) ** 2))
    low, high = rules.metric_turn(RATES, metric)
    assert high == pytest.approx(0.01, rel=0.1)
    assert low == pytest.approx(10 ** (-2 - math.sqrt(-math.log(0.1))), rel=0.15)


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.floats(0, 0.95))
@settings(max_examples=100)
def test_smoothing_is_a_weighted_mean(values, beta):
    """Each smoothed value is the plain sum of weights β^|i−j| divided by theirs; constants stay, and β = 0 does nothing."""
    want = [
        sum(beta ** abs(i - j) * v for j, v in enumerate(values)) / sum(beta ** abs(i - j) for j in range(len(values)))
        for i in range(len(values))
    ]
    np.testing.assert_allclose(rules.smooth(values, beta), want, atol=1e-9)
    np.testing.assert_allclose(rules.smooth([7.0] * len(values), beta), 7.0)
    np.testing.assert_array_equal(rules.smooth(values, 0.0), values)


@given(st.lists(st.integers(0, 8).map(float), min_size=1, max_size=12))
@settings(max_examples=100)
def test_a_valley_is_the_middle_of_a_longest_falling_subsequence(values):
    """No falling subsequence is longer, by comparison with all there are."""
    longest = rules._longest_falling(values)
    assert longest == sorted(set(longest))
    assert all(values[a] > values[b] for a, b in pairwise(longest))
    best = [1] * len(values)
    for i, value in enumerate(values):
        best[i] = 1 + max((best[j] for j in range(i) if values[j] > value), default=0)
    assert len(longest) == max(best)


def test_noise_is_the_standard_deviation_of_independent_errors():
    """On normal errors the estimate is their standard deviation, with a slow trend under them too."""
    draws = np.random.default_rng(0).normal(0, 0.3, 20_000)
    assert rules.noise(draws) == pytest.approx(0.3, rel=0.03)
    assert rules.noise(draws + np.linspace(0, 5, 20_000)) == pytest.approx(0.3, rel=0.03)


# When it stops


def stopped_at(losses, **options):
    """The place and the reason at which a watch stops, if it does."""
    watch = StopRule(**{"stop_factor": 4.0, **options})
    return next(((place, reason) for place, loss in enumerate(losses) if (reason := watch.reason(loss))), None)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_stops_at_once(bad):
    """NaN and the infinities end the test in the step in which they come."""
    assert stopped_at([2.0, 1.9, bad, 1.8]) == (2, f"the loss was {bad}")


def test_a_network_that_sits_at_chance_after_its_blow_up_is_stopped():
    """A loss that falls to 1 and then sits at ln(10) stops five steps later, where four times the best never comes."""
    losses = [2.31, 2.29, 2.3, 2.31, 2.3, *np.linspace(2.3, 1.0, 20), *[math.log(10)] * 30]
    place, reason = stopped_at(losses)
    assert place == 29
    assert "back at" in reason
    assert max(losses) < 4 * min(losses)


def test_chance_counts_where_the_first_losses_lie_above_it():
    """A badly initialised network that starts at 5 and ends at ln(10) is stopped where the level of chance is known."""
    losses = [5.0, 5.1, 5.0, 5.0, 4.9, *np.linspace(4.9, 1.0, 20), *[math.log(10)] * 30]
    watch = StopRule(4.0)
    assert stopped_at(losses) is None
    assert next(place for place, loss in enumerate(losses) if watch.reason(loss, math.log(10))) == 29


@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_a_smooth_fall_and_mere_noise_are_not_stopped(shift):
    """Neither a fall to nearly nothing, nor noise around a level, nor one spike ends the test; losses may be negative."""
    draws = np.random.default_rng(1).normal(0, 0.02, 100)
    assert stopped_at(shift + 2.3 + draws) is None
    assert stopped_at(shift + 2.3 * np.exp(-np.arange(100) / 10) + 0.01 + draws / 10) is None
    spiked = shift + np.linspace(2.3, 1.0, 60)
    spiked[40] = shift + 2.6
    assert stopped_at(spiked) is None


def test_a_blow_up_is_stopped_and_its_best_is_said():
    """A loss that grows past the factor times its best stops within three steps of it."""
    place, reason = stopped_at([2.0] * 10 + [1.0] * 20 + [8.0, 16.0, 32.0, 64.0])
    assert 30 <= place <= 32
    assert reason.startswith("the smoothed loss passed 4 times its best, 1.0")


# What it says


def clear(loss_fn=functional.cross_entropy):
    """A range test with batches large enough for a clear curve, verified."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    return quick(net, optimizer, list(loader_of(1200)), loss_fn, steps=50, start=1e-3)


@pytest.fixture(scope="module")
def found():
    """It, of the usual loss."""
    return clear()


def test_the_suggestion_is_inside_the_interval_and_in_the_table(found):
    """The suggestion is the verified one, where the good rates begin, and each rule gives one."""
    assert found.suggestion == found.suggestions["verified"] == found.interval[0]
    _, fastest = min((loss, rate) for rate, loss in found.trials)
    assert fastest / 4 < found.interval[0] <= found.interval[1] < 4 * fastest
    assert set(found.suggestions) == {"steepest", "valley", "minimum/10", "middle", "smith", "verified"}
    assert f"{found.suggestion:.3g}" in str(found)
    assert found.cycle[1] == found.suggestions["smith"]


def settled(loss, monkeypatch, edge=1.6):
    """The trials of a curve that falls from 2 to 1, where a training's loss is `loss(rate, steps)`; and each one's two."""
    seen = []

    def run(_, schedule, __, ___, steps):
        seen.append((schedule(0), steps))
        return ShortRun([], [loss(schedule(0), steps)] * (steps + 1), [], "", False)

    monkeypatch.setattr(Trials, "run", run)
    curve = Curve([1e-7, edge], [2.0, 1.0], [2.0, 1.0], [], 2.0, 0.001, "", False)
    (trials,) = Trials(None, None, [], None, 100, 4.0).verify(curve, 1e-7, 10.0, 1)
    return trials, seen


def test_what_short_trainings_find_is_settled_by_longer_ones_closer_together(monkeypatch):
    """From the highest rate that learns in 100 steps, found by halves, rates go down by √2 in 400, and up if it is good."""

    def loss(rate, steps):
        return 2.0 if rate > (0.5 if steps == 100 else 0.7) else 1.0 if rate > 0.15 else 1.5

    trials, seen = settled(loss, monkeypatch)
    assert seen[:5] == [(1.6, 100), (0.8, 100), (0.4, 100), (0.2, 100), (0.1, 100)]
    down, up = [0.4 / 2 ** (k / 2) for k in range(5)], [0.4 * 2 ** (k / 2) for k in range(1, 4)]
    assert seen[6:] == [(pytest.approx(rate), 400) for rate in [*down, *up]]
    assert trials == pytest.approx(dict(zip([*down, *up], [1.0, 1.0, 1.0, 1.5, 1.5, 1.0, 2.0, 2.0], strict=True)))


def test_where_nothing_learns_in_the_steps_all_is_tried_with_four_times_as_many(monkeypatch):
    """A network that needs 400 steps to leave its plateau gets them, and one that never does costs twelve rates each."""
    trials, _ = settled(lambda rate, steps: 1.0 if steps == 400 and 0.3 < rate < 0.5 else 2.0, monkeypatch)
    assert min(trials, key=trials.get) == 0.4
    trials, seen = settled(lambda *_: 2.0, monkeypatch)
    assert [steps for _, steps in seen] == [100] * 12 + [400] * 12
    assert set(trials.values()) == {2.0}


def test_a_training_counts_by_the_mean_of_its_second_half():
    """Of losses 3, 3, 3, 1, 2, 3 that is 2, by hand."""
    losses = [3.0, 3.0, 3.0, 1.0, 2.0, 3.0]
    assert _score(ShortRun([], losses, [], "", False)) == 2.0
    assert _score(ShortRun([], losses, [], "", True)) == math.inf


def test_good_rates_reach_to_where_the_line_between_two_smoothed_losses_passes_the_limit():
    """Smoothed 1:2:1, none above the beginning, losses may lack 0.015 of the descent, on lines over log rate, by hand."""
    curve = Curve([0.1], [1.0], [1.0], [], 2.0, 0.001, "", False)
    trials = {0.1: 1.4, 0.2: 1.0, 0.4: 1.0, 0.8: 1.0, 1.6: math.inf}
    assert near_best(trials, curve) == [0.2, 0.4, 0.8]
    # smoothed: (2.8 + 1)/3, 4.4/4, 1, 5/4, (4 + 1)/3
    low, high = 0.4 / 2 ** (0.015 / 0.1), 0.4 * 2 ** (0.015 / 0.25)
    assert good_interval(trials, curve) == pytest.approx((low, high))
    assert good_interval({0.4: 1.0, 0.8: 1.5}, curve) == pytest.approx((0.4, 0.4 * 2 ** (0.0125 / (1 / 6))))
    assert good_interval({0.4: 1.0}, curve) == (0.4, 0.4)
    assert good_interval({0.4: 2.0, 0.8: math.inf}, curve) is None


def test_the_suggestion_learns(found):
    """Training at the suggestion ends well below where it began, and at a hundredth of it doesn't."""
    losses = []
    for rate in (found.suggestion, found.suggestion / 100):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))
        optimizer = torch.optim.SGD(net.parameters(), lr=rate)
        loader = loader_of(1200)
        for _ in range(200):
            step(net, optimizer, loader)
        inputs, targets = loader.dataset.tensors
        losses.append(functional.cross_entropy(net(inputs), targets).item())
    assert losses[0] < 0.5 * found.first
    assert losses[1] > 0.8 * found.first


def test_json_gives_back_an_equal_one(found):
    """from_json undoes to_json, infinite losses included, and the text is JSON by the standard."""
    odd = replace(found, trials=((0.1, math.inf), (0.05, 1.0)), suggestion=None, interval=None, spread=(0.1, 0.2))
    for one in (found, odd):
        assert RangeTest.from_json(one.to_json()) == one
        json.loads(one.to_json(), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope", "this is no range test"),
        ("[]", "this is no range test"),
        ('{"gradus.range_test": 9}', "this range test has version 9; this Gradus reads version 1"),
        ('{"gradus.range_test": 1}', "needs the field 'cycle'"),
    ],
)
def test_what_is_no_range_test_is_refused(text, said):
    """JSON of another kind, version or shape is refused by what is wrong with it."""
    with pytest.raises(InvalidInput, match=said):
        RangeTest.from_json(text)


def test_the_picture_has_the_curve_the_trainings_and_every_suggestion(found):
    """The figure's lines hold the losses, and its legend names each rule with its rate."""
    figure = found.plot()
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "learning rate")
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), found.losses)
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), found.smoothed)
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    for name, rate in found.suggestions.items():
        assert f"{name}: {rate:.2g}" in labels
    assert "<img" in found._repr_html_()


def test_the_terminal_shows_the_curve_in_its_width(found):
    """The plot of characters is as wide as asked, has the decades under it and no colour."""
    text = terminal_range(found.lrs, found.smoothed, found.suggestion, width=70)
    assert max(map(len, text.splitlines())) == 70
    assert "1e-3" in text
    assert all(character.isprintable() for character in text.replace("\n", ""))


def mere_noise(output, target):  # noqa: ARG001 - it has nothing to do with the target
    """A loss that no training can change."""
    return (output * 0).sum() + torch.rand(())


@pytest.mark.parametrize(
    ("loss_fn", "options", "said"),
    [
        (mere_noise, {"steps": 30, "start": 0.1}, "No rate learned anything in short.*never fell by more than its noise"),
        (mere_noise, {"steps": 60, "verify": False}, "never fell by more than its noise; take more steps"),
        (functional.cross_entropy, {"verify": False}, "only 12 points, too few to say anything"),
        (functional.cross_entropy, {"verify": False, "start": 50.0, "end": 1e6, "steps": 60}, "start lower"),
    ],
)
def test_a_curve_that_says_nothing_says_so(loss_fn, options, said):
    """Where nothing falls there is no number but a sentence that says why and what to do."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    nothing = quick(net, optimizer, loader, loss_fn, **options)
    assert (nothing.suggestion, nothing.suggestions) == (None, {})
    assert re.search(said, nothing.remark)
    nothing.plot()


def test_a_loss_as_noisy_as_it_is_high_is_no_obstacle():
    """With batches of four, whose losses differ by as much as the descent, the curve says nothing, but trainings a rate."""
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    inputs = torch.randn(256, 3)
    loader = list(zip(inputs.split(4), inputs.sum(1, keepdim=True).split(4), strict=True))
    found = quick(net, torch.optim.SGD(net.parameters(), lr=0.1), loader, functional.mse_loss, steps=60)
    assert set(found.suggestions) == {"verified"}
    assert 1e-3 < found.suggestion < 0.3


@pytest.mark.parametrize("seed", range(20))
def test_noise_gives_no_suggestion(seed):
    """Twenty curves of mere noise suggest nothing."""
    from gradus.rangetest.curve import Curve, ShortRun

    losses = np.random.default_rng(seed).normal(2.3, 0.1, 101).tolist()
    curve = Curve.of([ShortRun(RATES[:100].tolist(), losses, [None] * 101, "end", False)], 0.7)
    assert curve.suggestions() == {}


def test_several_seeds_differ_in_their_shuffles_and_give_a_spread():
    """Each seed has its own order of examples, the curve is their mean, and the suggestion carries what each says alone."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    firsts = []

    def loss_fn(output, target):
        firsts.append(tuple(target.tolist()))
        return functional.cross_entropy(output, target)

    alone = quick(net, optimizer, loader, end=1e-2, verify=False)
    both = quick(net, optimizer, loader, loss_fn, end=1e-2, verify=False, seeds=2)
    assert len(firsts) == 2 * 13
    assert firsts[:13] != firsts[13:]
    other = [2 * mean - first for mean, first in zip(both.losses, alone.losses, strict=True)]
    assert min(abs(a - b) for a, b in zip(other, alone.losses, strict=True)) > 0
    several = quick(net, optimizer, loader_of(1200), seeds=2, steps=30)
    low, high = several.spread
    assert 1e-4 <= low <= high <= 10
    assert f"each alone says {low:.3g} to {high:.3g}" in several.remark


# What is refused

BAD = [
    ({"start": 0.0}, "start must be a finite rate above 0; got 0.0"),
    ({"end": math.inf}, "end must be a finite rate above 0; got inf"),
    ({"start": 1.0, "end": 0.1}, "start must be below end; got start=1 and end=0.1"),
    ({"steps": 9}, "steps must be a whole number from 10; got 9"),
    ({"mode": "cubic"}, 'mode must be "exponential" or "linear"; got \'cubic\''),
    ({"smoothing": 1.0}, "smoothing must lie from 0 to below 1; got 1.0"),
    ({"stop_factor": 1.0}, "stop_factor must be a finite number above 1; got 1.0"),
    ({"accumulate": 0}, "accumulate must be a whole number from 1; got 0"),
    ({"seeds": True}, "seeds must be a whole number from 1; got True"),
    ({"memory_limit": -1}, "memory_limit must be a whole number from 0; got -1"),
    ({"amp": torch.float64}, "amp must be torch.bfloat16, torch.float16 or a GradScaler; got torch.float64"),
    ({"loss_fn": None}, "give one of the two"),
    ({"step_fn": lambda *_: 0}, "give one of the two"),
    ({"loader": []}, "the loader gives no batches"),
    ({"loader": 3}, "the loader must give batches, as a DataLoader or a list does; got int"),
    ({"loader": iter([(INPUTS, TARGETS)] * 2)}, "can be read once only.*verify=False"),
    ({"loader": [INPUTS] * 2}, r"a batch must be a pair \(input, target\); got a Tensor"),
    ({"loader": [(INPUTS, TARGETS, TARGETS)] * 2}, "got a tuple of 3"),
    ({"val_loader": iter([(INPUTS, TARGETS)])}, "val_loader can be read once only"),
    ({"val_loader": []}, "the val_loader gives no batches"),
    ({"loss_fn": lambda o, _: o}, r"the loss must be a tensor with one real number.*shape \[4, 3\]"),
    ({"loss_fn": lambda *_: 1.0}, "the loss must be a tensor.*got a float"),
    ({"loss_fn": lambda o, _: o.detach().sum()}, "the loss has no gradient"),
    ({"loss_fn": lambda o, _: o.sum() * math.nan}, "the loss was nan before any update"),
    ({"start": 1e30, "end": 1e31}, r"the first update, at rate 1e\+30, ended the test: the loss was (nan|inf); start lower"),
    ({"loader": iter([(INPUTS, TARGETS)] * 2), "accumulate": 2, "verify": False}, "the data end after the first update"),
    ({"loader": iter([(INPUTS, TARGETS)] * 2), "accumulate": 3, "verify": False}, "fewer than the 3 batches of an update"),
    ({"metric": lambda *_: torch.ones(2)}, r"the metric must be one real number; got a tensor of shape \[2\]"),
    ({"model": 3}, "the model must be a torch.nn.Module; got int"),
    ({"model": nn.Linear(6, 3)}, "the optimizer holds no parameter of this model"),
    ({"optimizer": 3}, "the optimizer must have param_groups with an lr each; got int"),
]


@pytest.mark.parametrize(("options", "said"), BAD)
def test_what_cannot_be_used_is_refused_with_nothing_changed(options, said):
    """A bad argument, loader, batch or loss is an error that says what must hold, and nothing has changed."""
    net, optimizer, loader = made("dropout", "Adam", 1)
    before = everything(net, optimizer, loader)
    given_ = {"model": net, "optimizer": optimizer, "loss_fn": functional.cross_entropy, "loader": loader, **options}
    with pytest.raises(InvalidInput, match=said):
        range_test(**given_, progress=False)
    assert everything(net, optimizer, loader) == before


class Single(IterableDataset):
    """One batch, of which no length tells."""

    def __iter__(self):
        yield INPUTS, TARGETS


SINGLE = {
    "a list": lambda: [(INPUTS, TARGETS)],
    "a DataLoader": lambda: DataLoader(TensorDataset(INPUTS, TARGETS), batch_size=4),
    "a stream without a length": lambda: DataLoader(Single(), batch_size=None),
    "an iterator": lambda: iter([(INPUTS, TARGETS)]),
}


@pytest.mark.parametrize("kind", SINGLE)
@pytest.mark.parametrize(
    "options", [{}, {"accumulate": 2}, {"val_loader": [(INPUTS, TARGETS)]}], ids=["alone", "accumulated", "a val_loader"]
)
def test_a_single_batch_is_refused_before_any_update(kind, options):
    """Whatever gives one batch and no more is an error that says how to train on all data at once, and nothing was done."""
    net, optimizer, _ = made("dropout", "Adam", 1)
    done = []
    optimizer.register_step_pre_hook(lambda *_: done.append(None))
    with pytest.raises(InvalidInput, match=r"a single batch.* pass list\(loader\) \* 2 to train on all data at once"):
        quick(net, optimizer, SINGLE[kind](), verify=False, **options)
    assert done == []


def test_models_with_nothing_to_train_are_refused():
    """A model whose parameters are all frozen, or lazy, is an error; so is a closure with a scaler."""
    net = nn.Linear(6, 3).requires_grad_(False)
    with pytest.raises(InvalidInput, match="no parameter to train"):
        quick(net, torch.optim.SGD(net.parameters(), lr=0.1), loader_of())
    lazy = nn.LazyLinear(3)
    with pytest.raises(InvalidInput, match="a lazy parameter without a shape; pass one batch through it first"):
        quick(lazy, torch.optim.SGD(lazy.parameters(), lr=0.1), loader_of())
    net = nn.Linear(6, 3)
    with pytest.raises(InvalidInput, match="LBFGS takes a closure, which a GradScaler can't"):
        quick(net, torch.optim.LBFGS(net.parameters()), loader_of(), amp=torch.amp.GradScaler("cpu"))


def test_an_empty_stream_is_refused():
    """A loader without a length that gives nothing is an error, found at its first batch."""
    net = nn.Linear(6, 3)
    with pytest.raises(InvalidInput, match="the loader gives no batches"):
        quick(net, torch.optim.SGD(net.parameters(), lr=0.1), iter([]), verify=False)


# What was found, where a rate alone would mislead


def spoilt(part, value):
    """Twelve batches, one number of which is no finite one."""
    generator = torch.Generator().manual_seed(5)
    inputs, targets = torch.randn(96, 6, generator=generator), torch.randn(96, 3, generator=generator)
    {"input": inputs, "target": targets}[part][50, 1] = value
    return list(zip(inputs.split(8), targets.split(8), strict=True))


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"start": 1e-7, "steps": 10}], ids=str)
@pytest.mark.parametrize(("part", "value"), [("input", math.nan), ("input", math.inf), ("target", math.nan)])
def test_a_number_that_is_not_finite_in_the_data_is_not_the_rates_doing(part, value, options):
    """A NaN or an infinity in one sample is an error that says where it is, and not advice to start lower."""
    net, optimizer, _ = made("dropout", "Adam", 0)
    with pytest.raises(
        InvalidInput, match=f"whatever the rate.* its {part} holds {'inf|nan' if value == math.inf else 'nan'}"
    ):
        quick(net, optimizer, spoilt(part, value), functional.mse_loss, verify=False, **options)


def test_a_gradient_that_is_not_finite_at_any_rate_is_not_the_rates_doing():
    """A loss whose gradient is NaN, as a root's at 0 is, is an error that points at the loss."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    with pytest.raises(InvalidInput, match="the gradient of a batch isn't finite: all its numbers are finite, so look at"):
        quick(
            net, optimizer, loader, lambda output, _: (output - output).sqrt().sum() + output.square().mean(), verify=False
        )


@pytest.mark.parametrize("verify", [True, False])
def test_a_loss_without_a_bottom_has_no_best_rate(verify):
    """A mean of logits falls without end, and there is no suggestion but a sentence that says so."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    found = quick(net, optimizer, loader, lambda output, _: output.mean(), steps=40, verify=verify)
    assert found.suggestion is None
    assert "The loss falls without end" in found.remark


@pytest.mark.parametrize("offset", [-3.0, -1e3, 1e3])
def test_what_is_added_to_a_loss_changes_no_suggestion(found, offset):
    """A negative loss, such as a density's, or one with a large constant in it has the suggestion of the loss itself."""
    moved = clear(lambda output, target: functional.cross_entropy(output, target) + offset)
    assert found.suggestion / 1.5 < moved.suggestion < 1.5 * found.suggestion


@pytest.mark.parametrize(("value", "said"), [(0.0, "nothing left to learn"), (1.5, "nothing that the optimizer moves")])
def test_a_constant_loss_is_said_to_be_one(value, said):
    """A loss that no rate changes, 0 from the start among them, is told as that, and no short trainings follow."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    found = quick(net, optimizer, loader, lambda output, _: (output * 0).sum() + value)
    assert (found.suggestion, found.trials) == (None, ())
    assert f"The loss stayed at {value:.4g}, whatever the rate" in found.remark
    assert said in found.remark


def test_a_loss_that_reaches_no_parameter_of_the_optimizers_is_refused():
    """A loss with a gradient for others than the optimizer's parameters is refused, and nothing has changed."""
    net, optimizer, loader = made("dropout", "Adam", 1)
    before = everything(net, optimizer, loader)
    with pytest.raises(InvalidInput, match="no parameter that the optimizer holds gets a gradient from this loss"):
        quick(net, optimizer, loader, lambda *_: torch.ones(1, requires_grad=True).sum())
    assert everything(net, optimizer, loader) == before


def test_an_optimizer_that_maximizes_goes_up(found):
    """With maximize=True the negative loss has the same suggestion as the loss, and the curve is turned."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, maximize=True)
    up = range_test(
        net, optimizer, lambda o, t: -functional.cross_entropy(o, t), loader_of(1200), progress=False, verify=False
    )
    assert up.suggestion == pytest.approx(found.suggestions["middle"], rel=0.5)
    assert "maximizes, so the losses shown are the negative of yours" in up.remark


class DAdaptAdam(torch.optim.Adam):
    """An optimizer of another package, by its name."""


@pytest.mark.parametrize("kind", [gradus.optim.Prodigy, DAdaptAdam])
def test_an_optimizer_that_finds_its_own_step_gets_no_rate(kind):
    """The rate of Prodigy and its kin is to stay at 1: there is no suggestion, and that is said."""
    net, _, loader = made("dropout", "SGD", 0)
    found = quick(net, kind(net.parameters()), loader, steps=40)
    assert (found.suggestion, found.trials) == (None, ())
    assert f"{kind.__name__} finds the length of its step itself" in found.remark
    assert "train with lr=1" in found.remark


def test_rates_beside_lr_and_groups_in_proportion_are_told():
    """Muon's adamw_lr stays as it is, other groups go along in proportion; what a schedule noted is no rate."""
    net, _, loader = made("dropout", "SGD", 0)
    optimizer = gradus.optim.Muon([{"params": [net[0].weight]}, {"params": [net[3].weight], "lr": 1e-4}])
    optimizer.param_groups[0]["initial_lr"] = 0.5
    remark = quick(net, optimizer, loader, verify=False).remark
    assert "Only lr was moved; adamw_lr=0.0003 stayed as set." in remark
    assert "kept in proportion, from 0.1 times that" in remark
    plain = quick(*made("dropout", "SGD", 0), verify=False).remark
    assert "moved" not in plain
    assert "proportion" not in plain


def test_a_highest_rate_that_learns_best_is_told():
    """Where the best rate is the end of the range, the remark says to look higher."""
    torch.manual_seed(0)
    net = nn.Linear(6, CLASSES)
    found = range_test(
        net, torch.optim.SGD(net.parameters(), lr=0.1), functional.cross_entropy, loader_of(1200), end=1e-2, progress=False
    )
    assert "Of the rates up to 0.01, the highest learned best; take a higher end." in found.remark


def test_groups_without_a_rate_or_of_two_directions_are_refused():
    """A rate of None, and groups of which one maximizes and another doesn't, are refused."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    optimizer.param_groups[0]["lr"] = None
    with pytest.raises(InvalidInput, match="each group's lr must be a number; SGD has None"):
        quick(net, optimizer, loader)
    groups = [{"params": [one], "maximize": index == 0} for index, one in enumerate(net.parameters())]
    with pytest.raises(InvalidInput, match="all groups must go the same way"):
        quick(net, torch.optim.SGD(groups, lr=0.1), loader)


# The rate of a run


class Bars:
    """What a bar is told."""

    def __init__(self):
        self.begun, self.steps = [], 0

    def begin(self, name, steps, number=None, about=None):
        self.begun.append((name, steps, number, about))

    def step(self, lr, loss):
        assert lr > 0
        assert math.isfinite(loss)
        self.steps += 1


FOUND = {
    "tensors": Run("diabetes", "AdamW"),
    "an optimizer by import path": Run("diabetes", "tiny:Signum"),
    "a step of its own": Run("example_tasks.dicts:task"),
    "groups, augmented by workers": Run("example_tasks.crops:task", groups={"*.bias": {"factor": 2.0}}),
    "accumulated in bfloat16, clipped": Run("diabetes", accumulate=2, precision="bfloat16", clip_norm=10.0),
    "float16": Run("diabetes", precision="float16"),
    "float64 by LBFGS": Run("diabetes", "LBFGS", precision="float64"),
}


@pytest.mark.parametrize("name", FOUND)
def test_the_rate_of_any_run_is_found_and_random_states_are_left_alone(name):
    """Whatever a run trains and asks for, its rate is looked for by its own step, the same each time."""
    task = load_task(FOUND[name].task)
    before = torch.get_rng_state(), random.getstate()
    found = [find_lr(FOUND[name], task, progress=False, steps=12, start=1e-4, verify=False, device="cpu") for _ in range(2)]
    assert (torch.get_rng_state().tolist(), random.getstate()) == (before[0].tolist(), before[1])
    assert found[0] == found[1]
    assert found[0].run == completed(FOUND[name], task)
    assert len(found[0].test.losses) > 4


def test_a_run_that_cannot_be_trained_has_no_rate():
    """What `train` would refuse is refused, and so is a training function, which no range test can step."""
    for run, message in [
        (Run("diabetes", options={"impulse": 1}), "impulse"),
        (Run("diabetes", groups={"nothing.*": "frozen"}), r"matches no parameter"),
        (Run("tiny:counting"), "is a training function"),
        (Run("diabetes", clip_norm=1.0, optimizer="LBFGS"), "can't be clipped"),
    ]:
        with pytest.raises(InvalidInput, match=message):
            find_lr(run, progress=False, device="cpu")
    with pytest.raises(InvalidInput, match="progress must be True, False, or a bar"):
        find_lr(Run("diabetes"), progress="yes", device="cpu")


def test_a_bar_hears_of_each_training_its_number_and_how_many_there_are_about():
    """Trainings are numbered from 1, and about how many there will be is said from the first on."""
    net, optimizer, loader = made("dropout", "SGD", 0)
    bar = Bars()
    range_test(net, optimizer, functional.cross_entropy, loader, steps=12, start=1e-3, progress=bar, seeds=2)
    assert [number for _, _, number, _ in bar.begun] == list(range(1, len(bar.begun) + 1))
    assert len({about for _, _, _, about in bar.begun}) == 1
    assert bar.begun[0][0] == "rising rate"
    assert bar.steps
    alone = Bars()
    range_test(net, optimizer, functional.cross_entropy, loader, steps=12, progress=alone, seeds=2, verify=False)
    assert [about for _, _, _, about in alone.begun] == [2, 2]


def test_findings_are_kept_side_by_side_and_found_for_the_like(tmp_path):
    """A file keeps one finding for each kind of run; a rate is taken for a run that differs in nothing that a rate depends
    on, and otherwise the first such difference is named.
    """
    place = tmp_path / FOUND_FILE
    (test,) = (one.test for one in findings(ASSETS / "range_v1.json"))
    runs = [completed(Run("diabetes", name), load_task("diabetes")) for name in ("SGD", "AdamW")]
    for rate, run in zip((0.5, 0.25), runs, strict=True):
        keep(place, Found(run, replace(test, suggestion=rate)))
    keep(place, Found(runs[0], replace(test, suggestion=0.125)))  # in the place of the first
    kept = findings(place)
    assert [one.run.optimizer for one in kept] == ["AdamW", "SGD"]
    assert [rate_found(kept, run.replace(lr=9.0, seed=3, length=7)) for run in runs] == [0.125, 0.25]
    assert rate_found(kept, runs[0].replace(optimizer="torch.optim.SGD")) == 0.125
    for change in ({"batch_size": 3}, {"clip_norm": 1.0}, {"task": "x"}, {"groups": {"*": "frozen"}}):
        (name,) = change
        with pytest.raises(InvalidInput, match=f"the rate was found for {name} .*, not .*; find it anew"):
            rate_found(kept, runs[0].replace(**change))
    with pytest.raises(InvalidInput, match="the range test found no rate: nothing"):
        rate_found([Found(runs[0], replace(test, suggestion=None, remark="nothing"))], runs[0])


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"gradus.found": 2, "found": []}', '{"gradus.found": 3, "found": [1]}', "\x80"]
)
def test_a_file_that_holds_no_findings_is_refused_and_never_lost(text, tmp_path):
    """What can't be read is refused in a sentence, and a new finding moves it aside instead of writing over it."""
    place = tmp_path / FOUND_FILE
    place.write_text(text)
    with pytest.raises(InvalidInput, match=r"holds no range test .*; run `gradus find` again"):
        findings(place)
    (found,) = findings(ASSETS / "range_v1.json")
    keep(place, found)
    assert findings(place) == [found]
    assert (tmp_path / f"{FOUND_FILE}.unreadable").read_text() == text


def test_a_file_of_findings_of_version_1_is_read(tmp_path):
    """What version 1 kept is a finding of a run with torch's optimizer; what is no such file is said to be none."""
    (found,) = findings(ASSETS / "range_v1.json")
    assert (found.run.task, found.run.optimizer, found.run.batch_size) == ("digits", "torch.optim.SGD", 64)
    assert 0 < rate_found([found], completed(Run("digits"), load_task("digits"))) < 1
    with pytest.raises(GradusError, match="run `gradus find` first"):
        findings(tmp_path / "none.json")
    for text in ("[]", "{}", '{"gradus.found": 2}', '{"gradus.found": 2, "found": [{"run": 3}]}', "["):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InvalidInput, match="holds no range test"):
            findings(tmp_path / "bad.json")
