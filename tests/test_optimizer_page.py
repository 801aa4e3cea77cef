"""The table of docs/optimizers.md: what each optimizer costs, against the rules themselves."""

import re
from pathlib import Path

import pytest
import torch

import gradus.optim
from gradus.backends.row import Row

PAGE = Path(__file__).parent.parent / "docs" / "optimizers.md"
ROWS = re.findall(r"^\| `(\w+)(?:\((.*)\))?` \| (.*?) \| (\d+) \| yes \|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("name", "options", "slots", "bytes_moved"), ROWS)
def test_its_costs_are_its_rules(name: str, options: str, slots: str, bytes_moved: str) -> None:
    """The slots are those that the rule's program has, and the bytes those of the tensors that it reads and writes."""
    arguments = dict(pair.split("=") for pair in options.split(", ")) if options else {}
    optimizer = getattr(gradus.optim, name)(
        [torch.nn.Parameter(torch.ones(1))], **{k: eval(v) for k, v in arguments.items()}
    )
    rule = optimizer.rule
    scalars = {slot: rule.begun(slot, optimizer.defaults) for slot in rule.scalars}
    program = Row(rule, optimizer.param_groups[0], 0, scalars).program(None)
    assert set(re.findall(r"`(\w+)`", slots)) == set(program.slots)
    assert int(bytes_moved) == 4 * (len(program.reads) + len(program.writes))


def test_every_elementwise_optimizer_has_its_row() -> None:
    """An optimizer whose rule is of elements is in the table."""
    classes = {name for name in gradus.optim.__all__ if hasattr(getattr(gradus.optim, name), "hypers")}
    elementwise = {name for name in classes if not getattr(gradus.optim, name).rule.of_tensors}
    assert elementwise - {name for name, *_ in ROWS} == set()
