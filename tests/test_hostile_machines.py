"""Machines that are not one's own: nothing installed can be written, there is no home, no place for temporary files, one
core, or a terminal that goes.

`make faults` tries every combination; the tests take a sample.
"""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import gradus
from gradus.store import STORE_FILE, Store

ERRAND = """
import os, sys
cores = sys.argv[1]
if cores == "one core":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from gradus import cli
param = torch.nn.Parameter(torch.ones(3)); param.grad = torch.ones(3)
import gradus
gradus.optim.SGD([param], lr=0.5).step()
assert param.tolist() == [0.5, 0.5, 0.5]
sys.argv = ["gradus", "compare", "--epochs", "1", "--only", "constant", "--only", "cosine", "--threads", "1"]
cli.main()
"""
HOMES = {"no home": None, "a home that is read only": "closed", "a home with too long a name": "/" + 300 * "h"}
PLACES = {"temporary files": "temporary", "no place for temporary files": "absent"}
CORES = ["all cores", "one core"] if hasattr(os, "sched_setaffinity") else ["all cores"]
MACHINES = list(itertools.product(HOMES, PLACES, CORES))
SAMPLE = [MACHINES[0], ("a home that is read only", "no place for temporary files", "all cores"), MACHINES[-1]]
TRIED = MACHINES if "GRADUS_KILLS" in os.environ else list(dict.fromkeys(SAMPLE))
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
# root's own Python may lie where nobody else may look: reading is all that is left of root's rights
NOBODY += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def as_nobody() -> list[str]:
    """What begins a command that may write to nothing that is installed."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return []  # whoever isn't root is already somebody else; what is installed must stay as it is all the same
    if not shutil.which("setpriv") or subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this root can't become nobody and go on reading")
    return NOBODY


def installed() -> set[Path]:
    """The files of the package."""
    return {path for path in Path(gradus.__file__).parent.rglob("*") if path.suffix != ".pyc"}


@pytest.mark.skipif(os.name != "posix", reason="users and rights as POSIX has them")
@pytest.mark.parametrize("machine", TRIED, ids=" and ".join)
def test_a_comparison_needs_nothing_but_its_own_folder(machine: tuple[str, str, str], tmp_path: Path) -> None:
    """As nobody, with a read-only installation, whatever home, temporary folder and cores there are: kernels are compiled,
    the comparison ends with its rows, no traceback is seen, and nothing is written elsewhere.
    """
    home, place, cores = machine
    work, closed = tmp_path / "work", tmp_path / "closed"
    for folder in (work, closed, tmp_path / "temporary"):
        folder.mkdir()
    closed.chmod(0o555)
    who = as_nobody()
    if who:
        for folder in (work, tmp_path / "temporary"):
            os.chown(folder, 65534, 65534)
        for folder in (tmp_path, *tmp_path.parents):
            if not folder.stat().st_mode & 0o001:  # pytest's folders are its user's alone
                folder.chmod(folder.stat().st_mode | 0o055)
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path / PLACES[place])}
    if HOMES[home] is not None:
        environment["HOME"] = str(tmp_path / str(HOMES[home]))
    before = installed()
    command = [*who, sys.executable, "-c", ERRAND, cores]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "2 runs" in done.stdout
    assert {path.name for path in work.iterdir()} == {"gradus-runs"}
    assert not list(closed.iterdir())
    assert installed() == before
    results = json.loads((work / "gradus-runs" / "results.json").read_text())
    assert results
    with Store(work / "gradus-runs" / STORE_FILE, create=False) as store:
        assert [(one.status, one.rows) for one in store.runs()] == [("finished", 1)] * 2


IN_A_TERMINAL = r"""
import os, pty, re, signal, sys, time
from pathlib import Path
child, terminal = pty.fork()
if child == 0:
    os.execv(sys.executable, [sys.executable, "-c", "from gradus.cli import main; main()", *sys.argv[2:]])
said = b""
while not re.search(rb"[1-9]\d*/63000", said):  # updates done, of 3,000 epochs with 21
    said += os.read(terminal, 1000)
if sys.argv[1] == "closed":
    os.close(terminal)
else:
    os.kill(child, signal.SIGHUP)
    try:
        while True:
            said += os.read(terminal, 1000)
    except OSError:
        pass
status = os.waitpid(child, 0)[1]
print(os.waitstatus_to_exitcode(status), "Traceback" in said.decode(errors="replace"))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP") or sys.platform == "win32", reason="terminals as POSIX has them")
@pytest.mark.parametrize("how", ["closed", "told"])
def test_a_terminal_that_is_closed_stops_the_command_kindly(how: str, tmp_path: Path) -> None:
    """Where its terminal is closed, or it is told so, `gradus train` leaves with 129, and its run is in the store."""
    command = [sys.executable, "-c", IN_A_TERMINAL, how, "train", "--epochs", "3000", "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.split() == ["129", "False"], done.stderr
    with Store(tmp_path / "gradus-runs" / STORE_FILE, create=False) as store:
        assert [one.status for one in store.runs()] == ["interrupted"]
        assert store.check() == []


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="the system has no SIGHUP")
def test_under_nohup_a_closed_terminal_stops_nothing(tmp_path: Path) -> None:
    """A SIGHUP that the command was started to ignore stays ignored: the training goes on to its end."""
    program = "from gradus.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, "train", "--epochs", "20", "--threads", "1"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    while process.poll() is None and not (tmp_path / "gradus-runs" / STORE_FILE).exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGHUP)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert b"train: 420 updates" in out
