"""Laws of a task's loss, metrics and objective: what is judged by is what was meant, and nothing else passes unnoticed."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score
from torch import Tensor, nn
from torch.nn import functional

from gradus import checkpoint
from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.tasks import R2, Objective, Outcome, Perplexity, Scores, Task, accuracy, check_task, examples_in, load_task
from gradus.tasks.metrics import Accumulating

N = 40
X = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
REAL, CLASSES = X.sum(1, keepdim=True), X.argmax(1)


def regression(**changes: Any) -> Task:
    settings = {"train": (X, REAL), "test": (X, REAL), "loss": functional.mse_loss, "model": lambda: nn.Linear(3, 1)}
    return Task("mine", **(settings | changes))


def classification(**changes: Any) -> Task:
    settings = {"train": (X, CLASSES), "test": (X, CLASSES), "model": lambda: nn.Linear(3, 3)}
    return Task("mine", **(settings | changes))


# Metrics


class Spread:
    """A metric as torchmetrics has them: its states are listed, and hidden from `state_dict`."""

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.seen.append((outputs - targets).flatten())
        self._update_count += 1

    def compute(self) -> Tensor:
        return torch.cat(self.seen).std()

    def reset(self) -> None:
        self.seen: list[Tensor] = []
        self._update_count = 0

    @property
    def metric_state(self) -> dict[str, Any]:
        return {"seen": self.seen}

    @property
    def update_count(self) -> int:
        return self._update_count

    def state_dict(self) -> dict[str, Any]:
        return {}


class Plain:
    """A metric of a user's own, without a word on its state."""

    def __init__(self) -> None:
        self.reset()

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self.most = max(self.most, float((outputs - targets).abs().max()))

    def compute(self) -> float:
        return self.most

    def reset(self) -> None:
        self.most = 0.0


METRICS: dict[str, Callable[[], Any]] = {
    "for each example": lambda: lambda outputs, targets: (outputs - targets).abs().squeeze(1),
    "right or wrong": lambda: lambda outputs, targets: (outputs.sign() == targets.sign()).squeeze(1),
    "for the batch": lambda: functional.l1_loss,
    "a float": lambda: lambda outputs, targets: float(functional.l1_loss(outputs, targets)),
    "NumPy's": lambda: lambda outputs, targets: np.abs((outputs - targets).numpy()).mean(),
    "R2": R2,
    "as torchmetrics": Spread,
    "a plain object": Plain,
}


def scored(task: Task, sizes: list[int], between: Callable[[Scores], Scores] = lambda scores: scores) -> dict[str, float]:
    """The scores of outputs and targets that come in batches of these sizes."""
    scores = Scores(task.metrics or {})
    outputs = REAL + torch.linspace(-1, 1, N).unsqueeze(1) ** 3
    for output, target in zip(outputs.split(sizes), REAL.split(sizes), strict=True):
        scores.add(Outcome(functional.mse_loss(output, target), output, target, {}), len(output))
        scores = between(scores)
    return scores.values()


SIZES = st.lists(st.integers(1, N - 1), max_size=6).map(lambda cuts: np.diff([0, *sorted(set(cuts)), N]).tolist())


@pytest.mark.parametrize("kind", METRICS)
@settings(max_examples=15)
@given(sizes=SIZES)
def test_batches_make_no_difference(kind: str, sizes: list[int]) -> None:
    """The loss and each metric over examples in batches of any sizes are those over all examples at once."""
    task = regression(metrics={"it": METRICS[kind]()})
    whole, parts = scored(task, [N]), scored(task, sizes)
    assert parts == pytest.approx(whole, rel=1e-5)
    assert list(parts) == ["loss", "it"]


@pytest.mark.parametrize("kind", METRICS)
def test_scores_go_on_from_where_they_were_saved(kind: str, tmp_path: Any) -> None:
    """Scores that are saved in a checkpoint and taken up after each batch are, bit for bit, those that never were."""
    task = regression(metrics={"it": METRICS[kind]()})

    def saved_and_loaded(scores: Scores) -> Scores:
        checkpoint.save(tmp_path / "it.ckpt", position=0, model=nn.Linear(1, 1), extra=scores.state_dict())
        scores.add(Outcome(torch.tensor(9.0), REAL, -REAL, {}), N)  # what was saved doesn't follow
        fresh = Scores(task.metrics or {})
        fresh.load_state_dict(checkpoint.load(tmp_path / "it.ckpt", model=nn.Linear(1, 1)).extra)
        return fresh

    assert scored(task, [7, 16, 1, 16], saved_and_loaded) == scored(task, [7, 16, 1, 16])


@pytest.mark.parametrize("kind", METRICS)
def test_scores_share_nothing(kind: str) -> None:
    """Scores of one task don't see each other's batches, and start anew after `reset`."""
    task = regression(metrics={"it": METRICS[kind]()})
    expected = scored(task, [N])
    one = Scores(task.metrics or {})
    one.add(Outcome(torch.tensor(1.0), REAL, -REAL, {}), N)
    assert scored(task, [N]) == expected
    one.reset()
    assert one.values() == {}


@pytest.mark.parametrize("columns", [1, 3])
def test_r2_is_scikit_learns(columns: int) -> None:
    """R² is scikit-learn's, of one target to an example or of several, and far from zero too."""
    targets = torch.randn(50, columns, generator=torch.Generator().manual_seed(1)) + 1e4
    outputs = targets + torch.randn(50, columns, generator=torch.Generator().manual_seed(2)) / 2
    metric = R2()
    for part in zip(outputs.split(7), targets.split(7), strict=True):
        metric.update(*part)
    assert metric.compute() == pytest.approx(r2_score(targets.double(), outputs.double()), rel=1e-6)
    assert isinstance(metric, Accumulating)
    flat = R2()
    flat.update(outputs[:, 0], targets[:, 0])
    assert flat.compute() == pytest.approx(r2_score(targets[:, 0].double(), outputs[:, 0].double()), rel=1e-6)


def test_r2_of_equal_targets_is_no_number() -> None:
    """Where all targets are alike, or there are none, there is no R²; and shapes that differ are refused."""
    metric = R2()
    assert math.isnan(metric.compute())
    metric.update(torch.randn(5, 1), torch.ones(5, 1))
    assert math.isnan(metric.compute())
    with pytest.raises(InvalidInput, match=r"R2 takes outputs and targets of one shape; .*targets.unsqueeze\(1\)"):
        metric.update(torch.zeros(5, 1), torch.zeros(5))


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_perplexity_is_of_all_tokens_together(sizes: list[int]) -> None:
    """Perplexity is e to the mean cross-entropy over all tokens, however they come in batches."""
    scores, tokens = torch.randn(sum(sizes), 4, 6), torch.randint(0, 6, (sum(sizes), 4))
    metric = Perplexity()
    for part in zip(scores.split(sizes), tokens.split(sizes), strict=True):
        metric.update(*part)
    expected = functional.cross_entropy(scores.flatten(0, 1).double(), tokens.flatten()).exp()
    assert metric.compute() == pytest.approx(float(expected), rel=1e-5)


def test_numbers_beyond_all_bounds_are_reported() -> None:
    """A loss that is no finite number gives means that are none, and no error."""
    for values, expected in (([1.0, math.inf], math.inf), ([math.inf, -math.inf], math.nan), ([1.0, math.nan], math.nan)):
        scores = Scores({})
        for value in values:
            scores.add(Outcome(torch.tensor(value), None, None, {}), 2)
        assert scores.values()["loss"] == pytest.approx(expected, nan_ok=True)
    metric = Perplexity()
    metric.update(torch.tensor([[0.0, 5000.0]]), torch.tensor([0]))
    assert metric.compute() == math.inf


# The objective


@given(st.text("ab/ _", min_size=1).filter(lambda name: name.strip() == name), st.booleans())
def test_an_objective_is_read_as_it_is_written(name: str, maximize: bool) -> None:
    """An objective's text is read back as an equal objective."""
    assert Objective.parse(str(Objective(name, maximize))) == Objective(name, maximize)


@given(st.floats(), st.floats(), st.booleans())
def test_better_is_an_order(one: float, other: float, maximize: bool) -> None:
    """Of two different values one is better; NaN never is, and no number is worse than the worst."""
    objective = Objective("valid/loss", maximize)
    assert not (objective.better(one, other) and objective.better(other, one))
    if one != other and not math.isnan(one):
        assert objective.better(one, other) or objective.better(other, one)
    assert not objective.better(math.nan, other)
    assert not objective.better(objective.worst, other) or math.isnan(other)
    if not math.isnan(one) and not math.isnan(other):
        assert objective.better(one, other) == (one > other if maximize else one < other)


def test_test_stands_in_where_nothing_is_held_out() -> None:
    """Where a run holds nothing out, what is named of valid is looked for in test; other names stay."""
    objective = Objective.parse("valid/loss min")
    assert objective.among(Run("digits", valid=False)).name == "test/loss"
    assert objective.among(Run("digits")) == objective
    assert Objective("train/loss", False).among(Run("digits", valid=False)).name == "train/loss"


@pytest.mark.parametrize("text", ["valid/loss", "min", "valid/loss maximum", "", 3, None, "valid/lossmin", " max"])
def test_an_objective_says_which_way_is_up(text: Any) -> None:
    """What isn't a name and "min" or "max" is refused."""
    with pytest.raises(InvalidInput, match='is a number\'s name and "min" or "max", such as "valid/accuracy max"; got'):
        Objective.parse(text)


USUAL: list[tuple[Callable[[], Task], list[str], str]] = [
    (classification, ["accuracy"], "valid/accuracy max"),
    (
        lambda: Task("mine", *[[(x, int(y)) for x, y in zip(X, CLASSES, strict=True)]] * 2, model=nn.Identity),
        ["accuracy"],
        "",
    ),
    (lambda: Task("mine", *[lambda seed, epoch: [(X, CLASSES)]] * 2, model=nn.Identity), ["accuracy"], ""),  # noqa: ARG005
    (regression, [], "valid/loss min"),
    (lambda: classification(metrics={}), [], "valid/loss min"),
    (lambda: classification(step=lambda *_: None), [], "valid/loss min"),
    (lambda: regression(metrics={"r2": R2()}, objective="valid/r2 max"), ["r2"], "valid/r2 max"),
    (lambda: Task("mine", (X, X.long()), (X, X.long()), model=nn.Identity), [], "valid/loss min"),
]


@pytest.mark.parametrize(("make", "metrics", "objective"), USUAL)
def test_classes_have_an_accuracy_and_nothing_else_has(make: Callable[[], Task], metrics: list[str], objective: str) -> None:
    """Where targets are classes, of any kind of data, the accuracy is measured and judged by; elsewhere the loss is."""
    task = make()
    assert list(task.metrics or {}) == metrics
    assert str(task.objective) == (objective or "valid/accuracy max")


# What doesn't fit together


class Pair(nn.Linear):
    """A model that returns a tuple."""

    def forward(self, inputs: Tensor) -> Any:
        return super().forward(inputs), inputs


class Objects(nn.Linear):
    """A model that returns an object, as transformers' do."""

    def __init__(self) -> None:
        super().__init__(3, 3)

    def forward(self, inputs: Tensor) -> Any:
        return SimpleNamespace(logits=super().forward(inputs))


def hidden(outputs: Tensor, targets: Tensor) -> Tensor:
    return ((outputs - targets) ** 2).mean()


FLAT = (X, REAL[:, 0])  # targets [n], where the model gives [n, 1]
UNFIT: dict[str, tuple[Callable[[], Task], str]] = {
    "torch's loss broadcasts": (
        lambda: regression(train=FLAT, valid=FLAT),
        r"the loss can't take outputs float32 \[\*, 1\] and targets float32 \[\*\], which torch would broadcast; let",
    ),
    "a loss of one's own broadcasts": (
        lambda: regression(loss=hidden, train=FLAT, valid=FLAT),
        r"the loss compares outputs float32 \[\*, 1\] with targets float32 \[\*\], which gives \[n, n\]; .*unsqueeze\(1\)",
    ),
    "a metric broadcasts": (
        lambda: regression(metrics={"mean": lambda outputs, targets: hidden(outputs[:, 0], targets)}),
        r"the metric 'mean' compares outputs float32 \[\*\] with targets float32 \[\*, 1\], which gives \[n, n\]",
    ),
    "a metric of what is derived broadcasts": (
        lambda: classification(metrics={"a": lambda out, y: (out.argmax(1, keepdim=True) == y + 0).float().mean()}),
        r"the metric 'a' compares outputs int64 \[\*, 1\] with targets int64 \[\*\]",
    ),
    "a metric of [n, 1]": (
        lambda: regression(metrics={"error": lambda outputs, targets: outputs - targets}),
        r"'error' must give one number for the batch, or one for each of its 5 .*; it gave float32 \[\*, 1\]: .*mean",
    ),
    "a metric that is text": (
        lambda: regression(metrics={"a": lambda *_: "good"}),
        "'a' must give one number .* it gave str",
    ),
    "a metric that fails": (
        lambda: regression(metrics={"a": lambda out, y: out.nothing(y)}),
        "the metric 'a' can't take outputs .*: AttributeError: 'Tensor' object has no attribute 'nothing'",
    ),
    "an object that computes several": (
        lambda: regression(metrics={"a": type("Two", (Plain,), {"compute": lambda _: [1, 2]})()}),
        "the metric 'a' must compute one number; it gave",
    ),
    "the accuracy of a regression": (
        lambda: regression(metrics={"accuracy": accuracy}),
        r"accuracy takes scores \[n, classes\] and classes \[n\]; got .*; give the task metrics of its own, or metrics=\{\}",
    ),
    "a model that returns a tuple": (
        lambda: classification(model=lambda: Pair(3, 3)),
        r"the loss can't take outputs \(float32 .*the model returned a tuple, .*let the model return one tensor, .*step=",
    ),
    "a model that returns an object": (
        lambda: classification(model=Objects),
        "the model returned a SimpleNamespace, .*loss= and metrics= that take what it returns, or step=",
    ),
    "a model of other inputs": (
        lambda: classification(model=lambda: nn.Linear(4, 3)),
        r"the model can't take inputs of a batch of \(float32 \[\*, 3\], int64 \[\*\]\): RuntimeError: mat1 and mat2",
    ),
    "classes of another dtype": (
        lambda: classification(train=(X, CLASSES.int()), valid=(X, CLASSES.int())),
        r"the loss can't take .*int32 \[\*\]: RuntimeError: .*classes are int64, as .long\(\) makes them",
    ),
    "a loss for each example": (
        lambda: regression(loss=lambda outputs, targets: (outputs - targets).abs()),
        r"the loss of task 'mine' must give one real number for a batch, a mean over .*; it gave float32 \[\*, 1\]",
    ),
    "a loss that left torch": (
        lambda: regression(loss=lambda outputs, targets: hidden(outputs, targets).detach().clone()),
        "the loss of task 'mine' has no gradient: it must depend on parameters that aren't frozen",
    ),
    "a step that gives nothing": (
        lambda: classification(step=lambda *_: None),
        "the step of task 'mine' must give one real",
    ),
    "a step that gives a list": (
        lambda: classification(step=lambda model, batch: (hidden(model(batch[0]), 0), [1])),
        r"the step of task 'mine' must return a loss, or \(loss, \{\"name\": value\}\); got \(float32 \[\], \(int\)\)",
    ),
    "a step that gives the loss twice": (
        lambda: classification(step=lambda model, batch: (hidden(model(batch[0]), 0), {"loss": 1.0})),
        "the step of task 'mine' names a number \"loss\", which is the loss itself; leave it out",
    ),
    "a step without the objective": (
        lambda: classification(
            step=lambda model, batch: (hidden(model(batch[0]), 0), {"f1": 1.0}), objective="valid/accuracy max"
        ),
        r"judged by 'valid/accuracy', and its metrics are f1; let step return \(loss, \{'accuracy': value\}\), or",
    ),
    "batches that are no pairs": (
        lambda: Task("mine", [{"x": x} for x in X], [{"x": x} for x in X], model=lambda: nn.Linear(3, 1)),
        r"must be \(inputs, targets\); got \{'x': float32 \[\*, 3\]\}; for batches of another kind give step=",
    ),
    "an augmentation of other arguments": (
        lambda: classification(augment=lambda batch: batch),
        r"augment fails .*generator\)",
    ),
    "a split that differs from the others": (
        lambda: classification(valid=(X[:, :2], CLASSES)),
        "the model can't take inputs",
    ),
    "test data that can't be had": (
        lambda: classification(test=[None], metrics={}),
        "the items 0 can't be made into a batch",
    ),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_what_does_not_fit_is_refused_before_training(kind: str) -> None:
    """Parts of a task that don't fit together are one sentence with the way out, found with a few examples."""
    make, message = UNFIT[kind]
    task = make()
    with pytest.raises(InvalidInput, match=message) as caught:
        check_task(task, task.model())
    assert "\n" not in str(caught.value)


AT_ONCE: list[tuple[Callable[[], Task], str]] = [
    (
        lambda: regression(objective="valid/accuracy max"),
        "is judged by 'valid/accuracy', and it has no metrics; give",
    ),
    (lambda: classification(objective="valid/acuracy max"), r"its metrics are accuracy \(did you mean accuracy\?\)"),
    (lambda: classification(objective="accuracy max"), "is a loss or metric of a split, such as valid/loss; got 'accuracy'"),
    (lambda: classification(objective="vaild/loss min"), r"got 'vaild/loss' \(did you mean valid/loss\?\)"),
    (lambda: classification(metrics=[accuracy]), r"metrics are given by name, such as \{"),
    (lambda: classification(metrics={"loss": accuracy}), "a metric's name must be text, and not \"loss\"; got 'loss'"),
    (lambda: classification(metrics={"r2": R2}), r"the metric 'r2' must be a function .*, or an object with update"),
    (lambda: classification(metrics={"a": 3}), "the metric 'a' must be a function"),
    (lambda: classification(step=lambda *_: None, metrics={"accuracy": accuracy}), "so metrics come from it"),
    (lambda: classification(model=nn.Linear(3, 3)), "model must make a fresh network at each call"),
    (lambda: classification(augment=0.5), "augment must be a function; got 0.5"),
    (lambda: classification(collate=list), "collate= joins the items of a Dataset, and no split is one; leave it out"),
    (lambda: classification(workers=-1), "workers must be a whole number from 0; got -1"),
    (lambda: classification(workers=True), "workers must be a whole number from 0; got True"),
    (lambda: classification(valid=1.5), r"valid must be data, or the part of train to hold out, in \(0, 1\); got 1.5"),
    (lambda: classification(lr=0), "the learning rate must be a finite number above 0"),
    (lambda: classification(length=0), "length must be a whole number of updates from 1, or"),
    (lambda: classification(batch_size=0), "batch_size must be a whole number from 1"),
    (lambda: classification(options={"lr": 1}), "the learning rate is the run's lr"),
    (lambda: classification(groups={"a": 1}), "group 'a' must be"),
    (lambda: classification(optimizer="\n"), "optimizer must be one line"),
    (lambda: classification().data("val"), r"a task has the splits train, valid, test; got 'val' \(did you mean valid\?\)"),
    (lambda: classification().data("valid", valid=False), "a run with valid=False holds no examples of task 'mine' out"),
    (
        lambda: Task("mine", (X[:1], REAL[:1]), (X, REAL), model=nn.Identity).data("train"),
        "give more, or valid data of its own",
    ),
    (
        lambda: Task("mine", lambda seed, epoch: [(X, REAL)], (X, REAL), model=nn.Identity).data("train"),  # noqa: ARG005
        "no part of task 'mine': 'train' can be held out .* for it is a function; give the task valid= .*, or train with",
    ),
]


@pytest.mark.parametrize(("make", "message"), AT_ONCE)
def test_what_can_be_known_at_once_is_refused_at_once(make: Callable[[], Any], message: str) -> None:
    """An argument that can't be used, or an objective that no row would have, is refused where it is given."""
    with pytest.raises(InvalidInput, match=message):
        make()


def ranking(outputs: Tensor, targets: Tensor) -> Tensor:
    """A loss over pairs, which broadcasts on purpose."""
    scores, wanted = outputs.squeeze(1), targets.squeeze(1)
    return functional.softplus(-(scores - scores[:, None]) * (wanted - wanted[:, None]).sign()).mean()


FIT: dict[str, Callable[[], Task]] = {
    "a classification": classification,
    "a regression": lambda: regression(metrics={"r2": R2(), "mae": functional.l1_loss, "worst": Plain()}),
    "a loss over pairs": lambda: regression(loss=ranking),
    "a loss that squeezes": lambda: Task(
        "mine", FLAT, FLAT, model=lambda: nn.Linear(3, 1), loss=lambda out, y: functional.mse_loss(out.squeeze(1), y)
    ),
    "a loss of a tuple": lambda: classification(
        model=lambda: Pair(3, 3), metrics={}, loss=lambda outputs, targets: functional.cross_entropy(outputs[0], targets)
    ),
    "numbers in double precision": lambda: Task(
        "mine", (X.double().numpy(), CLASSES.numpy()), (X.double(), CLASSES), model=lambda: nn.Linear(3, 3)
    ),
    "Python's numbers": lambda: Task(
        *("mine", [(x, float(y)) for x, y in zip(X, REAL, strict=True)], (X, REAL[:, 0]), 0.5),
        model=lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)),
        loss=functional.mse_loss,
    ),
    "one example": lambda: Task("mine", *[(X[:1], REAL[:1])] * 3, model=lambda: nn.Linear(3, 1), loss=functional.mse_loss),
    "prepared and augmented": lambda: Task(
        *("mine", (X.byte(), CLASSES), (X.byte(), CLASSES)),
        model=lambda: nn.Linear(3, 3),
        prepare=lambda inputs: inputs / 255,
        augment=lambda batch, generator: (batch[0].roll(int(torch.randint(3, (), generator=generator)), 1), batch[1]),
    ),
}


@pytest.mark.parametrize("kind", FIT)
def test_what_fits_passes_and_leaves_no_trace(kind: str) -> None:
    """Tasks of all kinds pass the check, which moves no generator and no parameter."""
    task = FIT[kind]()
    model, state = task.model(), torch.get_rng_state()
    before = copy.deepcopy(model.state_dict())
    check_task(task, model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_double_precision_is_kept_where_it_is_asked_for() -> None:
    """Inputs and targets come in the precision that is asked for, whatever they are stored in."""
    task, model = regression(), nn.Linear(3, 1).double()
    outcome = task.loss_of(model, next(task.data("train").batches(0, 0, 8)), torch.float64)
    assert {outcome.loss.dtype, outcome.outputs.dtype, outcome.targets.dtype} == {torch.float64}


# Digests of tasks

OWN = """
import torch
from gradus_test_helper import network
from gradus.tasks import Task

def task():
    split = torch.ones(5, 2), torch.zeros(5, dtype=torch.int64)
    return Task("own", split, split, model=lambda: network(2))
"""


HELPER = "from torch import nn\nnetwork = lambda n: nn.Linear(n, 2)\n"


def test_an_edited_source_changes_the_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change in a task's file, or in a file that it imports, changes the digest of its source, and none of its data."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {"gradus_test_own": OWN, "gradus_test_helper": HELPER}
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text)
    task = load_task("gradus_test_own:task")
    first = task.source_digest(), task.data_digest(), task.digest()
    for name, text in files.items():
        (tmp_path / f"{name}.py").write_text(text + "# a word\n")
        assert task.source_digest() != first[0]
        assert (task.data_digest(), task.digest() != first[2]) == (first[1], True)
        (tmp_path / f"{name}.py").write_text(text)
        assert (task.source_digest(), task.data_digest(), task.digest()) == first
    for file in tmp_path.glob("*.py"):
        file.unlink()  # it is still imported
    assert task.source_digest() != first[0]


@pytest.mark.parametrize("name", ["digits", "diabetes", "topics"])
def test_a_task_that_ships_has_the_same_digest_each_time(name: str) -> None:
    """Of a task that ships, the digest is the same each time, and a changed number of its data changes it."""
    task = load_task(name)
    assert load_task(name).digest() == task.digest()
    inputs, targets = task.train
    changed = inputs.clone()
    changed[0] += 1
    assert replace(task, train=(changed, targets)).digest() != task.digest()
    assert replace(task, valid=0.2).data_digest() != task.data_digest()


def test_held_out_examples_are_no_seeds() -> None:
    """What is held out is a tenth of the training data unless a task says otherwise, and no example is in both parts."""
    task = load_task("digits")
    assert (task.data("train").examples, task.data("valid").examples) == (1293, 144)
    assert task.data("train", valid=False).examples == 1437
    assert replace(task, valid=0.5).data("valid").examples == 718
    own = replace(task, valid=task.test)
    assert (own.data("train").examples, own.data("train", valid=False).examples, own.data("valid").examples) == (
        1437,
        1437,
        360,
    )


def test_tokens_are_counted_by_the_update() -> None:
    """A task of rows of tokens says how many there are in an update; others say nothing."""
    assert load_task("topics").tokens_per_step(8, 2) == 64 * 16
    assert load_task("digits").tokens_per_step(8) is None


def test_chance_is_the_most_frequent_class() -> None:
    """The accuracy of always naming one class is known where classes are in memory, and nowhere else."""
    counts = CLASSES.bincount()
    assert classification().chance() == float(counts.max()) / N
    assert regression().chance() is None
    assert classification(metrics={}).chance() is None


def test_examples_are_learned_from_as_they_come() -> None:
    """A batch of lists, as torch's collate makes them, is a pair like any other."""
    task = classification()
    batch = [X[:4], CLASSES[:4]]
    assert task.loss_of(task.model(), batch).loss.shape == ()
    assert examples_in(batch) == 4
