"""Checkpoints: the whole state of a training in one file, written atomically; loading it runs no code from it.

Where parameters are sharded (FSDP2, DTensor), each process writes its own shards into a folder next to that file. The file
is written last and indexes the shards. Sharded checkpoints load on any number of processes.
"""

from gradus.checkpoint.api import Loaded, load, save, weights_of
from gradus.checkpoint.file import DamagedCheckpoint
from gradus.checkpoint.folder import Checkpoints, latest
from gradus.checkpoint.restore import have_equal_parts

__all__ = ["Checkpoints", "DamagedCheckpoint", "Loaded", "have_equal_parts", "latest", "load", "save", "weights_of"]
