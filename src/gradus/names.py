"""Names that people type: which known one was meant, and what an import path names."""

import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import reduce, update_wrapper
from pathlib import Path
from types import FunctionType
from typing import Any, TypeVar, cast

from gradus.errors import InvalidInput

__all__ = ["current_folder_first", "did_you_mean", "hint_for_argument", "hinting", "imported", "no_attribute"]

_LONGEST = 100  # characters; a longer text is no slip of the fingers, and comparing it takes quadratic time
_NEAR = 0.65  # of difflib's ratio: a letter in three may be wrong
_Function = TypeVar("_Function", bound=Callable[..., Any])
_FORM = "package.module:name, with the module on Python's path or in the current folder"


def did_you_mean(name: object, known: Iterable[object]) -> str:
    """A hint for an error message, to stand right after the wrong name; empty where no known name is near.

    Case, "-" and "_" count only where the letters leave a choice.

    Args:
        name: what was typed.
        known: what could have been meant.

    >>> did_you_mean("Cosne", ["Linear", "Cosine"]), did_you_mean("fashion_MNIST", ["digits", "fashion-mnist"])
    (' (did you mean Cosine?)', ' (did you mean fashion-mnist?)')
    >>> did_you_mean("Cosne", ["Linear"])
    ''
    """
    import difflib  # only a typo pays for it

    typed, names = str(name), list(map(str, known))
    if len(typed) > _LONGEST:
        return ""
    plain = {_plain(one): one for one in reversed(names)}  # of two that are alike, the first
    if (same := plain.get(_plain(typed))) is not None:
        return f" (did you mean {same}?)"
    near = difflib.get_close_matches(typed, names, 1, _NEAR) or [
        plain[one] for one in difflib.get_close_matches(_plain(typed), plain, 1, _NEAR)
    ]
    return f" (did you mean {near[0]}?)" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def hint_for_argument(function: Callable[..., Any], given: Iterable[str]) -> str:
    """The hint for the first of the arguments given by name that a function doesn't have.

    >>> hint_for_argument(lambda length, end: ..., ["length", "edn"])
    ' (did you mean end?)'
    """
    known = inspect.signature(function).parameters
    return next((did_you_mean(name, known) for name in given if name not in known), "")


def no_attribute(module: str, name: str, public: Iterable[str]) -> AttributeError:
    """The error of a module that has no such attribute, with the public name that was meant."""
    return AttributeError(f"module {module!r} has no attribute {name!r}{did_you_mean(name, public)}")


def hinting(function: _Function) -> _Function:
    """The function; its TypeError for an argument by an unknown name offers the one meant.

    Python 3.13 does so itself, so from there on this is the very function; it goes when that is the oldest Python.
    """
    if sys.version_info >= (3, 13):
        return function
    hint = hint_for_argument

    def called(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except TypeError as error:
            if error.__traceback__ is not None and error.__traceback__.tb_next is None and "Did you" not in str(error):
                error.args = (f"{error}{hint(function, named)}",)  # it hasn't begun: its arguments don't fit
            raise

    # doctest knows a module's own functions by their globals.
    made = FunctionType(called.__code__, cast(Any, function).__globals__, closure=called.__closure__)
    return cast(_Function, update_wrapper(made, function))


@contextmanager
def current_folder_first() -> Iterator[None]:
    """Inside, a module in the current folder is found, and before others of its name; afterwards all is as before."""
    try:
        folder = str(Path.cwd())
    except OSError:  # it has been removed: nothing can be found in it
        yield
        return
    sys.path.insert(0, folder)
    importlib.invalidate_caches()  # a file may be younger than Python's last look into its folder
    try:
        yield
    finally:
        if folder in sys.path:
            sys.path.remove(folder)


def imported(path: str, what: str = "an import path") -> Any:
    """What an import path names: `package.module:name`; the name may be a path itself, as in `module:Class.method`.

    This is the one rule for tasks, models, optimizers and functions of a user's own, on the command line and in Python:
    the module is in the current folder or on Python's path, in this order.

    Args:
        path: such as "mytask:speech".
        what: its purpose, for the error message.

    Raises:
        InvalidInput: the path isn't of that form, there is no such module, it fails when it is imported, or it has no such
            name; the message says which.

    >>> imported("math:sqrt")(4.0)
    2.0
    """
    module, _, name = path.partition(":")
    if not _is_dotted(module) or not _is_dotted(name):
        raise InvalidInput(f"{what} {path!r} must be {_FORM}{_meant(path)}")
    with current_folder_first():
        found = _module(module, f"{what} {path!r}")
    try:
        return reduce(getattr, name.split("."), found)
    except AttributeError:
        hint = did_you_mean(name, [one for one in dir(found) if not one.startswith("_")])
        raise InvalidInput(f"{what} {path!r}: the module {module} has no {name!r}{hint}") from None


def _meant(path: str) -> str:
    """The import path behind a file's path, such as mytask:speech for ./mytask.py:speech."""
    file, _, name = path.rpartition(":")
    module = file.removeprefix("./").removesuffix(".py").replace("/", ".")
    return f" (did you mean {module}:{name}?)" if _is_dotted(module) and _is_dotted(name) else ""


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))


def _module(module: str, said: str) -> Any:
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a module of the user's may raise anything, or be a script that leaves
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            hint = did_you_mean(module, _modules_here())
            raise InvalidInput(f"{said}: there is no module {error.name!r}{hint}; it must be {_FORM}") from None
        last = " ".join(traceback.format_exception_only(error)[-1].split())
        raise InvalidInput(f"{said} can't be imported: {last}{_where(error)}") from error


def _where(error: BaseException) -> str:
    """The place that an error comes from, outside Python's own importing."""
    if isinstance(error, SyntaxError):
        return f" ({error.filename}, line {error.lineno})"
    importing = (__file__, importlib.__file__)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename not in importing]
    outside = [one for one in frames if not one.filename.startswith("<frozen ")]
    return f" ({outside[-1].filename}, line {outside[-1].lineno})" if outside else ""


def _modules_here() -> list[str]:
    """The modules and packages in the current folder."""
    with current_folder_first(), os.scandir() as entries:
        return [one.name.removesuffix(".py") for one in entries if one.name.endswith(".py") or one.is_dir()]
