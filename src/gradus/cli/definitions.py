"""Schedules as they are typed: NAME="..."."""

import re
from collections.abc import Sequence

from gradus.errors import InvalidInput
from gradus.schedules import Schedule, parse

__all__ = ["named_schedules"]


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
