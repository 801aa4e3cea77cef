"""What the first calls of Gradus in a process change of what is one for all in it.

Run as a script, it prints JSON: for each call of `CALLS`, in their order, the names of the states that it changed. Nothing
of Gradus has been imported before the first, so that whatever an import changes is found at the call that imports it.
"""

import contextlib
import gc
import json
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings

PREPARED = """
inputs = torch.randn(96, 6)
loader = torch.utils.data.DataLoader(list(zip(inputs, inputs[:, :3].argmax(1))), batch_size=8, shuffle=True)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Dropout(.1), torch.nn.Linear(8, 3))
adam, sgd = torch.optim.Adam(model.parameters()), torch.optim.SGD(model.parameters(), lr=.1)
cross_entropy = torch.nn.functional.cross_entropy
param = torch.nn.Parameter(torch.ones(4, 4))
param.grad = torch.ones(4, 4)
"""
QUICK = "steps=12, start=1e-3, end=.1, progress=False"
CALLS = {
    "import gradus.schedules": "import gradus.schedules",
    "a range test": f"import gradus; gradus.range_test(model, adam, cross_entropy, loader, {QUICK})",
    "a range test of several seeds": f"""
import gradus
gradus.range_test(model, sgd, cross_entropy, loader, {QUICK}, seeds=2)
""",
    "a range test that fails": f"""
import gradus
with contextlib.suppress(ZeroDivisionError):
    gradus.range_test(model, sgd, cross_entropy, loader, {QUICK}, metric=lambda *_: 1 / 0)
""",
    "updates": """
import gradus
for kind in (gradus.optim.AdamW, gradus.optim.Muon, gradus.optim.Prodigy, gradus.optim.LBFGS):
    optimizer = kind([param])
    scheduler = gradus.Scheduler(optimizer, lr=gradus.schedules.parse("warmup(5) >> Cosine(15)"))
    for _ in range(3):
        optimizer.step((lambda: torch.ones(())) if kind is gradus.optim.LBFGS else None)
        scheduler.step()
    scheduler.load_state_dict(scheduler.state_dict())
    optimizer.load_state_dict(optimizer.state_dict())
gradus.lr_scheduler.CosineAnnealingLR(sgd, 5).step()
""",
    "pictures": """
import gradus
from gradus.plots import png, terminal_plot
schedule = gradus.schedules.Cosine(10)
png(schedule.plot()), terminal_plot({"cosine": schedule}, 12, width=60)
gradus.check(schedule, 20), gradus.explain(schedule)
""",
    "a checkpoint": """
import gradus
gradus.checkpoint.save("mine.ckpt", model=model)
gradus.checkpoint.load("mine.ckpt", model=model)
""",
    "a training, between its rows": """
import gradus
from gradus.schedules import Cosine, epochs, rest
rows = gradus.train(gradus.Run("digits", schedules=Cosine(rest()), length=epochs(2), on_nonfinite="stop"))
next(rows)
""",
    "a comparison in two processes": """
import gradus
from gradus.schedules import Cosine, epochs, rest
run = gradus.Run("digits", length=epochs(1))
runs = gradus.grid(run, schedules={"constant": gradus.schedules.Constant(), "cosine": Cosine(rest())})
gradus.compare(runs, out="out", workers=2, threads=1)
""",
    "the gallery": """
from gradus import gallery
gallery.render(gallery.descent(), "rates", "svg", lang="en", dark=True)
gallery.DEMONSTRATIONS["averages"].make()
""",
    "importing every module": """
import importlib, pkgutil, gradus
for module in pkgutil.walk_packages(gradus.__path__, "gradus."):
    importlib.import_module(module.name)
""",
    "names that can't be imported": """
import gradus
for name in ("nowhere:f", "math:nothing"):
    with contextlib.suppress(gradus.InvalidInput):
        gradus.schedules.Lambda(name)
""",
}
COMMANDS = (
    "--version",
    "plot Cosine(10)",
    "train Cosine(1) --epochs 1",
    "find --steps 12 --start 1e-2 --no-verify",
    "compare --epochs 1 --only cosine --workers 1",
    "runs",
    "gallery descent --format png",
    "compare --nope",
)
CALLS |= {
    f"gradus {line}": f"""
import gradus.cli
sys.argv = ["gradus", *{line.split()}]
with contextlib.suppress(SystemExit):
    gradus.cli.main()
"""
    for line in COMMANDS
}


def states():
    """What is one for all in a process."""
    return {
        "Python's random state": random.getstate(),
        "NumPy's random state": repr(np.random.get_state(legacy=False)),
        "torch's random state": torch.get_rng_state().tolist(),
        "CUDA's random states": [one.tolist() for one in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_available()
        else [],
        "os.environ": dict(os.environ),
        "the current folder": os.getcwd(),  # noqa: PTH109
        "sys.path": list(sys.path),
        "the warnings' filters": list(map(str, warnings.filters)),
        "signal handlers": [signal.getsignal(number) for number in signal.valid_signals()],
        "the root logger": (logging.root.level, list(logging.root.handlers), logging.root.manager.disable),
        "gc": (gc.isenabled(), gc.get_threshold(), gc.get_debug()),
        "Python's hooks": (warnings.showwarning, sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook),
        "Python's limits": (sys.getrecursionlimit(), sys.getswitchinterval()),
        "the standard streams": (sys.stdin, sys.stdout, sys.stderr, sys.stdout.errors, sys.stderr.errors),
        "the locale": locale.setlocale(locale.LC_ALL),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch's defaults": (torch.get_default_dtype(), torch.get_default_device(), repr(torch._tensor_str.PRINT_OPTS)),
        "torch's modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "torch's arithmetic": (
            torch.are_deterministic_algorithms_enabled(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.get_float32_matmul_precision(),
            torch.is_autocast_enabled("cpu"),
        ),
        "NumPy's settings": (np.geterr(), np.get_printoptions()),
        "Matplotlib's settings": dict(dict.items(mpl.rcParams)),
        "Matplotlib's figures": sys.modules["matplotlib.pyplot"].get_fignums() if "matplotlib.pyplot" in sys.modules else [],
    }


def changed_by(code):
    """The names of the states that a piece of code changes; what its user does before it isn't counted."""
    names = {"torch": torch, "sys": sys, "contextlib": contextlib}
    exec(PREPARED, names)
    before = states()
    exec(code, names)
    after = states()
    return [name for name in before if before[name] != after[name]]


if __name__ == "__main__":
    import matplotlib as mpl
    import numpy as np
    import scipy.special  # noqa: F401 - it adds a filter for its own warnings when it is imported, as NumPy and torch do
    import torch

    answers = os.dup(1)
    os.dup2(2, 1)  # what the calls print isn't the answer
    os.write(answers, json.dumps({name: changed_by(code) for name, code in CALLS.items()}).encode())
