"""Doors to and from other libraries."""

from gradus.integrations.torch_schedulers import from_torch
from gradus.integrations.transformers_names import from_transformers

__all__ = ["from_torch", "from_transformers"]
