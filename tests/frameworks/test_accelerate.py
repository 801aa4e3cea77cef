"""Gradus in Accelerate, as its users write it. `make frameworks` installs Accelerate in an environment of its own."""

from pathlib import Path

import pytest
import torch

accelerate = pytest.importorskip("accelerate", reason="make frameworks installs Accelerate")

from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState, PartialState

import gradus
from gradus.schedules import Constant, Cosine, Plateau, warmup

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

INPUTS = torch.randn(160, 6, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS.sum(1, keepdim=True)
SCHEDULE = warmup(5) >> Cosine(15, end=0.01)


@pytest.fixture(autouse=True)
def _anew():
    """Accelerate's states are of a process: each test begins without any."""
    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()


def prepared(optim=gradus.optim, name="AdamW", *, accelerator=None, **options):
    accelerator = accelerator or Accelerator(cpu=True)
    torch.manual_seed(0)
    model = torch.nn.Linear(6, 1)
    optimizer = getattr(optim, name)(model.parameters(), lr=0.1)
    scheduler = gradus.Scheduler(optimizer, lr=options.pop("schedule", SCHEDULE), **options)
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=8)
    return accelerator, *accelerator.prepare(model, optimizer, data, scheduler)


def trained(accelerator, model, optimizer, data, scheduler, *, steps=None):
    """One epoch, or `steps` batches of it; the rate of each batch."""
    rates = []
    for index, (inputs, targets) in enumerate(data):
        if index == steps:
            break
        with accelerator.accumulate(model):
            rates.append(optimizer.param_groups[0]["lr"])
            accelerator.backward(torch.nn.functional.mse_loss(model(inputs), targets))
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return rates


def test_each_update_has_its_rate() -> None:
    """A prepared scheduler gives update t the base rate times schedule(t)."""
    assert trained(*prepared()) == [0.1 * SCHEDULE(t) for t in range(20)]


def test_accumulated_batches_are_one_update() -> None:
    """Under accumulation the schedule moves once an update, however often step() is called."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    rates = trained(*prepared(accelerator=accelerator))
    assert rates == [0.1 * SCHEDULE(t // 4) for t in range(20)]


@pytest.mark.parametrize("optim", [gradus.optim, torch.optim], ids=["ours", "torch's"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_updates_are_counted_on_a_prepared_optimizer(optim, accumulate: int) -> None:
    """count_updates=True takes what prepare() gives, which wraps the optimizer and has none of torch's hooks."""
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model = torch.nn.Linear(6, 1)
    model, optimizer = accelerator.prepare(model, optim.AdamW(model.parameters(), lr=0.1))
    data = accelerator.prepare(torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=8))
    scheduler = gradus.Scheduler(optimizer, lr=SCHEDULE, count_updates=True)
    assert trained(accelerator, model, optimizer, data, scheduler) == [0.1 * SCHEDULE(t // accumulate) for t in range(20)]


def test_a_saved_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    """save_state and load_state in mid-training: the rates and the weights of a training that ran through."""
    whole = prepared()
    rates = trained(*whole)
    first = prepared()
    before = trained(*first, steps=8)
    first[0].save_state(str(tmp_path / "state"))
    accelerator, model, optimizer, data, scheduler = prepared()
    accelerator.load_state(str(tmp_path / "state"))
    after = trained(accelerator, model, optimizer, accelerator.skip_first_batches(data, 8), scheduler)
    assert before + after == rates
    torch.testing.assert_close(model.weight, whole[1].weight, rtol=0, atol=0)


def test_a_changed_schedule_can_be_answered_where_it_is_built(tmp_path: Path) -> None:
    """The load call is Accelerate's, so on_change in the constructor says what a changed schedule means."""
    first = prepared()
    trained(*first, steps=8)
    first[0].save_state(str(tmp_path / "state"))
    longer = warmup(5) >> Cosine(35, end=0.01)
    accelerator, *rest = prepared(schedule=longer, on_change="new")
    accelerator.load_state(str(tmp_path / "state"))
    assert rest[1].param_groups[0]["lr"] == 0.1 * longer(8)


def test_a_metric_reaches_a_plateau() -> None:
    """A prepared scheduler passes step(metric) on, and a plateau follows it."""
    _, _, optimizer, _, scheduler = prepared(name="SGD", schedule=Constant() * Plateau(patience=0, factor=0.5))
    for metric in (3.0, torch.tensor(3.5)):
        optimizer.step()
        scheduler.step(metric)
    assert optimizer.param_groups[0]["lr"] == 0.05
