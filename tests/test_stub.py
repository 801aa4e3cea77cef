"""The signatures that type checkers read."""

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_stub_is_current() -> None:
    """`gradus/optim/__init__.pyi` is what the rules' own signatures make it."""
    tool = runpy.run_path(str(ROOT / "tools" / "optim_stub.py"))
    assert tool["STUB"].read_text() == tool["stub"](), "run: python tools/optim_stub.py"
