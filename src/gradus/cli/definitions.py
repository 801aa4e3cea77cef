"""What several commands take: schedules and optimizers' arguments as NAME=VALUE, and a policy for what isn't finite."""

import ast
import re
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gradus.errors import InvalidInput
from gradus.schedules import Schedule, parse

__all__ = ["OnNonfinite", "OptimizerName", "named_schedules", "optimizer_options"]

OnNonfinite = Annotated[
    str | None,
    typer.Option(
        metavar="POLICY",
        help='At a loss or gradient that is no finite number: "stop", "skip" the update, or "back-off" to the epoch\'s '
        "beginning with half the rate. Without it the epoch's end tells.",
    ),
]

OptimizerName = Annotated[
    str,
    typer.Option(help="A class of torch.optim or gradus.optim: SGD, Lion, gradus.optim.AdamW; or package.module:Class."),
]


def named_schedules(texts: Sequence[str], *, unnamed: bool) -> dict[str, Schedule]:
    """Each schedule under the name before its "="; where there is none, under its own text if that is allowed."""
    named: dict[str, Schedule] = {}
    for text in texts:
        match = re.fullmatch(r"\s*([^=()]+?)\s*=\s*(.+)", text, re.DOTALL)
        if match is None and not unnamed:
            raise InvalidInput(f'--schedule takes NAME="...", such as mine="Cosine(30)"; got {text!r}')
        name, definition = match.groups() if match else (text.strip(), text)
        if name in named:
            raise InvalidInput(f"each schedule needs a name of its own; {name!r} is given twice")
        named[name] = parse(definition, trusted=True)  # typed by the person who runs it
    return named


def optimizer_options(texts: Sequence[str]) -> dict[str, Any]:
    """An optimizer's arguments, their values as Python writes them; what is no value of Python's is text."""
    options: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name or name in options:
            raise InvalidInput(f"--option takes NAME=VALUE once for each name, such as momentum=0.9; got {text!r}")
        try:
            options[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            options[name] = value
    return options
