"""`Optimizer`: torch's optimizer contract over a rule and a backend."""

import difflib
import importlib
import inspect
from abc import ABCMeta
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from numbers import Real
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from gradus.backends import BACKENDS, require_real
from gradus.backends.cuda import is_capturing
from gradus.checks import flag
from gradus.errors import GradusError, InvalidInput
from gradus.names import did_you_mean, hint_for_argument
from gradus.optim import state_dicts
from gradus.optim.plan import Plan
from gradus.rules import ops
from gradus.rules.rule import Hyper, Rule

__all__ = ["GROUP_KEYS", "Optimizer", "copied", "require_known"]

# torch's options that say how to run, not what to do; the last two are asked of the backend.
_TORCHS = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
_OURS = {
    "backend": "auto",
    "clip_norm": None,
    "clip_value": None,
    "skip_nonfinite": False,
    "stochastic_rounding": False,
}
# The keys that a parameter group may hold besides hyperparameters: torch's, and those that schedulers leave there.
GROUP_KEYS = frozenset(
    ("params", "param_names", "name", "initial_lr", "min_lr", "max_lr", "base_momentum", "max_momentum", "swa_lr")
)


class Optimizer(torch.optim.Optimizer, metaclass=ABCMeta):
    """An update rule as a torch optimizer. A class of your own needs only its rule:

    >>> from gradus.rules import ops, rule
    >>> @rule
    ... def sign_descent(param, grad, *, lr=0.01):
    ...     return param - lr * ops.sign(grad)
    >>> class SignDescent(Optimizer, rule=sign_descent):
    ...     pass
    >>> param = torch.nn.Parameter(torch.ones(3))
    >>> param.grad = torch.tensor([2.0, -0.5, 0.0])
    >>> SignDescent([param], lr=0.5).step()
    >>> param.tolist()
    [0.5, 1.5, 1.0]

    A class without a rule follows torch's contract: call `super().__init__(params, defaults)` and define `step`.
    Any torch optimizer counts as an instance of this class.

    Arguments are the parameters, the rule's hyperparameters, and these for every rule:

    Args:
        params: tensors, pairs of name and tensor, or groups of either with hyperparameters of their own.
        backend: a name in `gradus.backends.BACKENDS`: "torch", "cpu", "cuda" or your own; or "auto" for the fastest that
            supports each tensor.
        clip_norm: scale gradients down where their global norm is larger than this. The update scales them as it reads
            them; `param.grad` doesn't change.
        clip_value: clip each element of a gradient to [−clip_value, clip_value], in the same way.
        skip_nonfinite: skip an update when a gradient holds an infinity or a NaN; or when, without clipping, their norm is
            so large (1.8e19 in single precision) that squares, which nearly every rule keeps, would be infinite.
        stochastic_rounding: round bfloat16 and float16 parameters up or down at random, so that updates too small for their
            few bits add up on average. The random bits are a function of the step, so runs repeat.
        foreach, fused: torch's ways to run. Accepted so that code needn't change, and without effect: there is only one way
            to run, one pass over all tensors.
        capturable: compute the constants of a step on the GPU, so that a CUDA graph can replay a captured step: steps are
            counted there, and hyperparameters that are tensors are read there. It needs the CUDA backend, and one ordinary
            step before the capture.
        differentiable: let autograd record updates; it needs the torch backend.

    Raises:
        InvalidInput: a hyperparameter is out of its range or unknown, or options exclude each other.
    """

    backend: str
    clip_norm: float | None
    clip_value: float | None
    skip_nonfinite: bool
    stochastic_rounding: bool
    rule: ClassVar[Rule]
    hypers: ClassVar[dict[str, Hyper]]
    rates: ClassVar[tuple[str, ...]] = ("lr",)  # the hyperparameters that are learning rates, the main one first
    finds_own_rate: ClassVar[bool] = False  # whether it estimates its rate, of which `lr` is a factor, best left at 1
    _group_keys: ClassVar[frozenset[str]]
    _fallback: ClassVar[Rule | None] = None
    _uses_rule: ClassVar[Callable[[Tensor, Mapping[str, Any]], bool]]
    _takes_sparse: ClassVar[bool] = True
    _has_rule: ClassVar[bool] = False
    _plan: Plan | None = None
    _is_watched = True  # whether somebody may hold the state

    def __init_subclass__(
        cls,
        rule: Rule | None = None,
        fallback: Rule | None = None,
        uses_rule: Callable[[Tensor, Mapping[str, Any]], bool] | None = None,
        group_keys: Iterable[str] = (),
        **kwargs: Any,
    ) -> None:
        """Give a class its rule.

        Args:
            rule: the rule.
            fallback: another rule, for parameters for which `uses_rule(param, group)` is false.
            uses_rule: whether `rule` updates a parameter of a group.
            group_keys: further keys that groups may hold, for `uses_rule` or for the class itself. A hyperparameter among
                them is no argument of the class.
            **kwargs: passed on.
        """
        super().__init_subclass__(**kwargs)
        if rule is None:
            return
        if not isinstance(rule, Rule):
            raise InvalidInput(f"rule must be a function with @gradus.rules.rule before it; got {rule!r}")
        cls.rule, cls._fallback, cls._has_rule = rule, fallback, True
        kept, hypers = frozenset(group_keys), {**rule.hypers, **(fallback.hypers if fallback else {})}
        cls.hypers = {name: hyper for name, hyper in hypers.items() if name not in kept}
        cls._group_keys = GROUP_KEYS | kept
        if taken := sorted(cls.hypers.keys() & {*_TORCHS, *_OURS, *cls._group_keys}):
            raise InvalidInput(f"{rule.name} must call its hyperparameter {taken[0]!r} otherwise: every optimizer has one")
        if uses_rule is not None:
            cls._uses_rule = staticmethod(uses_rule)
        cls.__signature__ = _signature(cls.hypers)  # type: ignore[attr-defined]  # what `inspect` and `help` read

    @classmethod
    def __subclasshook__(cls, other: type) -> bool:
        """Every torch optimizer counts as an instance of this class itself, not of its subclasses."""
        return torch.optim.Optimizer in other.__mro__ if cls is Optimizer else NotImplemented

    def __init__(self, params: Any, *args: Any, **kwargs: Any) -> None:
        if not self._has_rule:
            super().__init__(params, *args, **kwargs)
            return
        try:
            given = inspect.signature(type(self)).bind(params, *args, **kwargs)
        except TypeError as error:
            hint = hint_for_argument(type(self), kwargs)
            raise InvalidInput(f"{type(self).__name__}: {error}{hint}; it takes {inspect.signature(type(self))}") from None
        given.apply_defaults()
        values = dict(given.arguments)
        values.pop("params")
        _check_options(values)
        for name in _OURS:
            setattr(self, name, values.pop(name))
        for name, hyper in self.hypers.items():
            if hyper.check is not None:
                hyper.check(name, values[name])
        self._captured: list[Plan] = []  # a CUDA graph reads its plan's tables as long as it lives
        super().__init__(copied(params), values)
        self._is_watched = False
        self._leave_scaling()

    def _leave_scaling(self) -> None:
        """Let a GradScaler leave unscaling to the update, but only where an option needs it.

        Frameworks that clip gradients themselves refuse optimizers that claim it.
        """
        ours = self.skip_nonfinite or self.clip_norm is not None or self.clip_value is not None
        self._step_supports_amp_scaling = ours or any(group["fused"] for group in self.param_groups)

    # The contract

    @property
    def state(self) -> defaultdict[Tensor, Any]:  # torch keeps a field
        """The state of each parameter: "step" and the rule's slots, under torch's names.

        If you keep it, it stays current with each step; changes that you make to it count from the next step on.
        """
        plan = self._plan
        if plan is not None and plan.watch is not None:
            plan.watch.look()
            return self._state
        self._is_watched = True
        if plan is None:
            return self._state
        if self._is_differentiable():  # autograd follows other tensors after each step
            self._sync_state()
        else:
            plan.show()
        return self._state

    @state.setter
    def state(self, state: Mapping[Tensor, Any]) -> None:
        self._take(state)
        self._is_watched = True  # by the caller

    def _take(self, state: Mapping[Tensor, Any]) -> None:
        self._plan, self._is_watched = None, False
        kept = (
            state if isinstance(state, defaultdict) else defaultdict(dict, state)
        )  # the same object, which wrappers may share
        self._state: defaultdict[Tensor, Any] = kept

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of every parameter that has a gradient.

        Args:
            closure: recomputes the loss and the gradients; its value is returned.

        Raises:
            InvalidInput: a hyperparameter is out of its range, or a gradient doesn't fit its parameter. Nothing is changed.
        """
        if not self._has_rule:
            raise NotImplementedError(f"{type(self).__name__} has neither a rule nor a step of its own")
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or torch._C._autograd._profiler_enabled()
        ):
            return self._watched_step(closure)
        if torch.compiler.is_compiling():
            return self._uncompiled_step(closure)
        loss = None if closure is None else torch.enable_grad()(closure)()
        self._update()
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # or torch wraps it, at a few microseconds a step

    @_disable_dynamo
    def _uncompiled_step(self, closure: Callable[[], Any] | None) -> Any:
        """A step inside compiled code; there is nothing to compile in it."""
        return self.step(closure)

    @_disable_dynamo
    def _watched_step(self, closure: Callable[[], Any] | None) -> Any:
        """A step with torch's hooks and profiling. Post hooks are called only if the update wasn't skipped."""
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        with torch.autograd.profiler.record_function(f"Optimizer.step#{type(self).__name__}.step"):
            for before in (*_global_optimizer_pre_hooks.values(), *self._optimizer_step_pre_hooks.values()):
                changed = before(self, args, kwargs)
                if changed is not None:
                    args, kwargs = changed
            given = args[1] if len(args) > 1 else kwargs.get("closure")
            loss = None if given is None else torch.enable_grad()(given)()
            done = self._update()
            self._optimizer_step_code()
            if done:
                for after in (*self._optimizer_step_post_hooks.values(), *_global_optimizer_post_hooks.values()):
                    after(self, args, kwargs)
        return loss

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; see `torch.optim.Optimizer.add_param_group`.

        Raises:
            InvalidInput: a hyperparameter is out of its range, or the rule has none of that name.
        """
        if not self._has_rule:
            super().add_param_group(param_group)
            return
        if not isinstance(param_group, dict):
            raise InvalidInput(f"a parameter group is a dict with 'params'; got {type(param_group).__name__}")
        require_known(type(self).__name__, param_group.keys() - self._group_keys, self.defaults)
        for name, hyper in self.hypers.items():
            if hyper.check is not None and name in param_group:
                hyper.check(name, param_group[name])
        self._sync_state()
        super().add_param_group(dict(param_group))
        try:
            for param in self.param_groups[-1]["params"]:
                require_real(self.rule_for(param, self.param_groups[-1]), param)
        except InvalidInput:
            self.param_groups.pop()
            raise

    def state_dict(self) -> dict[str, Any]:
        """The whole state, in torch's form: torch's optimizer of the same name loads it."""
        packed = super().state_dict()
        if not self._has_rule:
            return packed
        state = state_dicts.unshared(state_dicts.with_unmade_slots(self, packed["state"]))
        return {**packed, "state": state, state_dicts.RULE: self.rule.name}

    def load_state_dict(  # type: ignore[override]  # torch returns nothing
        self, state_dict: Mapping[str, Any], strict: bool = True
    ) -> state_dicts.Difference:
        """Load a state of this class or of torch's.

        Parameters are matched by name where both sides have names, else by position, in groups of equal size. Groups are
        filled in place if their number is equal. States of apex, bitsandbytes (in 32 bits), prodigyopt, schedulefree,
        timm, Transformers and of old versions of torch are taken for the same rules; another is refused by name.

        Args:
            state_dict: what `state_dict` gave; it is copied.
            strict: whether every parameter and group must be on both sides; otherwise the differences are returned.

        Returns:
            The names (or positions) that are missing in the state, and those that only the state has.

        Raises:
            InvalidInput: it is another rule's state, or doesn't fit these parameters. Nothing is changed.
        """
        if not self._has_rule:
            super().load_state_dict(dict(state_dict))
            return state_dicts.Difference([], [])
        return state_dicts.load(self, state_dict, strict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        slots = state.pop("state", {})
        if not self._has_rule:
            super().__setstate__(state)
            self.state = slots
            return
        ours = {"backend": self.__dict__.get("backend"), **_OURS}
        self.__dict__.update({name: value for name, value in ours.items() if name not in self.__dict__})
        super().__setstate__(state)
        self.state, self._captured = slots, []
        self._leave_scaling()

    def __repr__(self) -> str:
        """As torch prints it, without those ways to run that torch's class of this name doesn't have."""
        theirs = getattr(torch.optim, type(self).__name__, None)
        known = () if theirs is None else inspect.signature(theirs).parameters
        whole = self.param_groups
        hidden = [
            name for name, default in _TORCHS.items() if name not in known and all(g.get(name) is default for g in whole)
        ]
        try:
            self.param_groups = [{name: value for name, value in group.items() if name not in hidden} for group in whole]
            return super().__repr__()
        finally:
            self.param_groups = whole

    def __getstate__(self) -> dict[str, Any]:
        if not self._has_rule:
            return super().__getstate__()
        return {**super().__getstate__(), **{name: getattr(self, name) for name in _OURS}}

    # The update

    def rule_for(self, param: Tensor, group: Mapping[str, Any]) -> Rule:
        """The rule that updates a parameter of a group."""
        return self.rule if self._fallback is None or type(self)._uses_rule(param, group) else self._fallback

    def _before_update(self, plan: Plan) -> None:
        """Called when everything is ready for an update and nothing is changed yet."""

    def _check_saved(self, group: Mapping[str, Any]) -> None:
        """Check the further keys that a class keeps in a saved group."""

    def _is_differentiable(self) -> bool:
        return any(group["differentiable"] for group in self.param_groups)

    def _sync_state(self) -> None:
        """Write the plan's numbers into the state, and make a new plan at the next step."""
        if self._plan is not None:
            self._is_watched = self._plan.is_watched
            self._plan.sync_state()
            self._plan = None

    def _update(self) -> bool:
        """Update every parameter that has a gradient. False if the update was skipped."""
        found, scale = self._from_grad_scaler() if "found_inf" in self.__dict__ else (False, None)
        if found:
            return False
        if not self._takes_sparse:
            self._require_dense()
        plan = self._plan
        if plan is None or plan.bound != self.clip_value or not plan.is_current(self.param_groups, scale is not None):
            plan = self._planned(scale is not None)
        if self.clip_norm is not None or self.skip_nonfinite:
            norm = plan.norm() * (1.0 if scale is None else scale)
            clipped = self.clip_norm is not None or self.clip_value is not None
            if self.skip_nonfinite and not norm < (float("inf") if clipped else plan.largest_norm):
                return False
            if self.clip_norm is not None:
                scale = (1.0 if scale is None else scale) * ops.minimum(self.clip_norm / (norm + 1e-6), 1.0)
        if not plan.prepare(scale):
            plan = self._planned(scale is not None)
            plan.prepare(scale)
        self._before_update(plan)
        plan.update()
        if plan.capturable and is_capturing():
            self._captured.append(plan)
            self._plan = None
        return True

    def _planned(self, scaled: bool) -> Plan:
        if is_capturing():
            raise GradusError(
                "a CUDA graph can capture an optimizer's step only after an ordinary step; nothing is changed. Call step() "
                "before the capture, with gradients for every parameter, and don't read its state in between"
            )
        self._sync_state()
        backend = "torch" if self.defaults["differentiable"] else self.backend
        scaled = scaled or self.clip_norm is not None
        with torch.no_grad():
            self._plan = Plan(
                self.rule_for,
                self.param_groups,
                self._state,
                backend,
                scaled=scaled,
                stochastic=self.stochastic_rounding,
                bound=self.clip_value,
            )
        if self._is_watched and not self._is_differentiable():
            self._plan.show()
        return self._plan

    def _require_dense(self) -> None:
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None and param.grad.is_sparse:
                    raise InvalidInput(
                        f"{type(self).__name__} needs dense gradients, since its state isn't kept row by row; got a sparse "
                        f"one of shape {tuple(param.shape)}. Make the layer with sparse=False, or give it another optimizer"
                    )

    def _from_grad_scaler(self) -> tuple[bool, float | None]:
        """Whether a GradScaler has found an infinity, and its factor for gradients."""
        scale, found = self.__dict__.get("grad_scale"), self.__dict__["found_inf"]
        return found is not None and bool(found), None if scale is None else 1.0 / float(scale)


def require_known(kind: str, keys: Iterable[str], defaults: Mapping[str, Any]) -> None:
    """Accept a group's keys as torch does, the user's own too, unless one looks like a typo.

    Raises:
        InvalidInput: a key is nearly a hyperparameter's name, or can't differ between groups.
    """
    for key in sorted(set(map(str, keys)) - defaults.keys()):
        if key in _OURS:
            raise InvalidInput(f"{key} is for all groups together; give it to {kind} itself")
        plain = key.lower().replace("_", "")
        same = [name for name in defaults if name.replace("_", "") == plain]
        near = same or difflib.get_close_matches(key, [name for name in defaults if len(name) > 3], n=1, cutoff=0.8)
        if near:
            raise InvalidInput(
                f"{kind} has no hyperparameter {key!r}; did you mean {near[0]!r}? A key of your own by that name can "
                f"be set in optimizer.param_groups afterwards"
            )


def _signature(hypers: Mapping[str, Hyper]) -> inspect.Signature:
    """A class's signature in torch's order: hyperparameters before `maximize` may be given by position."""
    kind: Any = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("params", kind)]
    for name, hyper in hypers.items():
        late = hyper.default is parameters[0].default and parameters[-1].default is not hyper.default
        if name == "maximize" or late:  # a required argument can follow an optional one only by keyword
            kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(name, kind, default=hyper.default))
    for name, default in {**_TORCHS, **_OURS}.items():
        parameters.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default))
    return inspect.Signature(parameters)


def _check_options(values: Mapping[str, Any]) -> None:
    backend, clip_norm = values["backend"], values["clip_norm"]
    if backend not in ("auto", *BACKENDS):
        known = ("auto", *BACKENDS)
        hint = did_you_mean("cuda" if backend == "gpu" else backend, known)
        listed = ", ".join(f'"{name}"' for name in known[:-1])
        raise InvalidInput(f'backend must be {listed} or "{known[-1]}"; got {backend!r}{hint}')
    if values["capturable"] and (values["skip_nonfinite"] or (backend != "auto" and not BACKENDS[backend].capturable)):
        other = "skip_nonfinite" if values["skip_nonfinite"] else f"the {backend} backend"
        raise InvalidInput(f"capturable=True and {other} exclude each other: a CUDA graph can't wait for a number")
    for name, clip in (("clip_norm", clip_norm), ("clip_value", values["clip_value"])):
        if clip is not None and not (isinstance(clip, Real) and float(clip) > 0):
            raise InvalidInput(f"{name} must be above 0, or None for no clipping; got {clip!r}")
    for name in ("skip_nonfinite", "stochastic_rounding", "capturable", "differentiable"):
        flag(name, values[name])
    if clip_norm is not None and values["clip_value"] is not None:
        raise InvalidInput("clip_norm and clip_value exclude each other; leave one of them out")
    if values["foreach"] and values["fused"]:
        raise InvalidInput("foreach=True and fused=True exclude each other, as in torch; here neither is needed")
    if values["differentiable"] and (values["fused"] or (backend != "auto" and not BACKENDS[backend].differentiable)):
        raise InvalidInput('differentiable=True takes the torch backend; leave fused and backend out, or give "torch"')
    if values["differentiable"] and (values["stochastic_rounding"] or values["capturable"]):
        other = "stochastic_rounding" if values["stochastic_rounding"] else "capturable"
        raise InvalidInput(f"differentiable=True and {other}=True exclude each other; leave one of them out")


def copied(params: Any) -> Any:
    """Copies of groups, so that two optimizers built from one list don't share them."""
    if isinstance(params, Tensor) or not isinstance(params, Iterable):
        return params  # torch refuses it with its own message
    return [dict(param) if isinstance(param, dict) else param for param in params]


def __getattr__(name: str) -> Any:
    """The other names in `torch.optim.optimizer`, such as `required`, which code imports together with `Optimizer`."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("torch.optim.optimizer"), name)  # torch.optim has no attribute of that name
