"""Loading a saved state of L-BFGS, Gradus's or torch's: all of it is checked before any of it is used."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradus.checks import shown
from gradus.errors import InvalidInput
from gradus.optim.lbfgs.history import History
from gradus.optim.state_dicts import count, number

__all__ = ["loaded"]

_LAST = ("d", "t", "prev_flat_grad")  # what the next direction starts from
# torch's "ro", "H_diag" and "al" follow from the pairs.
_KNOWN = {"func_evals", "n_iter", *_LAST, "prev_loss", "old_stps", "old_dirs", "ro", "H_diag", "al", "products"}


def loaded(saved: Mapping[str, Any], size: int, like: Tensor) -> tuple[dict[str, Any], History]:
    """The optimizer's state, and its history.

    Args:
        saved: the first parameter's state, which holds that of all.
        size: the number of pairs to keep.
        like: a vector of all parameters.

    Raises:
        InvalidInput: it isn't a state of L-BFGS for such a vector.
    """

    def vector(name: str, value: Any) -> Tensor:
        fits = isinstance(value, Tensor) and value.shape == like.shape and value.is_floating_point()
        if not fits or value.layout != like.layout or value.is_meta != like.is_meta:
            given = f"one of shape {tuple(value.shape)} and {value.dtype}" if isinstance(value, Tensor) else shown(value)
            raise InvalidInput(f"the saved {name} must be a vector of {len(like)} real numbers; got {given}")
        return torch.empty_like(like).copy_(value.detach())

    def vectors(name: str) -> list[Tensor]:
        values = [] if saved.get(name) is None else saved[name]
        if not isinstance(values, list):
            raise InvalidInput(f"the saved {name} must be a list of vectors; got {shown(values)}")
        return [vector(name, value) for value in values]

    if unknown := sorted(map(str, saved.keys() - _KNOWN)):
        raise InvalidInput(f"the saved state isn't of LBFGS: it has {unknown[0]!r}; {', '.join(sorted(_KNOWN))} are its own")
    state: dict[str, Any] = {name: count(name, saved.get(name, 0)) for name in ("func_evals", "n_iter")}
    there = [name for name in _LAST if saved.get(name) is not None]
    if len(there) not in (0, len(_LAST)):
        raise InvalidInput(f"a saved state of LBFGS must have {', '.join(_LAST)}, or none of them; got {', '.join(there)}")
    if there:
        state.update({name: vector(name, saved[name]) for name in ("d", "prev_flat_grad")})
        state["t"] = number("t", saved["t"], finite=False)
        state["prev_loss"] = number("prev_loss", saved.get("prev_loss", math.nan), finite=False)
    steps, changes = vectors("old_stps"), vectors("old_dirs")
    if len(steps) != len(changes):
        raise InvalidInput(f"the saved old_stps and old_dirs must be pairs; got {len(steps)} and {len(changes)}")
    history = History(size)
    history.load(steps, changes, state.get("prev_flat_grad"), _products(saved.get("products"), state["n_iter"], len(steps)))
    return state, history


def _products(products: Any, updates: int, kept: int) -> Mapping[str, Any]:
    """The products of `kept` pairs, if they were saved after `updates` iterations; else none."""
    if not isinstance(products, Mapping | None):
        raise InvalidInput(f"the saved products must be a dict; got {shown(products)}")
    # torch's LBFGS keeps the products that it loads, but never updates them.
    if not products or products.get("n_iter") != updates:
        return {}
    numbers = products.get("numbers")
    try:
        gram = np.array(numbers[:2], dtype=np.float64).reshape(2, kept, kept)  # type: ignore[index]
        projections = np.array(numbers[2:], dtype=np.float64).reshape(2, kept)  # type: ignore[index]
    except (TypeError, ValueError, OverflowError, KeyError) as error:
        raise InvalidInput(
            f"the saved products of {kept} pairs must be 2 matrices and 2 vectors of as many numbers; got {shown(numbers)}"
        ) from error
    return {"added": count("added", products.get("added", kept)), "gram": gram, "projections": projections}
