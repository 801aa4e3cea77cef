"""Writes the signatures of `gradus.optim` for type checkers and editors, from the rules: `python tools/optim_stub.py`."""

import importlib
import inspect
import math
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import gradus.optim

STUB = Path(gradus.optim.__file__).with_suffix(".pyi")

# What every optimizer takes beside its rule's hyperparameters.
OPTIONS = {
    "foreach": "bool | None",
    "capturable": "bool",
    "differentiable": "bool",
    "fused": "bool | None",
    "backend": "Backend",
    "clip_norm": "float | None",
    "clip_value": "float | None",
    "skip_nonfinite": "bool",
    "stochastic_rounding": "bool",
}

HEADER = '''\
"""Signatures of `gradus.optim`, made from the rules by tools/optim_stub.py."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from torch import Tensor
from torch.optim import swa_utils as swa_utils
from torch.optim import swap_in_optimizer_params_and_state as swap_in_optimizer_params_and_state

from gradus import lr_scheduler as lr_scheduler
'''

TYPES = """
Params: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
Backend: TypeAlias = Literal["auto", "torch", "cpu", "cuda"] | str  # or a registered one
"""


def stub() -> str:
    """The whole stub."""
    public = {name: getattr(gradus.optim, name) for name in gradus.optim.__all__}
    made = {name: value for name, value in public.items() if inspect.isclass(value) and hasattr(value, "rule")}
    homes = {name: module for module in _modules() for name in importlib.import_module(module).__all__}
    imports = [f"from {homes[name]} import {name} as {f'_{name}' if name in made else name}" for name in public]
    listed = "".join(f"    {name!r},\n" for name in public).replace("'", '"')
    classes = (f"\nclass {name}(_{name}):\n{constructor(value)}" for name, value in made.items())
    return HEADER + "\n".join(sorted(imports, key=str.lower)) + f"\n\n__all__ = [\n{listed}]\n" + TYPES + "".join(classes)


def _modules() -> Iterator[str]:
    """The modules that the classes are written in; each class names the package."""
    for module in pkgutil.iter_modules(gradus.optim.__path__):
        yield f"gradus.optim.{module.name}"
    yield "gradus.rules.cautious"


def constructor(optimizer: Any) -> str:
    """The text of a class's `__init__`."""
    lines = ["    def __init__(", "        self,"]
    types, star = _types(optimizer), False
    for name, parameter in inspect.signature(optimizer).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            star = True
            lines.append("        *,")
        shown = "..." if parameter.default == math.inf else repr(parameter.default)  # infinity has no literal
        default = "" if parameter.default is parameter.empty else f" = {shown}"
        lines.append(f"        {name}: {types[name]}{default},".replace("'", '"'))
    return "\n".join([*lines, "    ) -> None: ...", ""])


def _types(optimizer: Any) -> Mapping[str, str]:
    """The type of each argument, in the words of the stub."""
    hints: dict[str, Any] = {}
    for rule in (optimizer._fallback, optimizer.rule):
        hints |= get_type_hints(rule.function) if rule else {}
    return {"params": "Params", **{name: _text(hints.get(name, Any)) for name in optimizer.hypers}, **OPTIONS}


def _text(hint: Any) -> str:
    """A hint as it is written; where a number is asked for, a tensor of one element will do."""
    if get_origin(hint) is Annotated:
        return _text(get_args(hint)[0])
    if hint in (float, int, bool, str, None, type(None)):
        return {float: "float | Tensor", int: "int", bool: "bool", str: "str"}.get(hint, "None")
    if get_origin(hint) is tuple:
        return f"tuple[{', '.join(map(_text, get_args(hint)))}]"
    return " | ".join(_unions(hint)) if get_args(hint) else "Any"


def _unions(hint: Any) -> Iterator[str]:
    for member in get_args(hint):
        yield _text(member)


if __name__ == "__main__":
    STUB.write_text(stub())
