"""The table of docs/optimizers.md: what each optimizer costs, against the rules themselves."""

import re
from pathlib import Path

import pytest
import torch

from optim_registry import CLASSES, OF_ELEMENTS, program_of

PAGE = Path(__file__).parent.parent / "docs" / "optimizers.md"
ROWS = re.findall(r"^\| `(\w+)(?:\((.*)\))?` \| (.*?) \| (\d+) \| (once|twice) \|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize(("name", "options", "slots", "bytes_moved", "passes"), ROWS)
def test_its_costs_are_its_rules(name: str, options: str, slots: str, bytes_moved: str, passes: str) -> None:
    """The slots are those that the rule's program has, and the bytes those of the tensors that it reads and writes."""
    arguments = dict(pair.split("=") for pair in options.split(", ")) if options else {}
    param = torch.nn.Parameter(torch.ones(1))
    program = program_of(CLASSES[name]([param], **{k: eval(v) for k, v in arguments.items()}))
    assert set(re.findall(r"`(\w+)`", slots)) == set(program.slots)
    assert int(bytes_moved) == 4 * (sum(len(one.reads) + len(one.writes or ()) for one in program.passes))
    assert passes == ("once", "twice")[len(program.passes) - 1]


def test_every_elementwise_optimizer_has_its_row() -> None:
    """An optimizer whose rule is of elements is in the table."""
    assert {*OF_ELEMENTS} - {name for name, *_ in ROWS} == set()
