"""The schedules that Transformers names, built from its names and arguments."""

from collections.abc import Callable, Mapping
from typing import Any

from gradus.errors import InvalidInput
from gradus.names import did_you_mean
from gradus.schedules import Constant, Cosine, InverseSqrt, Linear, Plateau, Polynomial, Schedule, warmup

__all__ = ["from_transformers"]


def from_transformers(
    name: str,
    optimizer: Any = None,
    num_warmup_steps: int | None = None,
    num_training_steps: int | None = None,
    scheduler_specific_kwargs: Mapping[str, Any] | None = None,
    *,
    lr: float | None = None,
    **options: Any,
) -> Schedule:
    """What `transformers.get_scheduler` would do under this name, as a factor of each group's own rate.

    Args:
        name: of Transformers' `SchedulerType`, such as "cosine" or "warmup_stable_decay".
        optimizer: as there; it is only read, for its rate. A whole number in its place is `num_warmup_steps`.
        num_warmup_steps: as there.
        num_training_steps: as there.
        scheduler_specific_kwargs: as there, such as `{"num_cycles": 2}`.
        lr: the rate, without an optimizer, where an argument is a rate itself (`lr_end`, `min_lr`) and not a part of it.
        **options: what `scheduler_specific_kwargs` may hold, by itself: `num_cycles`, `min_lr_rate`, `num_decay_steps`.

    Raises:
        InvalidInput: an unknown name, or an argument that is missing, too many, or given twice.

    >>> from_transformers("cosine", num_warmup_steps=500, num_training_steps=10_000)
    Linear(500, start=0.0, end=1.0) >> Cosine(9500).after('mirror')
    """
    if isinstance(optimizer, int):  # the lengths alone, in their order
        lengths = [optimizer, *(one for one in (num_warmup_steps, num_training_steps) if one is not None), None]
        optimizer, num_warmup_steps, num_training_steps = None, *lengths[:2]
    name = str(getattr(name, "value", name))
    if name == "greedy":
        raise InvalidInput(
            "Transformers' GreedyLR cools down and starts anew, and ours doesn't; choose a Greedy(...) for it"
        )
    if name not in _NAMES:
        raise InvalidInput(f"Transformers has no schedule {name!r}{did_you_mean(name, _NAMES)}; it has {', '.join(_NAMES)}")
    build, takes = _NAMES[name]
    specific = _once(scheduler_specific_kwargs, options)
    needs_rate = "lr" in takes and lr is None and optimizer is not None
    given = {
        "num_warmup_steps": num_warmup_steps,
        "num_training_steps": num_training_steps,
        "lr": _rate_of(optimizer) if needs_rate else lr,
    }
    arguments = {**{key: value for key, value in given.items() if key in takes}, **specific}
    if unknown := arguments.keys() - takes.keys():
        first = sorted(unknown)[0]
        hint = did_you_mean(first, takes)
        raise InvalidInput(f"{name!r} takes no {first}{hint}; it takes {', '.join(takes) or 'nothing'}")
    missing = [key for key, default in takes.items() if default is _NEEDED and arguments.get(key) is None]
    if missing:
        raise InvalidInput(f"{name!r} needs {missing[0]}=...")
    try:
        return build(**{**takes, **{key: value for key, value in arguments.items() if value is not None}})
    except (TypeError, ArithmeticError) as error:
        raise InvalidInput(f"{name!r} can't be made of {arguments}: {error}") from None


def _once(several: Mapping[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    if several is not None and not isinstance(several, Mapping):
        raise InvalidInput(f"scheduler_specific_kwargs must be a dict such as {{'num_cycles': 2}}; got {several!r}")
    if twice := options.keys() & dict(several or {}).keys():
        raise InvalidInput(f"{sorted(twice)[0]} is given twice, in scheduler_specific_kwargs and by itself")
    return {**(several or {}), **options}


def _rate_of(optimizer: Any) -> float | None:
    """The rate of an optimizer's groups before anything scheduled them; None where they have several."""
    rates = {float(group.get("initial_lr", group["lr"])) for group in optimizer.param_groups}
    return rates.pop() if len(rates) == 1 else None


_NEEDED = object()


def _constant() -> Schedule:
    return Constant()


def _constant_with_warmup(num_warmup_steps: int) -> Schedule:
    return warmup(num_warmup_steps) >> Constant()


def _linear(num_warmup_steps: int, num_training_steps: int) -> Schedule:
    return warmup(num_warmup_steps) >> Linear(max(0, num_training_steps - num_warmup_steps))


def _waves(length: int, num_cycles: float, end: float = 0.0) -> Schedule:
    """`num_cycles` cosine waves over a length; they go on after it, as theirs do."""
    wave = Cosine(length, end=end).after("mirror")
    return wave if num_cycles == 0.5 else wave.stretch(0.5 / num_cycles)


def _cosine(num_warmup_steps: int, num_training_steps: int, num_cycles: float) -> Schedule:
    return warmup(num_warmup_steps) >> _waves(max(1, num_training_steps - num_warmup_steps), num_cycles)


def _restarts(num_warmup_steps: int, num_training_steps: int, num_cycles: int) -> Schedule:
    length = max(1, num_training_steps - num_warmup_steps)
    cycles = Cosine(length).repeat(num_cycles)
    return warmup(num_warmup_steps) >> (cycles if num_cycles == 1 else cycles.stretch(1 / num_cycles))


def _polynomial(num_warmup_steps: int, num_training_steps: int, lr: float, lr_end: float, power: float) -> Schedule:
    fall = Polynomial(max(0, num_training_steps - num_warmup_steps), end=lr_end / lr, power=power)
    return warmup(num_warmup_steps) >> fall


def _inverse_sqrt(num_warmup_steps: int, timescale: int | None) -> Schedule:
    return warmup(num_warmup_steps) >> InverseSqrt(timescale or num_warmup_steps or 10_000)


def _lowest(lr: float | None, min_lr: float | None, min_lr_rate: float | None) -> float:
    """The lowest factor; one of two arguments says it."""
    if (min_lr is None) == (min_lr_rate is None):
        raise InvalidInput("one of min_lr and min_lr_rate says how low the rate falls; give just one")
    if min_lr_rate is not None:
        return min_lr_rate
    if lr is None:
        raise InvalidInput("min_lr is a rate, so lr=..., the optimizer's, must be known; or give min_lr_rate")
    assert min_lr is not None
    return min_lr / lr


def _cosine_min(
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float,
    lr: float | None,
    min_lr: float | None,
    min_lr_rate: float | None,
) -> Schedule:
    low = _lowest(lr, min_lr, min_lr_rate)
    return warmup(num_warmup_steps) >> _waves(max(1, num_training_steps - num_warmup_steps), num_cycles, low)


def _cosine_min_and_warmup(
    num_warmup_steps: int,
    num_training_steps: int,
    num_cycles: float,
    lr: float | None,
    min_lr: float | None,
    min_lr_rate: float | None,
    warmup_lr_rate: float | None,
) -> Schedule:
    """Theirs counts steps from 1 here: it begins one step into the warmup, and one into the wave."""
    wave = _waves(max(1, num_training_steps - num_warmup_steps), num_cycles, _lowest(lr, min_lr, min_lr_rate)).skip(1)
    if warmup_lr_rate is None:
        rise = warmup(max(1, num_warmup_steps)).skip(1)
    else:
        rise = warmup(max(1, num_warmup_steps - 1), start=warmup_lr_rate)
    return rise.take(num_warmup_steps) >> wave


_RISES: dict[str, Callable[[int, float], Schedule]] = {
    "linear": lambda length, low: Linear(length, start=low, end=1.0),
    "cosine": lambda length, low: Cosine(length, start=low, end=1.0),
    "1-sqrt": lambda length, low: Polynomial(length, start=low, end=1.0, power=0.5),
}
_FALLS: dict[str, Callable[[int, float], Schedule]] = {
    "linear": lambda length, low: Linear(length, end=low),
    "cosine": lambda length, low: Cosine(length, end=low),
    "1-sqrt": lambda length, low: Polynomial(length, end=low, k=0.5),
}


def _stable(
    num_warmup_steps: int,
    num_decay_steps: int,
    num_training_steps: int | None,
    num_stable_steps: int | None,
    warmup_type: str,
    decay_type: str,
    min_lr_ratio: float,
    num_cycles: float,
) -> Schedule:
    if num_stable_steps is None and num_training_steps is None:
        raise InvalidInput("'warmup_stable_decay' needs num_training_steps=... or num_stable_steps=...")
    for kind in (warmup_type, decay_type):
        if kind not in _RISES:
            hint = did_you_mean(kind, _RISES)
            raise InvalidInput(f"warmup_type and decay_type are 'linear', 'cosine' or '1-sqrt'; got {kind!r}{hint}")
    if num_stable_steps is None:
        num_stable_steps = (num_training_steps or 0) - num_warmup_steps - num_decay_steps
    fall = _FALLS[decay_type](num_decay_steps, min_lr_ratio)
    if decay_type == "cosine" and num_cycles != 0.5:
        fall = _waves(num_decay_steps, num_cycles, min_lr_ratio).take(num_decay_steps) >> Constant(min_lr_ratio)
    return _RISES[warmup_type](num_warmup_steps, min_lr_ratio) >> Constant().take(num_stable_steps) >> fall


def _plateau(lr: float | None, min_lr: float, eps: float, **options: Any) -> Schedule:
    if min_lr and lr is None:
        raise InvalidInput("min_lr is a rate, so lr=..., the optimizer's, must be known")
    base = lr or 1.0
    return Constant() * Plateau(min_factor=min_lr / base, eps=eps / base, **options)


_LENGTHS = {"num_warmup_steps": _NEEDED, "num_training_steps": _NEEDED}
_LOW: dict[str, Any] = {"num_cycles": 0.5, "lr": None, "min_lr": None, "min_lr_rate": None}
# Each name's schedule, and the arguments it takes with their defaults there.
_NAMES: dict[str, tuple[Callable[..., Schedule], dict[str, Any]]] = {
    "linear": (_linear, _LENGTHS),
    "cosine": (_cosine, {**_LENGTHS, "num_cycles": 0.5}),
    "cosine_with_restarts": (_restarts, {**_LENGTHS, "num_cycles": 1}),
    "polynomial": (_polynomial, {**_LENGTHS, "lr": _NEEDED, "lr_end": 1e-7, "power": 1.0}),
    "constant": (_constant, {}),
    "constant_with_warmup": (_constant_with_warmup, {"num_warmup_steps": _NEEDED}),
    "inverse_sqrt": (_inverse_sqrt, {"num_warmup_steps": _NEEDED, "timescale": None}),
    "reduce_lr_on_plateau": (
        _plateau,
        {
            "lr": None,
            "mode": "min",
            "factor": 0.1,
            "patience": 10,
            "threshold": 1e-4,
            "threshold_mode": "rel",
            "cooldown": 0,
            "min_lr": 0.0,
            "eps": 1e-8,
        },
    ),
    "cosine_with_min_lr": (_cosine_min, {**_LENGTHS, **_LOW}),
    "cosine_warmup_with_min_lr": (_cosine_min_and_warmup, {**_LENGTHS, **_LOW, "warmup_lr_rate": None}),
    "warmup_stable_decay": (
        _stable,
        {
            "num_warmup_steps": _NEEDED,
            "num_decay_steps": _NEEDED,
            "num_training_steps": None,
            "num_stable_steps": None,
            "warmup_type": "linear",
            "decay_type": "cosine",
            "min_lr_ratio": 0.0,
            "num_cycles": 0.5,
        },
    ),
}
