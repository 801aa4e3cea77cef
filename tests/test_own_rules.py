"""Rules of one's own: a plain function of an element, on every backend."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradus.errors import InvalidInput
from gradus.optim import Optimizer
from gradus.rules import ops, rule
from gradus.rules.rule import Rule

BACKENDS = ["reference", "cpu"]
GRADIENTS = [np.array([0.5, -1.0, 2.0]) * step for step in (1, -2, 3)]


def _made(one: Rule) -> Any:
    class Own(Optimizer, rule=one):
        pass

    return Own


def _agrees(one: Rule, backend: str) -> None:
    """What an optimizer does is what the function says, called on NumPy's arrays."""
    want, slots = np.array([1.0, -2.0, 3.0]), [np.zeros(3) for _ in one.slots]
    param = nn.Parameter(torch.from_numpy(want.copy()))
    optimizer = _made(one)([param], backend=backend)
    for step, grad in enumerate(GRADIENTS, 1):
        param.grad = torch.from_numpy(grad)
        optimizer.step()
        new = one(want, grad, *slots, **({"step": step} if one.counts_steps else {}))
        want, *slots = new if isinstance(new, tuple) else (new,)
    np.testing.assert_allclose(param.detach().numpy(), want, rtol=1e-12)
    for name, slot in zip(one.slots, slots, strict=True):
        np.testing.assert_allclose(optimizer.state[param][name].numpy(), slot, rtol=1e-12)


# What programs, kernels and the language that they are written in call something of their own; and what would be alike.
NAMES = [("x1", "n1"), ("i", "one"), ("zero", "tensor"), ("numbers", "sqrt"), ("tl", "a_"), ("a", "a_"), ("a", "a_i")]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("first", "second"), [*NAMES, ("step_i", "ops")])
def test_slots_and_hyperparameters_may_have_any_name(first: str, second: str, backend: str) -> None:
    """A rule does the same whatever its slots and hyperparameters are called."""
    names: dict[str, Any] = {"o": ops}
    exec(
        f"def slots(param, grad, {first}, {second}, *, lr=0.1):\n"
        f"    {first} = 0.5 * {first} + 0.5 * grad\n"
        f"    {second} = 0.9 * {second} + 0.1 * grad * grad\n"
        f"    return param - lr * o.sign({first}) / (o.sqrt({second}) + 1), {first}, {second}\n"
        f"def hypers(param, grad, *, {first}=0.1, {second}=0.5, lr=0.2):\n"
        f"    return param - (lr * {first} + o.sqrt({second}) * {first}) * grad\n",
        names,
    )
    _agrees(rule(names["slots"]), backend)
    _agrees(rule(names["hypers"]), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("constant", [np.sqrt(2.0), np.float32(0.5), np.int64(2), 2, True])
def test_constants_may_be_numpys(constant: Any, backend: str) -> None:
    """A number of NumPy's counts in a rule as Python's does, beside elements and beside hyperparameters."""

    @rule
    def scaled(param: Any, grad: Any, *, lr: float = 0.25) -> Any:
        return param - lr * constant * (grad * constant) + constant * lr

    _agrees(scaled, backend)


def _rule_of(body: Any) -> Any:
    def build() -> None:
        param = nn.Parameter(torch.ones(2))
        param.grad = torch.ones(2)
        _made(rule(body))([param]).step()

    return build


def _without_rule() -> None:
    class Bare(Optimizer):
        pass

    Bare([nn.Parameter(torch.ones(2))])


def _with_a_function() -> None:
    class Plain(Optimizer, rule=_of_torch):  # type: ignore[arg-type]
        pass


def _named_like_an_option(param: Any, grad: Any, *, backend: float = 0.1) -> Any:
    return param - backend * grad


def _of_torch(param: Any, grad: Any, *, lr: float = 0.1) -> Any:
    return param - lr * torch.sign(grad)


def _of_methods(param: Any, grad: Any, *, lr: float = 0.1) -> Any:
    return param - lr * grad.sign()


def _branching(param: Any, grad: Any, *, lr: float = 0.1) -> Any:
    return param - lr if grad > 0 else param + lr


def _returning_nothing(param: Any, grad: Any, *, lr: float = 0.1) -> None:  # noqa: ARG001
    return None


def _open(param: Any, grad: Any, *slots: Any, lr: float = 0.1) -> Any:  # noqa: ARG001
    return param - lr * grad


def _keeping_step(param: Any, grad: Any, step: Any, *, lr: float = 0.1) -> Any:
    return param - lr * grad, step


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (_without_rule, r"Bare has no rule; write class Bare(Optimizer, rule=...)"),
        (lambda: Optimizer([nn.Parameter(torch.ones(2))]), "Optimizer has no rule; write class"),
        (_with_a_function, "rule must be a function with @gradus.rules.rule before it; got <function"),
        (_rule_of(_named_like_an_option), "_named_like_an_option must call its hyperparameter 'backend' otherwise"),
        (_rule_of(_of_torch), "_of_torch does what no kernel can be made of: sign(): argument 'input'"),
        (_rule_of(_of_methods), "_of_methods does what no kernel can be made of: '_Element' object has no attribute 'sign'"),
        (_rule_of(_branching), "a rule can't branch on an element, which differs within a tensor; use ops.where"),
        (_rule_of(_returning_nothing), "a rule calculates with numbers and elements, and returns them; got None"),
        (_rule_of(_open), "_open takes (param: Any, grad: Any, *slots: Any, lr: float = 0.1)"),
        (_rule_of(_keeping_step), "after a star its hyperparameters and step, each by name; _keeping_step takes (param"),
    ],
)
def test_what_is_no_rule_is_refused(build: Any, message: str) -> None:
    """A class without a rule, and a function that none can be made of, are refused with a reason."""
    with pytest.raises(InvalidInput, match=re.escape(message)):
        build()


def test_a_hyperparameter_may_have_no_default() -> None:
    """One that must be given may stand anywhere in the rule, and is asked for by name."""

    @rule
    def scaled(param: Tensor, grad: Tensor, *, factor: float = 2.0, lr: float) -> Tensor:
        return param - factor * lr * grad

    param = nn.Parameter(torch.ones(1))
    param.grad = torch.ones(1)
    _made(scaled)([param], lr=0.25).step()
    assert param.item() == 0.5
    with pytest.raises(InvalidInput, match="missing a required argument: 'lr'"):
        _made(scaled)([param])
