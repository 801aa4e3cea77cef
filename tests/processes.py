"""Several processes that do something together, over gloo."""

import faulthandler
import os
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torch.multiprocessing as multiprocessing

__all__ = ["spawned"]

_PATIENCE = 600  # seconds after which a process says where it waits, and ends


def spawned(act: Callable[..., None], world: int, *given: Any) -> None:
    """Have so many processes do `act(rank, world, *given)` together; 0 is this one alone, without any others."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = act, world, f"{folder}/meeting", *given
        if world > 1:
            multiprocessing.spawn(_in_one, arguments, nprocs=world)
        elif world == 1:
            _in_one(0, *arguments)
        else:
            act(0, world, *given)


def _in_one(rank: int, act: Callable[..., None], world: int, meeting: str, *given: Any) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    if world > 1:
        faulthandler.dump_traceback_later(_PATIENCE, exit=True)
    torch.distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world)
    try:
        act(rank, world, *given)
    finally:
        torch.distributed.destroy_process_group()
        torch.set_num_threads(threads)  # one process alone is this one
    if world > 1:
        os._exit(0)  # gloo's threads may be taken down in the wrong order at an orderly end, which aborts the process
