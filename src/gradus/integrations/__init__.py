"""Doors to and from other libraries."""

from typing import Any

from gradus.integrations.torch_schedulers import from_torch
from gradus.integrations.transformers_names import from_transformers
from gradus.names import no_attribute

__all__ = ["from_torch", "from_transformers"]


def __getattr__(name: str) -> Any:
    raise no_attribute(__name__, name, __all__)


def __dir__() -> list[str]:
    return sorted(__all__)
