"""Files of data that travel in scikit-learn."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gradus.errors import GradusError

__all__ = ["table_of"]


def table_of(file: str, what: str, *, delimiter: str = ",") -> Tensor:
    """The numbers in a file of scikit-learn's, `[rows, columns]` or `[rows]`, in double precision.

    scikit-learn itself isn't imported: that takes a second, and changes the process's environment.

    Args:
        file: its name, such as "digits.csv.gz".
        what: what it has, as the error message calls it.
        delimiter: what stands between the numbers of a row.

    Raises:
        GradusError: scikit-learn isn't installed, or has no such file.
    """
    found = find_spec("sklearn")
    folders = (found.submodule_search_locations if found else None) or ()
    paths = [Path(folder) / "datasets" / "data" / file for folder in folders]
    try:
        path = next(path for path in paths if path.is_file())
    except StopIteration:
        raise GradusError(
            f"the {what} come with scikit-learn, which has none here; run `pip install scikit-learn`"
        ) from None
    return torch.as_tensor(np.loadtxt(path, delimiter=delimiter))
