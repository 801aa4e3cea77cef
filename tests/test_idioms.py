"""Code as courses, books and well-known repositories write it runs with its imports replaced, and prints the same.

Each file of `tests/idioms` is a plain script, written anew in such an idiom, that imports `torch.optim` and
`torch.optim.lr_scheduler` as people do and prints numbers. To add one, add a file: what must hold is here.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

SCRIPTS = sorted((Path(__file__).parent / "idioms").glob("*.py"))
REPLACED = [
    (r"\bfrom torch\.optim import lr_scheduler\b", "from gradus import lr_scheduler"),
    (r"\btorch\.optim\.lr_scheduler\b", "gradus.lr_scheduler"),
    (r"\btorch\.optim\b", "gradus.optim"),
    (r"\bfrom torch import optim\b", "from gradus import optim"),
    (r"^import torch$", "import torch, gradus.optim, gradus.lr_scheduler"),
]
NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?")


def replaced(source: str) -> str:
    """The script with Gradus in the place of torch's optimizers and schedulers."""
    for torchs, ours in REPLACED:
        source = re.sub(torchs, ours, source, flags=re.MULTILINE)
    return source


def printed(source: str, name: str) -> str:
    """What a script prints when it is run."""
    torch.manual_seed(0)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(source, name, "exec"), {"__name__": "__main__"})
    return out.getvalue()


def last_place(number: str) -> float:
    """The worth of one in a printed number's last place."""
    digits, _, exponent = number.partition("e")
    return float(10.0 ** (int(exponent or 0) - len(digits.partition(".")[2])))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
@pytest.mark.filterwarnings("ignore::UserWarning")  # torch remarks on some of the idioms
def test_it_prints_what_torch_prints(script: Path) -> None:
    """Every line that a script prints under torch it prints under Gradus: words equal, numbers to their last place."""
    source = script.read_text()
    assert replaced(source) != source
    theirs, ours = printed(source, script.name), printed(replaced(source), script.name)
    assert NUMBER.search(theirs)
    assert NUMBER.sub("#", ours) == NUMBER.sub("#", theirs)
    for mine, its in zip(NUMBER.findall(ours), NUMBER.findall(theirs), strict=True):
        assert float(mine) == pytest.approx(float(its), rel=1e-6, abs=1.01 * last_place(its)), (ours, theirs)
