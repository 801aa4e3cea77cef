"""Checkpoints: the whole state of a training in one file, which is whole or absent, and from which no code runs.

Where parameters are shared out among processes (FSDP2, DTensor), each process writes its own part into a folder beside that
file, which comes last and says what lies where. They come back on any number of processes.
"""

from gradus.checkpoint.file import DamagedCheckpoint
from gradus.checkpoint.filling import have_equal_parts
from gradus.checkpoint.folder import Checkpoints, latest
from gradus.checkpoint.one import Loaded, load, save, weights_of

__all__ = ["Checkpoints", "DamagedCheckpoint", "Loaded", "have_equal_parts", "latest", "load", "save", "weights_of"]
