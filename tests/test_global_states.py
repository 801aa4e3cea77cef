"""The law that Gradus changes nothing that is one for all in a process: no import of it does, and no public call."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from global_states import CALLS


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """The states that each call changed, in one fresh process."""
    script = Path(__file__).parent / "global_states.py"
    done = subprocess.run([sys.executable, script], cwd=tmp_path_factory.mktemp("fresh"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("call", CALLS)
def test_no_import_and_no_call_changes_a_global_state(call, changed):
    """Random states, environment, threads, defaults, handlers, filters, paths and hooks are as before the first call too."""
    assert changed[call] == []
