"""Laws of names that people type: the nearest known one is offered, and an import path means the same everywhere."""

import importlib
import inspect
import re
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.completer import IPCompleter

import gradus
from gradus.errors import InvalidInput
from gradus.names import current_folder_first, did_you_mean, hinting, imported
from gradus.schedules import Cosine, Schedule, epochs, parse, warmup
from gradus.sweep import reference_runs
from gradus.training import pick_device
from gradus.training.optimizers import build_optimizer, default_rate

KNOWN = ["Cosine", "CosineRestarts", "Linear", "weight_decay", "fashion-mnist", "AdamW", "Adam"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("Cosne", "Cosine"), ("adamw", "AdamW"), ("weightDecay", "weight_decay"), ("fashion_mnist", "fashion-mnist")],
)
def test_a_slip_of_the_fingers_gets_the_name_that_was_meant(typed, meant):
    """Letters left out or swapped, another case, and another kind of dash lead to the known name."""
    assert did_you_mean(typed, KNOWN) == f" (did you mean {meant}?)"


@given(st.text(max_size=200))
def test_a_hint_names_a_known_name_or_nothing(typed):
    """Whatever is typed, what is offered is one of the known names, or there is no hint."""
    assert did_you_mean(typed, KNOWN) in ("", *(f" (did you mean {one}?)" for one in KNOWN))


@pytest.mark.parametrize("typed", ["", "xyz", "Cosne" * 100, 3, None])
def test_what_is_near_to_nothing_gets_no_hint(typed):
    """Where no known name is near, or what was typed is no name, there is no hint."""
    assert did_you_mean(typed, KNOWN) == ""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with a module of the user's; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_names.py").write_text(
        "import own_helper\n\nclass Deep:\n    inside = 7\n\ndef saw(t):\n    return t % 2\n"
    )
    (tmp_path / "own_helper.py").write_text("")
    (tmp_path / "own_broken.py").write_text("\nimport not_there_at_all\n")
    (tmp_path / "own_torn.py").write_text("def f(:\n")
    (tmp_path / "own_script.py").write_text("import sys\nsys.exit(3)\n")
    (tmp_path / "own_failing.py").write_text("def f():\n    raise OSError('no\\nway')\nf()\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_an_import_path_is_found_in_the_current_folder(folder):
    """The module and those beside it that it imports are found, a name may lie deeper, and Python's path is as before."""
    before = list(sys.path)
    assert imported("own_names:saw")(3) == 1
    assert imported("own_names:Deep.inside") == 7
    assert sys.path == before
    (folder / "own_later.py").write_text("x = 1\n")
    assert imported("own_later:x") == 1


def test_the_current_folder_comes_before_other_modules_of_the_name(folder, monkeypatch, tmp_path_factory):
    """Of two modules of one name the one in the current folder is meant."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "own_twice.py").write_text("where = 'elsewhere'\n")
    (folder / "own_twice.py").write_text("where = 'here'\n")
    monkeypatch.syspath_prepend(elsewhere)
    assert imported("own_twice:where") == "here"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (
            "own_nmes:saw",
            "thing 'own_nmes:saw': there is no module 'own_nmes' (did you mean own_names?); it must be package.",
        ),
        ("own_names.deep:saw", "there is no module 'own_names.deep'"),
        ("nowhere.deep:saw", "there is no module 'nowhere'; it must be"),
        ("own_names:swa", "thing 'own_names:swa': the module own_names has no 'swa' (did you mean saw?)"),
        ("own_names:Deep.insde", "the module own_names has no 'Deep.insde'"),
        (
            "own_broken:f",
            "can't be imported: ModuleNotFoundError: No module named 'not_there_at_all' ({}/own_broken.py, line 2)",
        ),
        ("own_torn:f", "can't be imported: SyntaxError: invalid syntax ({}/own_torn.py, line 1)"),
        ("own_script:f", "can't be imported: SystemExit: 3 ({}/own_script.py, line 2)"),
        ("own_failing:f", "can't be imported: OSError: no way ({}/own_failing.py, line 2)"),
        ("own_names.py:saw", "must be package.module:name, with the module on Python's path or in the current folder"),
        ("./own_names.py:saw", "(did you mean own_names:saw?)"),
        ("sub/own_names:saw", "(did you mean sub.own_names:saw?)"),
        ("own_names", "thing 'own_names' must be package.module:name"),
        ("own_names:", "must be package.module:name"),
        (":saw", "must be package.module:name"),
        ("own_names:saw:x", "must be package.module:name"),
        (".own_names:saw", "must be package.module:name"),
        ("own_names:saw()", "must be package.module:name"),
    ],
)
def test_a_bad_import_path_is_one_sentence_that_says_what_is_wrong(path, said, folder):
    """No such module, an error in it with its place, no such name, and a wrong form are told apart, each in one line."""
    before = list(sys.path)
    with pytest.raises(InvalidInput) as refused:
        imported(path, "thing")
    assert said.format(folder) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sys.path == before


def test_a_folder_that_is_gone_is_no_obstacle(folder):
    """Where the current folder has been removed, what is on Python's path is found."""
    (folder / "gone").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "gone")
        (folder / "gone").rmdir()
        with current_folder_first():
            assert imported("math:sqrt")(4.0) == 2.0
        with pytest.raises(InvalidInput, match="there is no module 'own_nowhere'"):
            imported("own_nowhere:f")


@pytest.mark.parametrize(
    "module",
    ["gradus", "gradus.gallery", "gradus.schedules", "gradus.scheduler", "gradus.lr_scheduler", "gradus.integrations"],
)
def test_a_room_lists_its_public_names_and_offers_the_nearest(module):
    """dir() has each public name, each can be had, IPython completes it, and a mistyped one is told the name meant."""
    room = importlib.import_module(module)
    assert set(room.__all__) <= set(dir(room))
    assert all(getattr(room, name) is not None for name in room.__all__)
    completer = IPCompleter(namespace={"room": room}, use_jedi=False)
    assert {f"room.{name}" for name in room.__all__} <= set(completer.attr_matches("room."))
    name = room.__all__[-1]
    with pytest.raises(AttributeError, match=rf"module '{module}' has no attribute '{name}x' \(did you mean {name}\?\)"):
        getattr(room, f"{name}x")


def test_the_package_has_its_errors():
    """`gradus.GradusError` is the one error to catch, and `gradus.InvalidInput` is one of it."""
    assert issubclass(gradus.InvalidInput, (gradus.GradusError, ValueError))
    with pytest.raises(gradus.GradusError):
        gradus.schedules.parse("nope")


def test_python_runs_the_package_as_the_command():
    """`python -m gradus` is the command line."""
    done = subprocess.run([sys.executable, "-m", "gradus", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"gradus {gradus.__version__}\n")


NET = torch.nn.Linear(2, 2)
ADAMW = gradus.optim.AdamW(NET.parameters(), lr=0.1)
TORCHS = torch.optim.SGD(NET.parameters(), lr=0.1)
JSON = Cosine(100).to_json()
RUN = {"name": "mine", "task": "digits", "schedules": Cosine(2), "lr": 0.1, "length": epochs(1), "batch_size": 64}
RUN_JSON = gradus.Run(**RUN).to_json()
DIGITS = gradus.tasks.load_task("digits")


def scheduled(**what):
    named = gradus.optim.AdamW([{"params": NET.parameters(), "name": "encoder"}])
    return gradus.Scheduler(named, **what)


def trained(**what):
    return next(iter(gradus.train(gradus.Run(**RUN, **what), DIGITS)))


def drawn(name="rates", kind="svg", **how):
    return gradus.gallery.render(gradus.gallery.descent(), name, kind, **how)


class Teeth(Schedule):
    """A schedule of the user's own."""

    teeth: int

    def at(self, t, ops):
        """As high as the tooth."""
        return ops.where(t > self.teeth, 1.0, 0.0)


DOORS = {  # what is typed wrong -> what was meant, and how it is typed
    "a schedule's argument": ("end", lambda: Cosine(100, edn=0.1)),
    "an own schedule's argument": ("teeth", lambda: Teeth(teth=3)),
    "a recipe's argument": ("start", lambda: warmup(10, strat=0.1)),
    "a method's argument": ("factor", lambda: Cosine(100).stretch(facter=2)),
    "a schedule's word": ("min", lambda: gradus.schedules.Plateau(mode="mni_")),
    "a method's word": ("hold", lambda: Cosine(100).after("hodl")),
    "a recipe's word": ("linear", lambda: warmup(10, shape="lineer")),
    "a schedule in text": ("Cosine", lambda: parse("Cosne(100)")),
    "an argument in text": ("end", lambda: parse("Cosine(100, edn=.1)")),
    "a method in text": ("after", lambda: parse("Cosine(100).aftr('hold')")),
    "a method's argument in text": ("factor", lambda: parse("Cosine(100).stretch(facter=2)")),
    "a span in text": ("epochs", lambda: parse("Cosine(epocs(3))")),
    "a kind in JSON": ("Cosine", lambda: Schedule.from_json(JSON.replace("Cosine", "Cosne"))),
    "a field in JSON": ("end", lambda: Schedule.from_json(JSON.replace('"end"', '"edn"'))),
    "a run's field in JSON": ("batch_size", lambda: gradus.Run.from_json(RUN_JSON.replace("batch_size", "batchsize"))),
    "a run's per": ("epoch", lambda: gradus.Run(**RUN, per="epoh")),
    "a run's policy": ("back-off", lambda: gradus.Run(**RUN, on_nonfinite="backof")),
    "a hyperparameter": ("weight_decay", lambda: scheduled(weight_decy=Cosine(3))),
    "another hyperparameter": ("lr", lambda: scheduled(l=Cosine(3))),
    "a Scheduler's argument": ("on_change", lambda: scheduled(lr=Cosine(3), on_chnge="new")),
    "on_change": ("rescale", lambda: scheduled(lr=Cosine(3), on_change="recsale")),
    "a group": ("encoder", lambda: scheduled(lr={"encodr": Cosine(3)})),
    "an optimizer's argument": ("weight_decay", lambda: gradus.optim.AdamW(NET.parameters(), weight_decy=0.1)),
    "a backend": ("reference", lambda: gradus.optim.AdamW(NET.parameters(), backend="refernce")),
    "another word for a backend": ("cuda", lambda: gradus.optim.AdamW(NET.parameters(), backend="gpu")),
    "an optimizer's word": ("strong_wolfe", lambda: gradus.optim.LBFGS(NET.parameters(), line_search_fn="strongwolf")),
    "a parameter": ("weight", lambda: gradus.optim.groups(NET, {"wieght": {"lr": 1.0}})),
    "a drop-in's argument": ("T_max", lambda: gradus.lr_scheduler.CosineAnnealingLR(TORCHS, T_mx=3)),
    "a drop-in's word": ("linear", lambda: gradus.lr_scheduler.OneCycleLR(TORCHS, 1, 9, anneal_strategy="liner")),
    "from_torch's hyperparameter": (
        "momentum",
        lambda: gradus.from_torch(torch.optim.lr_scheduler.StepLR(TORCHS, 3), "momentun"),
    ),
    "a name of Transformers": ("cosine", lambda: gradus.from_transformers("cosin", 10, 100)),
    "an argument of Transformers": ("num_cycles", lambda: gradus.from_transformers("cosine", 10, 100, num_cycle=3)),
    "a range test's argument": ("progress", lambda: gradus.range_test(NET, TORCHS, None, [], progess=False)),
    "a range test's mode": ("linear", lambda: gradus.range_test(NET, TORCHS, None, [], mode="liner")),
    "a check's argument": ("total_steps", lambda: gradus.check(Cosine(3), total_step=3)),
    "a picture's argument": ("budget", lambda: Cosine(3).plot(budgt=False)),
    "a picture's axis": ("epochs", lambda: Cosine(3).plot(axis="epocs")),
    "a comparison's argument": ("workers", lambda: gradus.compare("digits", workrs=3)),
    "a comparison's executor": ("processes", lambda: gradus.compare("digits", executor="proceses")),
    "a reference experiment's schedule": ("cosine", lambda: reference_runs("digits", DIGITS, only=["cosin"])),
    "a task": ("digits", lambda: gradus.tasks.load_task("digts")),
    "a model": ("lenet", lambda: gradus.tasks.load_model("lenett")),
    "a device": ("cuda", lambda: pick_device("cdua")),
    "a run's optimizer": ("AdamW", lambda: trained(optimizer="AdmW")),
    "a run's option": ("momentum", lambda: trained(options={"momentun": 0.9})),
    "a demonstration's picture": ("rates", lambda: drawn("rtes")),
    "a picture's format": ("svg", lambda: drawn(kind="svgz")),
    "a picture's language": ("en", lambda: drawn(lang="eng")),
    "an entrant": ("AdamW", lambda: gradus.gallery.race(optimizers=["AdmW"])),
    "a race's argument": ("points", lambda: gradus.gallery.race(point=100)),
    "a public name": ("range_test", lambda: gradus.range_tset),
}


@pytest.mark.parametrize("door", DOORS)
def test_each_name_that_can_be_mistyped_is_offered(door):
    """Wherever a name is taken, a mistyped one is told the one that was meant, once."""
    meant, typed = DOORS[door]
    with pytest.raises((gradus.GradusError, TypeError, AttributeError)) as refused:
        typed()
    assert str(refused.value).count("id you mean") == 1, refused.value
    assert re.search(rf"did you mean:? '?{re.escape(meant)}'?\?", str(refused.value), re.IGNORECASE), refused.value


def test_what_a_function_itself_finds_wrong_is_left_as_it_is():
    """Only where the arguments don't fit is there a hint: a TypeError from inside is told as it was raised."""

    @hinting
    def failing(length):
        """Kept."""
        raise TypeError(f"inside {length}")

    with pytest.raises(TypeError, match=r"^inside 3$"):
        failing(length=3)
    with pytest.raises(TypeError, match=r"argument 'lenth'.*[dD]id you mean"):
        failing(lenth=3)
    assert failing.__doc__ == "Kept."
    assert str(inspect.signature(failing)) == "(length)"


def test_an_optimizer_of_the_users_own_goes_by_its_import_path(folder):
    """A run's optimizer may be package.module:Class; its default rate counts, and what is no optimizer is refused."""
    (folder / "own_optim.py").write_text(
        "import torch\n\nclass Signum(torch.optim.SGD):\n    def __init__(self, params, lr=0.25):\n"
        "        super().__init__(params, lr)\n\nclass No:\n    pass\n"
    )
    run = gradus.Run(**{**RUN, "lr": default_rate("own_optim:Signum")}, optimizer="own_optim:Signum")
    optimizer = build_optimizer(gradus.Run.from_json(run.to_json()), NET)
    assert (type(optimizer).__name__, optimizer.param_groups[0]["lr"]) == ("Signum", 0.25)
    with pytest.raises(InvalidInput, match=r"the module own_optim has no 'Signun' \(did you mean Signum\?\)"):
        build_optimizer(gradus.Run(**RUN, optimizer="own_optim:Signun"), NET)
    with pytest.raises(InvalidInput, match=r"or package.module:Class of yours; got 'own_optim:No'"):
        build_optimizer(gradus.Run(**RUN, optimizer="own_optim:No"), NET)
