"""Gradus in Lightning, as its users write it. `make frameworks` installs Lightning in an environment of its own."""

import warnings
from pathlib import Path

import pytest
import torch

pl = pytest.importorskip("lightning.pytorch", reason="make frameworks installs Lightning")

import gradus
from gradus.experiments import compare
from gradus.schedules import Constant, Cosine, Plateau, fraction, rest, warmup
from gradus.sweep import grid
from gradus.training import Context

# Lightning's advice about workers, loggers and short epochs says nothing of us.
pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning:lightning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)

BATCHES, EPOCHS = 5, 4
TOTAL = BATCHES * EPOCHS
INPUTS = torch.randn(BATCHES * 8, 6, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS.sum(1, keepdim=True)


class Regression(pl.LightningModule):
    """A linear model; `configure` makes its optimizer and scheduler, and each update's rate and each loss are kept."""

    def __init__(self, configure):
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.configure = torch.nn.Linear(6, 1), configure
        self.rates, self.reported = [], iter(())

    def training_step(self, batch, _):
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        inputs, targets = batch
        loss = torch.nn.functional.mse_loss(self.layer(inputs), targets)
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch, _):
        self.log("valid_loss", next(self.reported, 1.0))

    def configure_optimizers(self):
        return self.configure(self.parameters())


def loader():
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, TARGETS), batch_size=8)


def trained(module, *, folder, epochs=EPOCHS, resume=None, valid=False, **options):
    options = {"precision": "32-true", **options}
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        **options,
    )
    trainer.fit(module, loader(), loader() if valid else None, ckpt_path=resume, weights_only=False)
    return trainer


def per_update(schedule, **options):
    def configure(params):
        optimizer = gradus.optim.AdamW(params, lr=0.1)
        scheduler = gradus.Scheduler(optimizer, lr=schedule, **options)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return configure


def test_each_update_has_its_rate(tmp_path: Path) -> None:
    """Stepped by Lightning once an update, update t of a training has the base rate times schedule(t)."""
    schedule = warmup(5) >> Cosine(15, end=0.01)
    module = Regression(per_update(schedule))
    trained(module, folder=tmp_path)
    assert module.rates == [0.1 * schedule(t) for t in range(TOTAL)]


def test_a_template_takes_lightnings_count_of_steps(tmp_path: Path) -> None:
    """A template fits the run by the number of steps that Lightning estimates."""
    template = warmup(fraction(0.25)) >> Cosine(rest())

    def configure(params):
        optimizer = gradus.optim.SGD(params, lr=0.1)
        total = int(module.trainer.estimated_stepping_batches)
        scheduler = gradus.Scheduler(optimizer, lr=template, total_steps=total)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    module = Regression(configure)
    trained(module, folder=tmp_path)
    assert module.rates == [0.1 * template.resolve(total_steps=TOTAL)(t) for t in range(TOTAL)]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD"])
def test_the_drop_ins_train_as_torchs(name: str, tmp_path: Path) -> None:
    """Lightning with our optimizer and our drop-in scheduler trains to torch's weights."""

    def built(optim, schedulers):
        def configure(params):
            optimizer = getattr(optim, name)(params, lr=0.05)
            return [optimizer], [schedulers.CosineAnnealingLR(optimizer, EPOCHS)]

        module = Regression(configure)
        trained(module, folder=tmp_path)
        return module

    ours, torchs = built(gradus.optim, gradus.lr_scheduler), built(torch.optim, torch.optim.lr_scheduler)
    assert ours.rates == pytest.approx(torchs.rates, rel=1e-12)
    torch.testing.assert_close(ours.layer.weight, torchs.layer.weight)


def test_a_metric_reaches_a_plateau(tmp_path: Path) -> None:
    """With reduce_on_plateau, which has Lightning call step(metric), a plateau follows the metric that is monitored."""

    def configure(params):
        optimizer = gradus.optim.SGD(params, lr=0.1)
        scheduler = gradus.Scheduler(optimizer, lr=Constant() * Plateau(patience=0, factor=0.5))
        watched = {"scheduler": scheduler, "monitor": "valid_loss", "reduce_on_plateau": True}
        return {"optimizer": optimizer, "lr_scheduler": watched}

    module = Regression(configure)
    module.reported = iter([value for value in (3.0, 2.0, 2.5, 2.6) for _ in range(BATCHES)])
    trained(module, folder=tmp_path, valid=True, num_sanity_val_steps=0)
    assert module.rates[::BATCHES] == [0.1, 0.1, 0.1, 0.05]


def test_a_resumed_training_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    """A training that Lightning saves in its middle and resumes has the rates and the weights of one that ran through."""
    schedule = warmup(5) >> Cosine(15, end=0.01)
    whole = Regression(per_update(schedule))
    trained(whole, folder=tmp_path)

    first = Regression(per_update(schedule))
    trained(first, folder=tmp_path, epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    second = Regression(per_update(schedule))
    trained(second, folder=tmp_path, resume=tmp_path / "half.ckpt")
    assert first.rates + second.rates == whole.rates
    torch.testing.assert_close(second.layer.weight, whole.layer.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("on_change", "expected"),
    [("keep", lambda old, new, t: old(t)), ("new", lambda old, new, t: new(t)), ("splice", lambda old, new, t: new(t - 10))],
)
def test_a_changed_schedule_can_be_answered_where_it_is_built(on_change: str, expected, tmp_path: Path) -> None:
    """The load call is Lightning's, so on_change in the constructor says what a changed schedule means."""
    old, new = Cosine(20), Cosine(40, end=0.1)
    first = Regression(per_update(old))
    trained(first, folder=tmp_path, epochs=2).save_checkpoint(tmp_path / "half.ckpt")
    second = Regression(per_update(new, on_change=on_change))
    trained(second, folder=tmp_path, resume=tmp_path / "half.ckpt")
    assert second.rates == pytest.approx([0.1 * expected(old, new, t) for t in range(10, 20)])


@pytest.mark.parametrize("name", ["SGD", "AdamW", "Lion", "Adafactor"])
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_gradients_are_clipped_in_mixed_precision(name: str, precision: str, tmp_path: Path) -> None:
    """Lightning clips gradients in mixed precision, which it refuses to optimizers that say they unscale for themselves."""
    from lightning.pytorch.plugins import MixedPrecision

    module = Regression(lambda params: getattr(gradus.optim, name)(params, lr=1e-3))
    before = module.layer.weight.detach().clone()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trained(
            module,
            folder=tmp_path,
            epochs=1,
            precision=None,
            plugins=[MixedPrecision(precision, "cpu")],
            gradient_clip_val=0.5,
        )
    assert module.layer.weight.isfinite().all()
    assert not torch.equal(module.layer.weight, before)


def test_the_clipped_update_is_torchs(tmp_path: Path) -> None:
    """Under 16-mixed and Lightning's clipping, our SGD and torch's take the same updates."""
    from lightning.pytorch.plugins import MixedPrecision

    def weights(optim):
        module = Regression(lambda params: optim.SGD(params, lr=0.1, momentum=0.9))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained(
                module, folder=tmp_path, precision=None, plugins=[MixedPrecision("16-mixed", "cpu")], gradient_clip_val=0.1
            )
        return module.layer.weight

    torch.testing.assert_close(weights(gradus.optim), weights(torch.optim))


def test_sophia_estimates_in_mixed_precision(tmp_path: Path) -> None:
    """SophiaG needs no word of a scaler in bfloat16, where there is none, and in float16 has the same estimate with it."""
    from lightning.pytorch.plugins import MixedPrecision

    class Estimating(Regression):
        def on_before_optimizer_step(self, optimizer):
            scaler = self.trainer.precision_plugin.scaler
            optimizer.update_hessian(8, **({} if scaler is None else {"scaler": scaler}))

    def estimate(precision, scaler=None):
        module = Estimating(lambda params: gradus.optim.SophiaG(params, lr=1e-3))
        plugins = [MixedPrecision(precision, "cpu", scaler)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trained(module, folder=tmp_path, precision=None, plugins=plugins, gradient_clip_val=100.0)
        return module.optimizers().optimizer.state[module.layer.weight]["hessian"]

    half = estimate("16-mixed", torch.amp.GradScaler("cpu", init_scale=64.0))
    torch.testing.assert_close(half, estimate("bf16-mixed"), rtol=0.1, atol=0.0)


def fitted(run, context):
    """A training function around Lightning's Trainer: a fit for each epoch, going on from the file of the one before."""
    last = context.folder / "last.ckpt"
    done = torch.load(last, weights_only=False)["epoch"] if last.exists() else 0
    for epoch in range(done, EPOCHS):
        module = Regression(per_update(run.schedules["lr"]))
        trainer = trained(module, folder=context.folder, epochs=epoch + 1, resume=last if epoch else None)
        metrics = {"train/loss": float(trainer.callback_metrics["train_loss"])}
        yield {"step": trainer.global_step, "lr": module.rates[-1], **metrics}
        trainer.save_checkpoint(last)  # after the row: what is cut short between them gives it again


def test_a_training_function_around_the_trainer_is_compared(tmp_path: Path) -> None:
    """Run by `compare`, a function around Lightning's Trainer has a row an epoch, with the rates and the loss of one fit."""
    schedules = {"constant": Constant(), "cosine": Cosine(TOTAL)}
    runs = grid(gradus.Run(f"{__name__}:fitted", "AdamW", lr=0.1), schedules=schedules)
    comparison = compare(runs, executor="serial", out=tmp_path / "results")
    assert [one.status for one in comparison.runs] == ["finished", "finished"]
    for one, schedule in zip(comparison.runs, schedules.values(), strict=True):
        whole = trained(Regression(per_update(schedule)), folder=tmp_path)
        assert {row.step: row["lr"] for row in one.rows} == {t: 0.1 * schedule(t - 1) for t in range(5, 21, 5)}
        assert one.rows[-1]["train/loss"] == float(whole.callback_metrics["train_loss"])


def test_such_a_function_goes_on_from_its_file(tmp_path: Path) -> None:
    """Cut short after any row and begun anew in its folder, it gives that row again and all later ones as if never cut."""
    run = gradus.Run(f"{__name__}:fitted", "AdamW", lr=0.1, schedules=Cosine(TOTAL))
    contexts = []
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
        contexts.append(Context(torch.device("cpu"), tmp_path / name, None, lambda: False))
    whole = list(fitted(run, contexts[0]))
    cut = fitted(run, contexts[1])
    assert [next(cut), next(cut)] == whole[:2]
    cut.close()
    assert list(fitted(run, contexts[1])) == whole[1:]


def the_manuals_function(folder: Path):
    """The training function around Lightning in the manual's page on training, as a module of its own."""
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (code,) = (block.partition("```")[0] for block in page.split("```python\n") if "import lightning" in block)
    (folder / "manuals_lightning.py").write_text(code)
    return gradus.tasks.load("manuals_lightning:regression")


def test_a_loop_of_lightnings_is_a_training_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The manual's function around a Trainer gives a row an epoch, learns, and, stopped and taken up, ends with the same
    rows.
    """
    monkeypatch.chdir(tmp_path)
    function = the_manuals_function(tmp_path)
    run = gradus.Run(
        "manuals_lightning:regression", "AdamW", lr=0.1, schedules=Cosine(rest()), length=gradus.schedules.epochs(3)
    )
    whole = list(gradus.train(run, function, device=torch.device("cpu")))
    assert [(row.step, row["epoch"]) for row in whole] == [(8, 1), (16, 2), (24, 3)]
    assert whole[-1]["valid/loss"] < 0.5 * whole[0]["valid/loss"]
    seen = []

    def cut():
        with gradus.checkpoint.Checkpoints(tmp_path / "own") as checkpoints:
            seen.extend(
                gradus.train(
                    run,
                    function,
                    device=torch.device("cpu"),
                    checkpoints=checkpoints,
                    should_stop=lambda: len(seen) == 1,
                )
            )

    with pytest.raises(gradus.training.Stopped):
        cut()
    cut()
    assert sorted({row.step: row for row in seen}.items()) == [(row.step, row) for row in whole]
