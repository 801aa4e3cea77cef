"""Laws of the command line: what it prints, what it writes, and the exit codes it leaves with."""

import inspect
import json
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import torch

import gradus
from gradus import cli, tasks
from gradus.cli.line import line_of
from gradus.errors import InvalidInput
from gradus.files import locked
from gradus.rangetest.found import findings
from gradus.schedules import Cosine, epochs, parse, rest
from gradus.store import Store

COMMAND = [sys.executable, "-c", "from gradus.cli import main; main()"]


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder, in this process; its exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gradus", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capsys.readouterr()
        return left.value.code or 0, out, err

    return run


def quick(*arguments):
    """The arguments of a comparison that takes a moment."""
    return ("compare", "--epochs", "1", "--workers", "1", *arguments)


ERRORS = [
    (("compare", "--task", "nope"), 2, "unknown task 'nope'"),
    (("compare", "--task", "nope:task"), 2, "there is no module 'nope'"),
    (("train", 'Lambda("nope:saw")'), 2, "Lambda's function 'nope:saw': there is no module 'nope'"),
    (("compare", "--schedule", "m=Cosne(3)"), 2, "did you mean Cosine?"),
    (("compare", "--schedule", "Cosine(3)"), 2, '--schedule takes NAME="..."'),
    (("compare", "--schedule", "m=1", "--schedule", "m=2"), 2, "'m' is given twice"),
    (("compare", "--schedule", "m=warmup(tokens(5))"), 2, "can't be counted in steps without tokens_per_step"),
    (("compare", "--epochs", "0"), 2, "length must be a whole number of updates from 1, or epochs(...)"),
    (("compare", "--epochs", "3", "--length", "100"), 2, "give --epochs or --length, not both"),
    (("compare", "--length", "moons(3)"), 2, '--length takes "epochs(3)"'),
    (("train", "--evaluate-every", "often"), 2, '--evaluate-every takes "epochs(3)"'),
    (("compare", "--lr", "nan"), 2, "the learning rate must be a finite number above 0; got nan"),
    (("compare", "--lr", "1..0.1:3"), 2, "a grid of rates goes from a lower to a higher one above 0"),
    (("compare", "--lr", "0.1..1"), 2, "--lr takes a number, a grid such as 0.001..1:7"),
    (("train", "--lr", "0.1..1:3"), 2, "one run has one learning rate; got the grid '0.1..1:3'"),
    (("compare", "--only", "nope"), 2, "unknown schedule 'nope'"),
    (("compare", "--seeds", "0"), 2, "--seeds must be a whole number from 1; got 0"),
    (("compare", "--per", "week"), 2, """per must be one of "step", "epoch"; got 'week'"""),
    (("compare", "--out", "file/out"), 1, "file/out/.gitignore can't be written"),
    (("compare", "--lr", "x"), 2, "\"found\" after `gradus find`; got 'x'"),
    (("compare", "--lr", "found"), 1, "there is no gradus-runs/range.json to take the rate from; run `gradus find` first"),
    (("compare", "--option", "Lion:betas=1"), 2, "'Lion' is none of the optimizers; give --optimizer Lion"),
    (("compare", "--executor", "nope"), 2, "nope"),
    (("find", "--task", "nope"), 2, "unknown task 'nope'"),
    (("find", "--option", "momentum"), 2, "--option takes NAME=VALUE, such as momentum=0.9; got 'momentum'"),
    (("find", "--option", "nope=1"), 2, "SGD can't be made with lr=0.3, nope=1"),
    (("find", "--optimizer", "Nope"), 2, "Nope"),
    (("find", "--start", "1", "--end", "0.1"), 2, "start must be below end; got start=1 and end=0.1"),
    (("compare", "--checkpoint-every", "0"), 2, "checkpoint_every must be a whole number"),
    (("train", "Cosne(3)"), 2, "did you mean Cosine?"),
    (("train", "--optimizer", "Nope"), 2, "Nope"),
    (("train", "--option", "nesterov"), 2, "--option takes NAME=VALUE, such as momentum=0.9"),
    (("train", "--option", "a=1", "--option", "a=2"), 2, "--option takes each name once here; 'a' is given 2 times"),
    (("train", "--option", "mass=1"), 2, "SGD can't be made with lr=0.3, mass=1"),
    (("train", "--group", "conv1.*"), 2, "--group takes PATTERN=frozen or PATTERN=NAME:VALUE"),
    (("train", "--group", "convolution.*=frozen"), 2, "convolution.*"),
    (("train", "1", "--schedule", "lr=2"), 2, "the learning rate's schedule is given twice"),
    (("train", "--schedule", "momentun=0.9"), 2, "momentun"),
    (
        ("train", "--precision", "fp16"),
        2,
        """precision must be one of "float32", "bfloat16", "float16", "float64"; got 'fp16'""",
    ),
    (("train", "--checkpoint-every", "0"), 2, "checkpoint_every must be a whole number"),
    (("train", "--task", "nope"), 2, "unknown task 'nope'"),
    (("runs", "--check"), 1, "there is no store at gradus-runs/store.sqlite"),
    (("runs", "--repair"), 1, "there is no store at gradus-runs/store.sqlite"),
    (("runs", "--stop", "--delete"), 2, "give one of --stop, --delete, not several"),
    (("plot", "Cosne(3)"), 2, "did you mean Cosine?"),
    (("compare", "--only", "cosin"), 2, "did you mean cosine?"),
    (("train", "--optimizer", "adamw"), 2, "did you mean AdamW?"),
    (("train", "--optimizer", "gradus.optim.Loin"), 2, "did you mean Lion?"),
    (("train", "--optimizer", "torch.optim.Addam"), 2, "did you mean torch.optim.Adam?"),
    (("train", "--option", "momentun=0.9"), 2, "did you mean momentum?"),
    (("train", "--optimizer", "Lion", "--option", "beta=0.9"), 2, "did you mean betas?"),
    (("train", "--task", "digit"), 2, "did you mean digits?"),
    (("train", "--model", "le-net"), 2, "did you mean lenet?"),
    (("gallery", "momentun"), 2, "did you mean momentum?"),
    (("gallery", "--format", "pgn"), 2, "did you mean png?"),
    (("plot", "warmup(fraction(0.1)) >> Cosine(rest())"), 2, "--steps"),
    (("plot", "Cosine(epochs(3))"), 2, "--steps-per-epoch"),
    (("plot", "Cosine(3)", "--steps", "0"), 2, "--steps must be a whole number from 1; got 0"),
    (("plot", "Cosine(3)", "--out", "x.pdf"), 2, "--out must name a .png file; got x.pdf"),
    (("plot", "a=1", "a=2"), 2, "'a' is given twice"),
    (("plot", "Cosine(3)", "--axis", "epochs"), 2, "an axis of epochs needs steps_per_epoch"),
    (("compare", "--on-nonfinite", "hope"), 2, "on_nonfinite must be one of "),
    (("train", "--optimizer", "LBFGS", "--on-nonfinite", "skip"), 2, 'an update can\'t be skipped; use "stop" or'),
    (("runs",), 1, "there is no store at gradus-runs/store.sqlite"),
    (("runs", "--out", "file"), 1, "there is no store at file/store.sqlite"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), ERRORS)
def test_bad_input_is_one_sentence_with_its_exit_code_and_nothing_written(arguments, code, said, command, tmp_path):
    """What can't be used leaves with 2, what fails with 1; one line says why, and no file appears."""
    (tmp_path / "file").write_text("mine")
    left, out, err = command(*arguments)
    assert (left, out) == (code, "")
    assert err.startswith("gradus: ")
    assert err.count("\n") == 1
    assert said in err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("arguments", [("compare", "--nope"), ("nope",), ("plot",), ("compare", "--epochs", "x")])
def test_unknown_words_and_missing_arguments_are_usage_errors(arguments, command):
    """What the command line doesn't know leaves with 2 and names the help."""
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert "--help" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments", [("--help",), *((name, "--help") for name in ("compare", "find", "plot", "runs", "train"))]
)
def test_help_fits_eighty_columns_and_names_every_option(arguments, command):
    """Each command explains itself within 80 columns, without a cut-off sentence."""
    code, out, _ = command(*arguments)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    assert "..." not in out.replace('NAME="..."', "").replace("(...)", "").replace("[ARGS]...", "").replace(
        "}...", ""
    ).replace("SCHEDULE...", "").replace("[RUN]...", "").replace(":VALUE,...", "")
    if arguments[0] in ("compare", "find", "plot", "runs", "train"):
        for name in inspect.signature(getattr(cli, arguments[0])).parameters:
            option = name.removeprefix("as_").rstrip("s") if name in ("schedules", "as_json", "as_csv") else name
            assert f"--{option.replace('_', '-')}" in out or name.upper().rstrip("S") in out or name == "numbers"


def test_the_version_is_the_packages(command):
    """`gradus --version` prints the package's version."""
    assert command("--version") == (0, f"gradus {gradus.__version__}\n", "")


def test_compare_prints_lines_and_a_table_and_says_what_it_wrote(command, tmp_path):
    """Where there is no terminal, each evaluation is a line on standard error, and standard output has the final table."""
    code, out, err = command(*quick("--only", "constant", "--only", "mine", "--schedule", "mine=0.5"))
    assert code == 0
    assert [line.split()[0] for line in err.splitlines()] == ["constant", "mine"]
    assert all("step 21/21" in line for line in err.splitlines())
    words = " ".join(out.split())
    for heading in ("schedule", "valid", "test", "train", "accuracy", "best", "seconds", "examples/s"):
        assert heading in words
    assert "wrote gradus-runs/curves.png and gradus-runs/results.json" in out
    assert list(json.loads((tmp_path / "gradus-runs" / "results.json").read_text())["tasks"]) == ["digits"]
    assert all(character.isprintable() for character in (out + err).replace("\n", ""))


@pytest.mark.parametrize("width", [80, 120])
def test_no_number_of_the_final_table_is_cut_or_broken(width, command, monkeypatch, tmp_path):
    """With several seeds, at 80 columns too, each schedule's first line holds its whole means and half-widths."""
    monkeypatch.setenv("COLUMNS", str(width))
    names = ("--only", "constant", "--only", "a name that takes a lot of room")
    code, out, _ = command(*quick("--seeds", "3", "--schedule", "a name that takes a lot of room=1", *names))
    assert code == 0
    table = out.split("digits:")[0]
    assert max(map(len, table.splitlines())) <= width
    for summary in json.loads((tmp_path / "gradus-runs" / "results.json").read_text())["summary"]:
        last = summary["last"]["valid/accuracy"]
        assert f"{100 * last['mean']:.2f} ± {100 * last['half_width']:.2f}" in table
        assert f"{summary['examples_per_second']:,.0f}" in table


AXES = [
    (("--optimizer", "SGD", "--optimizer", "AdamW"), ["SGD, constant", "AdamW, constant"]),
    (("--optimizer", "torch.optim.SGD"), ["constant"]),
    (("--lr", "0.1", "--lr", "0.2"), ["lr 0.1, constant", "lr 0.2, constant"]),
    (("--lr", "0.01..1:3"), ["lr 0.01, constant", "lr 0.1, constant", "lr 1, constant"]),
    (("--option", "momentum=0.9", "--option", "momentum=0"), ["momentum 0.9, constant", "momentum 0, constant"]),
    (("--optimizer", "SGD", "--optimizer", "Lion", "--option", "SGD:momentum=0.5"), ["SGD, constant", "Lion, constant"]),
    (
        ("--model", "digits-net", "--model", "example_tasks.crops:model"),
        ["constant, digits-net", "constant, example_tasks.crops:model"],
    ),
    (("--seeds", "2"), ["constant", "constant"]),
]


@pytest.mark.parametrize(("arguments", "names"), AXES)
def test_compare_takes_any_axes(arguments, names, command, monkeypatch):
    """Each combination of what is given several times is a run for each seed, and its name says what differs."""
    asked = []

    def nothing(runs, **_):
        asked.extend(runs)
        raise InvalidInput("enough")

    monkeypatch.setattr("gradus.experiments.compare", nothing)
    assert command("compare", "--only", "constant", *arguments) == (2, "", "gradus: enough\n")
    assert [run.name for run in asked] == names
    assert len({run.identity for run in asked}) == len(names)


PARTS = {
    "lr": 0.003,
    "schedules": {"lr": parse("warmup(fraction(0.1)) >> Cosine(rest())"), "momentum": parse("Constant(0.5)")},
    "optimizer": "own:Signum",
    "options": {"betas": [0.9, 0.98], "nesterov": True, "note": "two words"},
    "groups": {"embed.*": "frozen", "body.*": {"factor": 0.1, "betas": [0.5, 0.6]}},
    "length": epochs(2.5),
    "per": "epoch",
    "batch_size": 7,
    "accumulate": 2,
    "precision": "bfloat16",
    "clip_norm": 1.5,
    "valid": False,
    "evaluate_every": 100,
    "model": "lenet",
    "seed": 3,
    "on_nonfinite": "skip",
    "record_every": 50,
    "name": "-a name",
}


@pytest.mark.parametrize("parts", [[], *([name] for name in PARTS), list(PARTS)], ids=lambda parts: ",".join(parts)[:40])
def test_the_line_that_repeats_a_run_says_that_run(parts, command, monkeypatch):
    """What `gradus runs N` says to type is a command for that very run."""
    run = gradus.Run("digits", **{"name": "train"} | {name: PARTS[name] for name in parts})
    asked = []

    def nothing(run, **_):
        asked.append(run)
        raise InvalidInput("enough")

    monkeypatch.setattr("gradus.experiments.train_run", nothing)
    assert command(*shlex.split(line_of(run))[1:]) == (2, "", "gradus: enough\n")
    assert asked == [run]


def test_where_nothing_finishes_the_command_fails(command):
    """A comparison none of whose runs finish leaves with 1, its table, and the step at which each diverged."""
    code, out, _ = command(*quick("--lr", "1e6", "--only", "constant", "--out", "out"))
    assert code == 1
    assert "constant: 1 of 1 run did not finish: diverged at step" in " ".join(out.split())


def test_a_task_of_the_users_own_lies_beside_the_users_work(command, tmp_path):
    """`--task module:function` and the function of a `Lambda` are found in the folder where the command runs."""
    (tmp_path / "own_saw_for_cli.py").write_text("def saw(t):\n    return 0.5 if t % 2 else 1.0\n")
    (tmp_path / "own_task_for_cli.py").write_text(
        "from gradus.tasks import digits\nfrom dataclasses import replace\n"
        "def small():\n    import own_saw_for_cli\n    task = digits()\n"
        "    return replace(task, name='small', train=tuple(part[:100] for part in task.train))\n"
    )
    path = list(sys.path)
    saw = "saw=Lambda('own_saw_for_cli:saw')"
    code, out, _ = command(
        *quick("--task", "own_task_for_cli:small", "--only", "constant", "--only", "saw", "--schedule", saw)
    )
    for name in ("own_task_for_cli", "own_saw_for_cli"):
        sys.modules.pop(name)
    assert code == 0
    assert "own_task_for_cli:small: 2 runs in" in out
    assert sys.path == path


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A folder with a store of three runs that differ in optimizer, rate and seed, one of which diverged."""
    folder = tmp_path_factory.mktemp("results")
    base = gradus.Run("digits", length=42, evaluate_every=21, batch_size=64, lr=0.1)
    runs = [
        base.replace(name="one"),
        base.replace(name="two", optimizer="AdamW", lr=0.003, seed=1, schedules=Cosine(rest())),
    ]
    gradus.compare([*runs, base.replace(name="wild", lr=1e9)], workers=1, out=folder / "gradus-runs")
    return folder


def lines_of(table):
    """The cells of the lines that begin with a number."""
    return [line.split() for line in table.splitlines() if re.match(r" *\d", line)]


def test_runs_lists_the_runs(command, results, monkeypatch):
    """`gradus runs` has a line for each run in the store: what differs in columns, and what all have in common below."""
    monkeypatch.chdir(results)
    with Store("gradus-runs/store.sqlite", create=False) as store:
        rows = store.rows(1)
    code, out, _ = command("runs")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    one, two, wild = lines_of(out)
    assert one[:4] == ["1", "one", "SGD", "0.1"]
    assert f"{100 * rows[-1]['valid/accuracy']:.2f}" in one
    assert (one[-1], two[1], wild[1], wild[-1]) == ("finished", "two", "wild", "diverged")
    assert "task digits" in out
    assert "batch 64" in out


FILTERS = [
    (("--optimizer", "Adam*"), [2]),
    (("--name", "w*"), [3]),
    (("--lr", "0.1"), [1]),
    (("--seed", "0"), [1, 3]),
    (("--status", "finished"), [1, 2]),
    (("--schedule", "Cosine(*"), [2]),
    (("--task", "digits", "--batch-size", "64"), [1, 2, 3]),
    (("--task", "topics"), []),
    (("--objective", ">=0"), [1, 2]),
    (("--objective", "> 1.5"), []),
    (("--seconds", "<1e4"), [1, 2]),
    (("--seconds", "<=0", "--name", "one"), []),
    (("2", "3", "--status", "diverged"), [3]),
    (("--sort", "rate"), [2, 1, 3]),
    (("--sort", "name"), [1, 2, 3]),
]


@pytest.mark.parametrize(("arguments", "expected"), FILTERS)
def test_runs_are_found_by_what_they_are(arguments, expected, command, results, monkeypatch):
    """Filters leave the runs that fit them all, and `--sort` puts them in the order of a column."""
    monkeypatch.chdir(results)
    code, out, _ = command("runs", *arguments, "--out", "gradus-runs", *(["--json"] if "--sort" not in arguments else []))
    assert code == 0
    assert [one["run"] for one in json.loads(out)] == expected if "--sort" not in arguments else True
    if "--sort" in arguments:
        assert [int(line[0]) for line in lines_of(out)] == expected


def test_runs_shows_one_whole(command, results, monkeypatch):
    """`gradus runs N` has the specification, a line for each row in the store's numbers, and what to type to repeat it."""
    monkeypatch.chdir(results)
    with Store("gradus-runs/store.sqlite", create=False) as store:
        (run, rows) = store.runs()[1].run, store.rows(2)
    code, out, _ = command("runs", "2")
    assert code == 0
    for words in ("optimizer AdamW", "length 42", "schedule Cosine(rest())", "seed 1", "evaluate_every 21"):
        assert words in " ".join(out.split())
    assert [line[:4] for line in lines_of(out)] == [
        [str(row.step), f"{row['epoch']:.4g}", f"{row['lr']:.4g}", f"{row['train/loss']:.4g}"] for row in rows
    ]
    assert out.endswith(f"to train it once more:\n  {line_of(run)}\n")
    code, _, err = command("runs", "99")
    assert (code, err) == (2, "gradus: there is no run 99 in gradus-runs/store.sqlite; `gradus runs` lists them\n")


def test_several_runs_are_told_apart(command, results, monkeypatch):
    """`gradus runs N M` has a line for what differs in specifications, conditions and results, and none for what doesn't."""
    monkeypatch.chdir(results)
    code, out, _ = command("runs", "1", "2")
    words = " ".join(out.split())
    assert code == 0
    for said in ("optimizer SGD AdamW", "lr 0.1 0.003", "seed 0 1", "name one two"):
        assert said in words
    assert "batch_size" not in words


def test_runs_are_printed_for_programs(command, results, monkeypatch):
    """JSON has every number of the store bit for bit, and CSV a line for each run."""
    monkeypatch.chdir(results)
    with Store("gradus-runs/store.sqlite", create=False) as store:
        rows = store.rows(1)
    found = json.loads(command("runs", "--json")[1])
    assert found[0]["rows"] == [{"step": row.step, **row} for row in rows]
    assert found[1]["specification"]["optimizer"] == "AdamW"
    assert found[0]["conditions"]["threads"] >= 1
    heading, *lines = command("runs", "--csv")[1].splitlines()
    assert heading.startswith("run,name,task,optimizer,rate,schedule")
    assert [line.split(",")[:4] for line in lines] == [
        ["1", "one", "digits", "SGD"],
        ["2", "two", "digits", "AdamW"],
        ["3", "wild", "digits", "SGD"],
    ]


def test_runs_draws_and_gives_weights(command, results, monkeypatch, tmp_path):
    """`--plot` draws stored runs, and `--weights` writes a plain state dict, whose network scores as the run did."""
    monkeypatch.chdir(results)
    code, out, _ = command("runs", "1", "2", "--plot", str(tmp_path / "x.png"))
    assert (code, out) == (0, f"wrote {tmp_path / 'x.png'}\n")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = command("runs", "1", "--weights", str(tmp_path / "x.pt"))
    assert (code, out) == (0, f"wrote {tmp_path / 'x.pt'}\n")
    model, task = tasks.DigitsNet(), tasks.digits()
    model.load_state_dict(torch.load(tmp_path / "x.pt", weights_only=True))
    inputs, targets = task.test
    correct = (model(torch.as_tensor(inputs)).argmax(1) == torch.as_tensor(targets)).double().mean()
    with Store("gradus-runs/store.sqlite", create=False) as store:
        assert store.rows(1)[-1]["test/accuracy"] == pytest.approx(float(correct))


REFUSED = [
    (("3", "--weights", "x.pt"), 2, "run 3 is diverged; weights are kept of finished runs"),
    (("--weights", "x.pt"), 2, "--weights takes the number of one run"),
    (("--plot", "x.gif"), 2, "--plot must name a .png file; got x.gif"),
    (("--stop",), 2, "--stop takes the numbers of runs"),
    (("1", "--pause"), 2, "run 1 is finished; only a running one can be asked to pause"),
    (("--delete",), 2, "--delete takes the numbers of runs"),
    (("--objective", "0.9"), 2, '--objective takes a bound, such as ">0.9"'),
    (("--seconds", ">."), 2, "--seconds takes a bound"),
    (("--sort", "speed"), 2, "--sort takes one of run, name, task"),
    (("--sort", "naem"), 2, "did you mean name?"),
]


@pytest.mark.parametrize(("arguments", "code", "said"), REFUSED)
def test_what_runs_cannot_do_is_a_sentence(arguments, code, said, command, results, monkeypatch):
    """What can't be done with runs is refused with the way out, and nothing is written or deleted."""
    monkeypatch.chdir(results)
    left, out, err = command("runs", *arguments)
    assert (left, out) == (code, "")
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in results.iterdir()} == {"gradus-runs"}
    assert len(json.loads(command("runs", "--json")[1])) == 3


def test_runs_deletes_what_it_is_told_to(command, results, tmp_path):
    """`--delete` takes the runs of these numbers out of the store, `--prune` all without a result, which divergence is."""
    shutil.copytree(results / "gradus-runs", tmp_path / "gradus-runs")
    with Store(tmp_path / "gradus-runs" / "store.sqlite") as store:
        for status in ("failed", "interrupted", "stopped", "paused"):
            store.end(store.begin(1, gradus.Run("digits", name=status), {}), status)
    assert command("runs", "--prune") == (0, "deleted 3 runs\n", "")
    assert command("runs", "1", "--delete") == (0, "deleted 1 run\n", "")
    assert [one["name"] for one in json.loads(command("runs", "--json")[1])] == ["two", "wild", "paused"]


@pytest.mark.parametrize("wish", ["stop", "pause"])
def test_a_running_run_can_be_asked_to_end(wish, command, tmp_path):
    """`--stop` and `--pause` enter a request, which whoever trains the run finds in the store."""
    with Store(tmp_path / "gradus-runs" / "store.sqlite") as store, locked(tmp_path / "gradus-runs"):
        run = store.begin(store.begin_sweep("train", "x", {}), gradus.Run("digits"), {})
        code, out, _ = command("runs", str(run), f"--{wish}")
        assert (code, out) == (0, f"asked to {wish} 1 run; what trains them looks when it next reports\n")
        assert [(one.run, one.wish) for one in store.requests()] == [(run, wish)]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "Cosine(30)", "--per", "epoch", "--epochs", "1", "--threads", "1", "--name", "mine"),
        quick("--only", "mine", "--per", "epoch", "--schedule", "mine=Cosine(30)"),
    ],
    ids=["train", "compare"],
)
def test_a_mistake_is_shown_before_anything_is_trained(arguments, command):
    """`gradus train` and `gradus compare` say what looks like a mistake before the first epoch, and go on."""
    code, _, err = command(*arguments)
    first, *others = err.splitlines()
    assert code == 0
    assert first.startswith("mine: this looks like a mistake: ")
    assert "it needs 30 steps and the run has 1" in first
    assert "step 21/21" in others[-1]


def test_train_keeps_the_weights_and_the_rows(command, tmp_path):
    """`gradus train` prints how the run ended, its rows are in the store, and its weights in a file of its name."""
    arguments = ("--epochs", "2", "--optimizer", "Lion", "--option", "betas=(0.9, 0.98)", "--lr", "0.003", "--threads", "1")
    code, out, err = command("train", "Cosine(2)", "--per", "epoch", *arguments, "--name", "my run/1")
    assert code == 0
    assert [re.search(r"step (\d+)/42", line)[1] for line in err.splitlines() if "valid" in line] == ["21", "42"]
    with Store(tmp_path / "gradus-runs" / "store.sqlite", create=False) as store:
        rows = store.rows(1)
    assert [row["lr"] for row in rows] == [0.003, 0.0015]
    words = " ".join(out.split())
    assert f"my run/1: 42 updates in {rows[1]['time/seconds']:.1f} s, train loss {rows[1]['train/loss']:.4g}" in words
    (weights,) = (tmp_path / "gradus-runs" / "weights").iterdir()
    assert re.fullmatch(r"my-run-1-[0-9a-f]{12}\.pt", weights.name)
    assert out.endswith(f"wrote gradus-runs/weights/{weights.name}\n")
    assert not (tmp_path / "gradus-runs" / "checkpoints").exists()


@pytest.mark.parametrize(
    ("optimizer", "rate"),
    [(None, None), ("gradus.optim.SGD", None), ("AdamW", 1e-3), ("Lion", 1e-4), ("torch.optim.Adam", 1e-3)],
)
def test_without_a_rate_an_optimizer_has_its_own(command, tmp_path, optimizer, rate):
    """The task's rate is for its own optimizer; another is trained at its default, and not a hundred times as high."""
    assert command("train", "--length", "1", *(["--optimizer", optimizer] if optimizer else []))[0] == 0
    with Store(tmp_path / "gradus-runs" / "store.sqlite", create=False) as store:
        assert store.rows(1)[0]["lr"] == (tasks.digits().lr if rate is None else rate)


def test_a_training_that_diverges_fails(command, tmp_path):
    """A run that diverges leaves with 1 and says where; nothing is put in the place of weights."""
    code, out, err = command("train", "--epochs", "1", "--lr", "1e6")
    assert (code, out) == (1, "")
    assert "gradus: diverged at step" in err
    assert not list((tmp_path / "gradus-runs").rglob("*.pt"))


def test_runs_checks_and_repairs_the_store(command, tmp_path):
    """`--check` says that a store is well, or what is damaged; `--repair` saves the rest and keeps the old file."""
    command(*quick("--only", "constant", "--only", "cosine"))
    path = tmp_path / "gradus-runs" / "store.sqlite"
    assert command("runs", "--check") == (0, "gradus-runs/store.sqlite is well: 2 rows of 2 runs\n", "")
    assert command("runs", "--repair") == (0, "gradus-runs/store.sqlite is well, and is left unchanged\n", "")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM rows WHERE run = 2")
    code, out, err = command("runs", "--check")
    assert code == 1
    assert "run 2" in out
    assert err == "gradus: gradus-runs/store.sqlite is damaged; `gradus runs --repair` saves what can be read\n"
    code, out, _ = command("runs", "--repair")
    assert code == 0
    assert out.startswith("saved 2 runs with 1 row")
    assert "the old file is gradus-runs/store.sqlite.damaged-" in out
    assert command("runs", "--check")[0] == 0


def test_plot_draws_in_the_terminal_and_as_png_without_torch(tmp_path):
    """`gradus plot` prints the curve, writes the picture into the ignored folder, and never imports torch."""
    script = "import sys\nfrom gradus.cli import main\ntry:\n    main()\nfinally:\n    assert 'torch' not in sys.modules"
    text = "warmup(5) >> Cosine(15, end=0.03)"
    environment = {**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "ascii"}  # whose pipes know no braille
    done = subprocess.run(
        [sys.executable, "-c", script, "plot", text], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"{text}: 0 at step 0, 0.03 at step 22" in done.stdout
    assert {path.name for path in (tmp_path / "gradus-runs").iterdir()} == {".gitignore", "schedules.png"}
    assert (tmp_path / "gradus-runs" / "schedules.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (("Cosine(10)",), 11),
        (("Cosine(10)", "Cosine(100)"), 110),
        (("Constant(0.3)",), 100),
        (("Cosine(10)", "--steps", "1000"), 1000),
        (("warmup(fraction(0.1)) >> Cosine(rest())", "--steps", "500"), 500),
        (("Cosine(epochs(2))", "--steps-per-epoch", "50"), 110),
        (("name=Cosine(1)",), 1),
    ],
)
def test_plot_shows_a_little_more_than_the_longest_schedule_or_what_it_is_told(arguments, last, command, tmp_path):
    """Each schedule's line says its value at the last step, under its name or its text; the picture goes to --out."""
    code, out, _ = command("plot", *arguments, "--out", "deep/er/x.png")
    assert code == 0
    for text in (one for one in arguments if "(" in one):
        name, _, definition = text.partition("=") if text.startswith("name=") else (text, "", text)
        schedule = parse(definition).resolve(last, steps_per_epoch=50)
        assert f"{name}: {schedule(0):.4g} at step 0, {schedule(last):.4g} at step {last}" in out
    assert (tmp_path / "deep" / "er" / "x.png").is_file()


def test_plot_says_what_a_schedule_does_and_what_looks_wrong(command):
    """Each schedule has its sentence under the plot and, where the run's length is given, what is found in it."""
    code, out, _ = command(
        "plot", "Cosine(100)", "a=warmup(10, start=0.1)", "--steps", "200", "--axis", "epochs", "--steps-per-epoch", "10"
    )
    words = " ".join(out.split())
    assert code == 0
    assert "Cosine(100): Falls along a cosine from 1 to 0 over 100 steps and holds 0." in words
    assert "mistake: it ends at step 100 of 200 and holds 0 for 50 % of the run" in words
    assert "a: Rises linearly from 0.1 to 1 over 10 steps and holds 1. wrote" in words
    assert "mistake" not in command("plot", "Cosine(100)")[1]


def test_find_draws_writes_and_ends_with_an_option_that_others_take(command, tmp_path):
    """The last line of `gradus find` is --lr and the suggestion; train and compare take each optimizer's by --lr found."""
    short = ("--no-verify", "--start", "1e-3", "--steps", "40", "--batch-size", "256")
    code, out, err = command("find", *short)
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 80
    assert {path.name for path in (tmp_path / "gradus-runs").iterdir()} == {".gitignore", "range.json", "range.png"}
    assert command("find", *short, "--optimizer", "AdamW")[0] == 0
    found = {one.run.optimizer: one.test for one in findings(tmp_path / "gradus-runs" / "range.json")}
    assert f"--lr {found['SGD'].suggestion:.3g}" == out.splitlines()[-1]
    for name, rate in found["SGD"].suggestions.items():
        assert re.search(rf"{name} +{rate:.3g}", out)
    arguments = ("--lr", "found", "--batch-size", "256", "--length", "2")
    assert command("compare", *arguments, "--only", "constant", "--optimizer", "SGD", "--optimizer", "AdamW")[0] == 0
    assert command("train", *arguments, "--optimizer", "AdamW")[0] == 0
    with Store(tmp_path / "gradus-runs" / "store.sqlite", create=False) as store:
        rates = [(one.run.optimizer, one.run.lr) for one in store.runs()]
    assert set(rates) == {(name, found[name].suggestion) for name in ("SGD", "AdamW")}
    code, _, err = command("train", "--lr", "found", "--batch-size", "64")
    assert (code, "batch_size" in err) == (2, True)


def test_a_stopped_find_writes_nothing(command, monkeypatch, tmp_path):
    """After Ctrl-C `gradus find` leaves with 130, says so in a line, and no file appears."""

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("gradus.rangetest.found.find_lr", stop)
    code, out, err = command("find")
    assert (code, out, err) == (130, "", "\nstopped; nothing was written\n")
    assert not list(tmp_path.iterdir())


def test_find_takes_all_images_at_once_where_the_batch_holds_them(command, tmp_path):
    """With a batch as large as the training set each update is on all of it, and `gradus find` goes from pass to pass."""
    code, _, err = command("find", "--batch-size", "5000", "--no-verify", "--start", "1e-2", "--steps", "30")
    assert (code in (0, 1), err) == (True, "")
    losses = findings(tmp_path / "gradus-runs" / "range.json")[0].test.losses
    assert len(losses) == 30
    assert tuple(sorted(losses[:15], reverse=True)) == losses[:15]  # batches of a part would make noise


def test_find_without_a_suggestion_fails_and_says_why(command):
    """Where nothing learns the exit code is 1, the remark is printed, and there is no --lr."""
    code, out, _ = command("find", "--end", "1e-6", "--steps", "10")
    assert code == 1
    assert "No rate learned anything" in " ".join(out.split())
    assert "--lr" not in out


@pytest.mark.parametrize(("sent", "code", "workers"), [(signal.SIGINT, 130, 2), (signal.SIGTERM, 143, 1)])
def test_a_stopped_comparison_keeps_its_epochs_and_says_how_to_go_on(sent, code, workers, tmp_path):
    """After Ctrl-C or SIGTERM: the signal's exit code, no traceback, no process left, every epoch told is in the store."""
    arguments = ["compare", "--epochs", "3000", "--only", "constant", "--only", "cosine", "--workers", str(workers)]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=tmp_path,
            stdout=out,
            stderr=err,
            start_new_session=True,
            # A shell's background jobs, these tests among them, ignore Ctrl-C and pass that on.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            wait_for_rows(tmp_path / "err", ["constant", "cosine"][:workers], process)
            # Ctrl-C reaches the whole group, as a terminal sends it; SIGTERM the process alone
            os.killpg(process.pid, sent) if sent == signal.SIGINT else process.send_signal(sent)
            left = process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()
    told = (tmp_path / "err").read_text()
    assert left == code, told
    assert_gone(process.pid)
    assert "Traceback" not in told
    assert "stopped; what was evaluated is in gradus-runs/store.sqlite" in told
    assert "the same command again" in told
    assert (tmp_path / "out").read_text() == ""
    assert {path.name for path in (tmp_path / "gradus-runs").iterdir()} <= {
        ".gitignore",
        ".lock",
        "store.sqlite",
        "checkpoints",
    }
    with Store(tmp_path / "gradus-runs" / "store.sqlite", create=False) as store:
        assert {one.status for one in store.runs()} == {"interrupted"}
        lines = re.findall(r" valid accuracy ", told)
        assert sum(one.rows for one in store.runs()) - len(lines) in (0, 1)  # stored first, then told


def assert_gone(group):
    """Nobody is left in a group of processes, multiprocessing's own helper having a moment to see that all is over."""
    for _ in range(100):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    raise AssertionError("a process was left behind")


def wait_for_rows(log, names, process):
    """Wait until each run has told of an epoch."""
    for _ in range(1200):
        told = log.read_text()
        if all(re.search(rf"^{name} +step.* valid accuracy", told, re.MULTILINE) for name in names):
            return
        assert process.poll() is None, told
        time.sleep(0.1)
    raise AssertionError(f"no epoch within two minutes; it told: {log.read_text()}")


def test_the_same_command_again_keeps_the_finished_runs_and_says_so(command, monkeypatch):
    """A command that was stopped after its first run keeps that run when it is given again, and its table has both."""
    arguments = quick("--only", "constant", "--only", "cosine")
    begin = Store.begin

    def stop_at_the_second(store, sweep, run, conditions):
        if run.name == "cosine":
            raise KeyboardInterrupt
        return begin(store, sweep, run, conditions)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "begin", stop_at_the_second)
        code, _, err = command(*arguments)
    assert code == 130
    assert "the same command again" in err
    code, out, err = command(*arguments)
    assert code == 0
    assert "2 runs (1 kept from before)" in out
    assert [line.split()[0] for line in err.splitlines()] == ["cosine"]
    code, out, err = command(*arguments)  # a finished comparison trains nothing
    assert (code, err) == (0, "")
    assert "2 runs (2 kept from before)" in out
    assert "kept" not in command(*arguments, "--again")[1]


@pytest.mark.parametrize("name", ["results.json", "curves.png"])
def test_what_cannot_be_written_is_told_and_what_was_there_stays(name, command, tmp_path):
    """Where the results can't be written the command fails with a sentence, and leaves no half of a file behind."""
    (tmp_path / "out" / name / "mine").mkdir(parents=True)  # a folder where the file should go
    code, _, err = command(*quick("--only", "constant", "--out", "out"))
    assert code == 1
    assert err.splitlines()[-1].startswith(f"gradus: out/{name} can't be written: ")
    assert (tmp_path / "out" / name / "mine").is_dir()
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(f".{name}")]


def test_the_installed_command_is_this_one():
    """`gradus` on the path runs `gradus.cli.main`."""
    from importlib.metadata import entry_points

    (script,) = entry_points(group="console_scripts", name="gradus")
    assert script.load() is cli.main
    assert shutil.which("gradus", path=os.path.dirname(sys.executable))  # noqa: PTH120


OUTPUTS = {
    "full": ("exec > /dev/full", "gradus: the output can't be written: No space left on device\n"),
    "all full": ("exec > /dev/full 2> /dev/full", ""),
    "closed": ("exec >&-", ""),
    "all closed": ("exec >&- 2>&-", ""),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("arguments", ["runs", "plot 'Cosine(10)'", "--help"])
def test_output_that_cannot_be_written_is_a_sentence(output, arguments, tmp_path):
    """Under a full or closed output a command leaves with a sentence where one can be read, and without a traceback."""
    Store(tmp_path / "gradus-runs" / "store.sqlite").close()
    shell, message = OUTPUTS[output]
    command = f"{shell}; exec {shlex.quote(sys.executable)} -c 'from gradus.cli import main; main()' {arguments}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1 if "full" in output else 0, message)


def test_a_pipe_that_nobody_reads_is_no_traceback(tmp_path):
    """`gradus plot ... | true` says nothing."""
    command = f"{shlex.quote(sys.executable)} -c 'from gradus.cli import main; main()' plot 'Cosine(10)' | true"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


FAILING = """
import io, os, sys
allowed = int(sys.argv.pop(1))

class Pipe(io.FileIO):
    writes = 0

    def write(self, data):
        Pipe.writes += 1
        if Pipe.writes > allowed and not os.path.samestat(os.fstat(1), os.stat(os.devnull)):
            raise BrokenPipeError(32, "Broken pipe")
        return super().write(data)

sys.stdout = io.TextIOWrapper(io.BufferedWriter(Pipe(1, "w", closefd=False)), encoding="utf-8")
from gradus.cli import main
main()
"""


@pytest.mark.parametrize("allowed", [0, 1])
@pytest.mark.parametrize("arguments", [("plot", "Cosine(10)"), ("runs",), ("--help",)], ids=lambda arguments: arguments[0])
def test_a_pipe_may_break_at_any_write(arguments, allowed, tmp_path):
    """Whichever write finds nobody reading, the command leaves with 1, or 0 if there was no other, and no traceback."""
    Store(tmp_path / "gradus-runs" / "store.sqlite").close()
    command = [sys.executable, "-c", FAILING, str(allowed), *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == (1 if allowed == 0 or arguments[0] == "plot" else 0), done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception" not in done.stderr


def test_runs_of_a_crafted_store_command_no_terminal(command, tmp_path):
    """A name with control characters and a day beyond the calendar are shown as what they are."""
    command(*quick("--only", "constant"))
    with closing(sqlite3.connect(tmp_path / "gradus-runs" / "store.sqlite")) as connection, connection:
        connection.execute("UPDATE runs SET name = char(27) || '[2J', created = 1e300")
    code, out, _ = command("runs")
    assert code == 0
    assert "\x1b" not in out
