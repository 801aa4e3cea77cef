"""Gradus in Transformers' Trainer, as its users write it. `make frameworks` installs it in an environment of its own."""

from pathlib import Path

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="make frameworks installs Transformers")
pytest.importorskip("accelerate", reason="make frameworks installs Accelerate with Transformers")

import gradus
from gradus.schedules import Constant, Cosine, Plateau, warmup

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")

TOTAL = 20
INPUTS = torch.randn(TOTAL * 8, 6, generator=torch.Generator().manual_seed(0))
DATA = [{"inputs": row, "labels": row.sum(0, keepdim=True)} for row in INPUTS]


class Regression(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(6, 1)

    def forward(self, inputs, labels):
        outputs = self.layer(inputs)
        return {"loss": torch.nn.functional.mse_loss(outputs, labels), "logits": outputs}


class Rates(transformers.TrainerCallback):
    """The rate of each update, as the Trainer's own callbacks see it."""

    def __init__(self):
        self.seen = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.seen.append(optimizer.param_groups[0]["lr"])


def trainer(folder: Path, schedule, *, callbacks=(), scheduler_options=None, **options):
    model, rates = Regression(), Rates()
    optimizer = gradus.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = gradus.Scheduler(optimizer, lr=schedule, **(scheduler_options or {}))
    arguments = transformers.TrainingArguments(
        str(folder),
        **{
            "per_device_train_batch_size": 8,
            "num_train_epochs": 1,
            "use_cpu": True,
            "report_to": [],
            "save_strategy": "no",
            "logging_strategy": "no",
            "disable_tqdm": True,
            **options,
        },
    )
    made = transformers.Trainer(
        model,
        arguments,
        train_dataset=DATA,
        eval_dataset=DATA[:8],
        optimizers=(optimizer, scheduler),
        callbacks=[rates, *(build(scheduler) for build in callbacks)],
    )
    return made, rates.seen


def test_each_update_has_its_rate(tmp_path: Path) -> None:
    """In a Trainer that is given optimizer and scheduler, update t has the base rate times schedule(t)."""
    schedule = warmup(5) >> Cosine(15, end=0.01)
    made, rates = trainer(tmp_path, schedule)
    made.train()
    assert rates == [0.1 * schedule(t) for t in range(TOTAL)]


@pytest.mark.parametrize("name", ["linear", "cosine", "constant_with_warmup", "inverse_sqrt", "polynomial"])
def test_its_own_names_give_its_own_rates(name: str, tmp_path: Path) -> None:
    """from_transformers gives every update the rate that the Trainer's own scheduler of that name gives."""
    schedule = gradus.from_transformers(name, num_warmup_steps=5, num_training_steps=TOTAL, lr=0.1)
    ours, rates = trainer(tmp_path, schedule)
    ours.train()
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    theirs = transformers.get_scheduler(name, optimizer, num_warmup_steps=5, num_training_steps=TOTAL)
    expected = []
    for _ in range(TOTAL):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates == pytest.approx(expected, rel=1e-12)


def test_accumulated_batches_are_one_update(tmp_path: Path) -> None:
    """Under accumulation the schedule moves once an update."""
    schedule = Cosine(5)
    made, rates = trainer(tmp_path, schedule, gradient_accumulation_steps=4)
    made.train()
    assert rates == [0.1 * schedule(t) for t in range(TOTAL // 4)]


def test_a_resumed_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    """A training resumed from the Trainer's own checkpoint has the rates and the weights of one that ran through."""
    schedule = warmup(5) >> Cosine(15, end=0.01)
    saving = {"save_strategy": "steps", "save_steps": 10}
    whole, rates = trainer(tmp_path, schedule, **saving)
    whole.train()
    again, later = trainer(tmp_path, schedule, **saving)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert later == rates[10:]
    torch.testing.assert_close(again.model.layer.weight, whole.model.layer.weight, rtol=0, atol=0)


def test_a_changed_schedule_can_be_answered_where_it_is_built(tmp_path: Path) -> None:
    """The load call is the Trainer's, so on_change in the constructor says what a changed schedule means."""
    saving = {"save_strategy": "steps", "save_steps": 10}
    first, _ = trainer(tmp_path, Cosine(20), **saving)
    first.train()
    second, rates = trainer(tmp_path, Cosine(40), scheduler_options={"on_change": "new"}, **saving)
    second.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    assert rates == [0.1 * Cosine(40)(t) for t in range(10, 20)]


def test_a_metric_reaches_a_plateau_through_a_callback(tmp_path: Path) -> None:
    """The Trainer steps per update; a callback's observe() has a plateau follow what it evaluates, warmup beside it."""
    metrics = iter([3.0, 3.5, 3.6, 2.0])

    class Observe(transformers.TrainerCallback):
        def __init__(self, scheduler):
            self.scheduler = scheduler

        def on_evaluate(self, args, state, control, **kwargs):
            self.scheduler.observe(next(metrics))

    schedule = (warmup(5) >> Constant()) * Plateau(patience=0, factor=0.5)
    made, rates = trainer(tmp_path, schedule, callbacks=[Observe], eval_strategy="steps", eval_steps=5)
    made.train()
    assert rates == [0.1 * factor * warmup(5)(t) for t, factor in enumerate([1.0] * 10 + [0.5] * 5 + [0.25] * 5)]


@pytest.mark.parametrize("scale_parameter", [True, False])
@pytest.mark.parametrize("pace", [{"relative_step": False, "lr": 0.02}, {}, {"warmup_init": True}], ids=str)
@pytest.mark.parametrize("beta1", [None, 0.9])
def test_adafactors_options_are_transformers(beta1, pace, scale_parameter):
    """Thirty updates under each of Adafactor's options go where Transformers' Adafactor goes."""
    shared = {"beta1": beta1, "scale_parameter": scale_parameter, "eps": (1e-30, 1e-3)}
    both = [[torch.nn.Parameter(torch.ones(shape) * 0.1) for shape in ((4, 3), (5,))] for _ in range(2)]
    ours = gradus.optim.Adafactor(both[0], d=1.5, beta2_decay=-0.7, **shared, **pace)
    theirs = transformers.optimization.Adafactor(both[1], clip_threshold=1.5, decay_rate=-0.7, **shared, **pace)
    for step in range(30):
        for some, optimizer in zip(both, (ours, theirs), strict=True):
            generator = torch.Generator().manual_seed(step)
            for param in some:
                param.grad = torch.randn(param.shape, generator=generator)
            optimizer.step()
    for a, b in zip(*both, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
