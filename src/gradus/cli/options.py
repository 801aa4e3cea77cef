"""Options that several commands take, each written once; and what is typed there, as arguments of `Run`."""

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from gradus.errors import InvalidInput
from gradus.files import RESULTS
from gradus.schedules import Schedule, Span, epochs, parse, samples, tokens

__all__ = [
    "MACHINE",
    "NETWORK",
    "STEP",
    "TASK",
    "TRAINING",
    "length_of",
    "named_schedules",
    "options_of",
    "run_settings",
    "single_options",
    "takes",
]

_Table = Mapping[str, tuple[Any, Any]]  # an option's annotation and its default, by its name

_LENGTH = '"epochs(3)", "samples(1e5)", "tokens(1e6)", or a number of updates'

TASK: _Table = {
    "task": (
        Annotated[str, typer.Option(help="digits, diabetes, topics, fashion-mnist, or package.module:function.")],
        "digits",
    ),
    "data_dir": (
        Annotated[
            str | None, typer.Option(metavar="DIR", help="Where a task finds its files; the user's cache by default.")
        ],
        None,
    ),
}
NETWORK: _Table = {
    "model": (
        Annotated[str | None, typer.Option(help="Another network than the task's: lenet, or package.module:function.")],
        None,
    ),
    "optimizer": (
        Annotated[
            str | None,
            typer.Option(help="A class of gradus.optim, such as AdamW; torch.optim.AdamW; or package.module:Class."),
        ],
        None,
    ),
    "option": (
        Annotated[
            list[str] | None,
            typer.Option(metavar="NAME=VALUE", help="An argument of the optimizer, such as momentum=0.9; repeatable."),
        ],
        None,
    ),
}
STEP: _Table = {
    "group": (
        Annotated[
            list[str] | None,
            typer.Option(
                metavar="PATTERN=GROUP",
                help='Parameters by name: "embed.*=frozen", "body.*=factor:0.1", "*.bias=weight_decay:0"; repeatable.',
            ),
        ],
        None,
    ),
    "batch_size": (Annotated[int | None, typer.Option(help="Examples in a batch; the task's own by default.")], None),
    "accumulate": (Annotated[int, typer.Option(help="Batches in an update.")], 1),
    "precision": (Annotated[str, typer.Option(help="float32, bfloat16, float16 or float64.")], "float32"),
    "clip_norm": (Annotated[float | None, typer.Option(help="The greatest norm of all gradients together.")], None),
}
TRAINING: _Table = {
    "epochs": (Annotated[float | None, typer.Option(help="Passes over the data; the task's own by default.")], None),
    "length": (Annotated[str | None, typer.Option(metavar="LENGTH", help=f"How long to train: {_LENGTH}.")], None),
    **STEP,
    "valid": (
        Annotated[
            bool | None,
            typer.Option("--valid/--no-valid", help="Hold a part of the training data out to choose by; the default."),
        ],
        None,
    ),
    "evaluate_every": (
        Annotated[
            str | None, typer.Option(metavar="LENGTH", help="How often to score; each epoch by default. As --length.")
        ],
        None,
    ),
    "record_every": (
        Annotated[int | None, typer.Option(metavar="STEPS", help="Updates between two points of the training curve.")],
        None,
    ),
    "per": (Annotated[str | None, typer.Option(help="What schedules count: step, or epoch.")], None),
    "on_nonfinite": (
        Annotated[
            str | None,
            typer.Option(
                metavar="POLICY",
                help='At a loss or gradient that is no finite number: "stop", "skip" the update, or "back-off" to the last '
                "evaluation with half the rate. Without it the next evaluation tells.",
            ),
        ],
        None,
    ),
}
MACHINE: _Table = {
    "device": (Annotated[str | None, typer.Option(help="cuda, mps or cpu; the best there is by default.")], None),
    "threads": (
        Annotated[int | None, typer.Option(help="Threads of each process; by default the cores are split evenly.")],
        None,
    ),
    "checkpoint_every": (
        Annotated[int | None, typer.Option(metavar="STEPS", help="Updates between two checkpoints; an epoch's by default.")],
        None,
    ),
    "again": (Annotated[bool, typer.Option("--again", help="Train finished runs anew.")], False),
    "keep": (
        Annotated[bool, typer.Option("--keep", help="Keep finished runs though the conditions have changed since.")],
        False,
    ),
    "out": (Annotated[Path, typer.Option(metavar="DIR", help="Folder for the store and all that is written.")], RESULTS),
}


def takes(*tables: _Table) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of these tables, which it finds in its last argument, a mapping from names to values."""
    options = {name: option for table in tables for name, option in table.items()}

    def with_options(command: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(command).parameters.values())[:-1]

        def called(**given: Any) -> None:
            command(**{one.name: given[one.name] for one in own}, given={name: given[name] for name in options})

        added = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]
        parameters = [*(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own), *added]
        called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # what Typer reads
        called.__annotations__ = {one.name: one.annotation for one in parameters}
        called.__name__, called.__doc__, called.__module__ = command.__name__, command.__doc__, command.__module__
        return called

    return with_options


def run_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `Run` among what was typed; those that weren't are left out."""
    names = ("batch_size", "accumulate", "precision", "clip_norm", "valid", "record_every", "per", "on_nonfinite", "seed")
    settings = {name: given[name] for name in (*names, "model", "optimizer", "name") if given.get(name) is not None}
    if given.get("epochs") is not None and given.get("length") is not None:
        raise InvalidInput("give --epochs or --length, not both")
    if given.get("epochs") is not None:
        settings["length"] = epochs(given["epochs"])
    for name in ("length", "evaluate_every"):
        if given.get(name) is not None:
            settings[name] = length_of(given[name], f"--{name.replace('_', '-')}")
    if given.get("group"):
        settings["groups"] = _groups(given["group"])
    return settings


def length_of(text: str, option: str) -> int | Span:
    """A number of updates, or a span.

    >>> length_of("epochs(2.5)", "--length"), length_of("1000", "--length")
    (epochs(2.5), 1000)
    """
    kinds = {"epochs": epochs, "samples": samples, "tokens": tokens}
    match = re.fullmatch(r"\s*(?:(\w+)\s*\(\s*([0-9.eE+]+)\s*\)|(\d+))\s*", text)
    try:
        if match and match[3]:
            return int(match[3])
        if match and match[1] in kinds:
            return kinds[match[1]](float(match[2]))
    except ValueError:
        pass
    raise InvalidInput(f"{option} takes {_LENGTH}; got {text!r}")


def named_schedules(texts: Sequence[str], *, unnamed: bool) -> dict[str, Schedule]:
    """Each schedule under the name before its "="; where there is none, under its own text if that is allowed."""
    named: dict[str, Schedule] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=()]+?)\s*=\s*(.+)", text, re.DOTALL)
        if match is None and not unnamed:
            raise InvalidInput(f'--schedule takes NAME="...", such as mine="Cosine(rest())"; got {text!r}')
        name, definition = match.groups() if match else (text.strip(), text)
        if name in named:
            raise InvalidInput(f"each schedule needs a name of its own; {name!r} is given twice")
        named[name] = parse(definition, trusted=True)  # typed by the person who runs it
    return named


def options_of(texts: Iterable[str]) -> dict[str, list[Any]]:
    """An optimizer's arguments, each with the values that it was given; what Python has no literal for is text."""
    options: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--option takes NAME=VALUE, such as momentum=0.9; got {text!r}")
        options.setdefault(name, []).append(_literal(value))
    return options


def single_options(texts: Iterable[str]) -> dict[str, Any] | None:
    """An optimizer's arguments, each given once; None where there are none."""
    options = options_of(texts)
    for name, values in options.items():
        if len(values) > 1:
            raise InvalidInput(f"--option takes each name once here; {name!r} is given {len(values)} times")
    return {name: value for name, (value,) in options.items()} or None


def _groups(texts: Iterable[str]) -> dict[str, Any]:
    groups: dict[str, Any] = {}
    for text in texts:
        pattern, equals, value = text.partition("=")
        parts = [part.partition(":") for part in re.split(r",(?![^(\[]*[)\]])", value)]
        if not equals or pattern in groups or not (value == "frozen" or all(colon and name for name, colon, _ in parts)):
            raise InvalidInput(
                f"--group takes PATTERN=frozen or PATTERN=NAME:VALUE,... once for each pattern, such as body.*=factor:0.1; "
                f"got {text!r}"
            )
        groups[pattern] = value if value == "frozen" else {name: _literal(one) for name, _, one in parts}
    return groups


def _literal(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
