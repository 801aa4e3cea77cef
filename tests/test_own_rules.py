"""Rules of one's own: a plain function of an element, on every backend."""

import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gradus.optim
from gradus.errors import InvalidInput
from gradus.optim import Optimizer
from gradus.rules import RULES, ops, rule
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


def test_every_rule_is_in_the_registry() -> None:
    """`RULES` has the rule of every optimizer, and its fallback, under the rule's own name, and no others."""
    used = [one for name in gradus.optim.__all__ if (one := getattr(getattr(gradus.optim, name), "rule", None))]
    used += [gradus.optim.Muon._fallback]
    assert {one.name: one for one in used} == RULES


def test_other_defaults_are_the_same_rule() -> None:
    """A rule with other defaults does what the rule does with these given, and refuses a name that it doesn't have."""
    heavy = RULES["sgd"].with_defaults("heavy", {}, momentum=0.9)
    assert (heavy.name, heavy.slots, RULES["sgd"].hypers["momentum"].default) == ("heavy", ("momentum_buffer",), 0)
    assert heavy(1.0, 2.0, 0.5, step=2) == RULES["sgd"](1.0, 2.0, 0.5, step=2, momentum=0.9)
    assert heavy(1.0, 2.0, 0.5, step=2, momentum=0.0) == RULES["sgd"](1.0, 2.0, 0.5, step=2)
    with pytest.raises(InvalidInput, match="sgd has no hyperparameter 'momentun'"):
        RULES["sgd"].with_defaults("heavy", {}, momentun=0.9)


@pytest.mark.parametrize("torch_first", [True, False])
def test_a_rule_takes_tensors_without_the_optimizers(torch_first: bool) -> None:
    """Where only torch and the rules are imported, in whichever order, a rule on tensors is its rule on arrays."""
    order = ["import torch", "from gradus.rules import RULES, ops"]
    code = f"""
{chr(10).join(order if torch_first else order[::-1])}
import sys, numpy as np
assert ops.sqrt(2.25) == 1.5
four = torch.nn.Parameter(torch.tensor(4.0))
ops.sqrt(four).backward()
assert four.grad == 0.25 and ops.sqrt(four).dtype == torch.float32
unary = ("sqrt", "exp", "log", "abs", "sign", "norm", "mean")
one, other = np.array([0.5, 2.0]), np.array([1.0, -3.0])
calls = [(name, (one,)) for name in unary]
calls += [("maximum", (one, other)), ("minimum", (0.7, one)), ("power", (one, 3)), ("where", (one > 1, one, 0.0))]
for name, args in calls:
    made = getattr(ops, name)(*(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in args))
    np.testing.assert_allclose(made.numpy(), getattr(ops, name)(*args), err_msg=name)
got = RULES["adam"](torch.ones(2), torch.ones(2), torch.zeros(2), torch.zeros(2), None, step=1)
want = RULES["adam"](np.ones(2), np.ones(2), np.zeros(2), np.zeros(2), None, step=1)
np.testing.assert_allclose(got[0].numpy(), want[0], rtol=1e-6)
assert not [name for name in sys.modules if name.startswith(("gradus.backends", "gradus.optim"))]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class _Interval(NamedTuple):
    low: float
    high: float


@pytest.mark.parametrize("unknown", ["4.0", None, [4.0], 1j, _Interval(1.0, 2.0)])
@pytest.mark.parametrize("call", [ops.sqrt, ops.norm, lambda x: ops.maximum(1.0, x), lambda x: ops.where(True, x, 1.0)])
def test_what_is_no_number_is_refused(call: Any, unknown: Any) -> None:
    """An unknown type is refused with its name and the way out, and isn't taken for a float."""
    with pytest.raises(InvalidInput, match=rf"got one of type \S*{type(unknown).__name__};.*ops\.register"):
        call(unknown)


def test_a_type_of_ones_own_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule runs on any type whose functions are registered, subclasses and torch's own included."""
    monkeypatch.setattr(ops, "_REGISTERED", [])
    try:
        ops.register(_Interval, SimpleNamespace(sqrt=lambda x: _Interval(x.low**0.5, x.high**0.5)))
        assert ops.sqrt(_Interval(4.0, 9.0)) == (2.0, 3.0)
        ops.register(Tensor, SimpleNamespace(sqrt=lambda _: "mine"))
        assert ops.sqrt(nn.Parameter(torch.ones(1))) == "mine"
    finally:
        ops._functions_of.cache_clear()


@pytest.mark.parametrize("one", [one for one in RULES.values() if not one.needs_whole_tensor], ids=str)
def test_a_rule_is_a_function_of_numbers(one: Rule) -> None:
    """Each rule of elements can be called on floats with its defaults, and gives the parameter and its slots."""
    step = {"step": 3} if one.counts_steps else {}
    new = one(1.0, 0.5, *(0.25 for _ in one.slots), **step)
    assert len(new) == 1 + len(one.slots)
    assert all(np.isfinite(value) for value in new)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("start", [0.0, 0.3, 2.0])
def test_a_condition_may_be_a_number(start: float, backend: str) -> None:
    """`if decay:` asks whether a hyperparameter is 0, at each step anew."""

    @rule
    def decaying(param, grad, *, lr=0.1, decay=0.0):
        if decay:
            param = param * (1 - lr * decay)
        return param - lr * grad

    param, want = nn.Parameter(torch.ones(3, dtype=torch.float64)), np.ones(3)
    optimizer = _made(decaying)([param], decay=start, backend=backend)
    for grad, decay in zip(GRADIENTS, (start, 0.5, 0.0), strict=True):
        optimizer.param_groups[0]["decay"] = decay
        param.grad = torch.from_numpy(grad)
        optimizer.step()
        want = want * (1 - 0.1 * decay) - 0.1 * grad
    np.testing.assert_allclose(param.detach().numpy(), want, rtol=1e-12)


# What programs, kernels and the language that they are written in call something of their own; and what would be alike.
NAMES = [
    ("x1", "n1"),
    ("i", "one"),
    ("zero", "tensor"),
    ("numbers", "sqrt"),
    ("tl", "a_"),
    ("a", "a_"),
    ("a", "a_i"),
    ("sum0", "reduced"),
    ("step_i", "ops"),
]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("slots", "hypers"), list(zip(NAMES, [*NAMES[4:], *NAMES[:4]], strict=True)), ids=str)
def test_slots_and_hyperparameters_may_have_any_name(slots: tuple[str, str], hypers: tuple[str, str], backend: str) -> None:
    """A rule does the same whatever its slots and hyperparameters are called."""
    (first, second), (rate, root) = slots, hypers
    names: dict[str, Any] = {"o": ops}
    exec(
        f"def named(param, grad, {first}, {second}, *, {rate}=0.1, {root}=0.5, lr=0.1):\n"
        f"    {first} = 0.5 * {first} + 0.5 * grad\n"
        f"    {second} = 0.9 * {second} + 0.1 * grad * grad\n"
        f"    rising = (lr + {rate} + o.sqrt({root}) * {rate}) * o.sign({first})\n"
        f"    return param - rising / (o.sqrt({second}) + 1), {first}, {second}\n",
        names,
    )
    _agrees(rule(names["named"]), backend)


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


@rule
def balanced(param: Any, grad: Any, average: Any, *, step: Any, lr: float = 0.1, share: float = 0.5) -> Any:
    """A norm of what depends on another norm and on a mean, beside numbers of the step."""
    unit = grad / (ops.norm(grad) + 1)
    average = average + (1 - share**step) * (unit - average)
    rising = ops.mean(average * grad > 0)
    bent = average * rising + ops.mean(param) * unit
    return param - lr * bent / (ops.norm(bent) + ops.norm(lr)), average


SIZES: list[tuple[int, ...]] = [(), (1,), (0,), (7,), (4, 0, 2), (3, 5)]


def _tensors(dtype: torch.dtype = torch.float64, largest: int = 20_001) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator, dtype=torch.float64).to(dtype) for size in (*SIZES, (largest,))]
    return [
        *map(nn.Parameter, tensors),
        nn.Parameter(torch.ones(4, 6, dtype=dtype).T),
        nn.Parameter(tensors[-1].clone()[::2]),
    ]


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("backend", ["reference", "cpu", "cuda"])
def test_norms_and_means_are_of_the_whole_tensor(backend: str, clip: float | None) -> None:
    """Of each tensor by itself, of what is read of its gradient, in several groups: as the function has it on an array."""
    if backend == "cuda":
        pytest.importorskip("triton")
    largest = 3_001 if backend == "cuda" else 20_001  # both are several blocks and a rest; Triton's are interpreted here
    params = _tensors(largest=largest)[: None if backend == "reference" else -1]  # the last lies apart: no kernel takes it
    optimizer = _made(balanced)(
        [{"params": params[::2]}, {"params": params[1::2], "lr": 0.3}], backend=backend, clip_norm=clip
    )
    want = [param.detach().numpy().copy() for param in params]
    averages = [np.zeros_like(one) for one in want]
    for step in range(1, 5):
        generator = torch.Generator().manual_seed(step)
        for param in params:
            param.grad = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        optimizer.step()
        total = np.sqrt(sum(float(param.grad.square().sum()) for param in params))
        scale = 1.0 if clip is None else min(1.0, clip / (total + 1e-6))
        for index, param in enumerate(params):
            if param.numel():
                grad, rate = param.grad.numpy() * scale, (0.1, 0.3)[index % 2]
                want[index], averages[index] = balanced(want[index], grad, averages[index], step=step, lr=rate)
    for param, one, average in zip(params, want, averages, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), one, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(optimizer.state[param]["average"].numpy(), average, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_norms_are_added_up_in_double_precision(dtype: torch.dtype) -> None:
    """A norm that single precision can't square is what it is, and a mean of many small numbers loses none of them."""

    @rule
    def shown(param: Any, grad: Any, size: Any, middle: Any, *, lr: float = 1.0) -> Any:
        return param - lr * 0.0 * grad, 0.0 * size + ops.norm(grad), 0.0 * middle + ops.mean(grad)

    tiny, many = nn.Parameter(torch.zeros(3, dtype=dtype)), nn.Parameter(torch.zeros(300_001, dtype=dtype))
    optimizer = _made(shown)([tiny, many], backend="cpu")
    small = 1e-30 if dtype != torch.float16 else 1e-7
    tiny.grad, many.grad = torch.full_like(tiny, small), torch.full_like(many, 0.1)
    many.grad[0] = 2.0**15
    optimizer.step()
    for param in (tiny, many):
        grad, kept = param.grad.double(), optimizer.state[param]
        torch.testing.assert_close(kept["size"][0].double(), grad.norm(), rtol=1e-6, atol=0)
        torch.testing.assert_close(kept["middle"][-1].double(), grad.mean(), rtol=1e-6, atol=0)


def test_norms_are_the_same_on_any_number_of_threads() -> None:
    """An update with norms is the same to the last bit, whoever adds them up."""
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            params = _tensors(torch.float32)
            optimizer = _made(balanced)(params)
            for param in params:
                param.grad = param.detach() * 0.5 + 1
            optimizer.step()
            found.append([param.detach() for param in params])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_norms_and_means_of_sparse_gradients_are_of_the_rows_that_they_touch() -> None:
    """Rows that a gradient doesn't touch count nowhere, with a kernel as with the reference."""
    ends = []
    for backend in ("reference", "cpu"):
        torch.manual_seed(0)
        tables = [nn.Embedding(30, 5, sparse=True, dtype=torch.float64) for _ in range(2)]
        optimizer = _made(balanced)([table.weight for table in tables], backend=backend)
        for _ in range(4):
            optimizer.zero_grad()
            sum((table(torch.randint(0, 30, (8,))) ** 2).sum() for table in tables).backward()
            optimizer.step()
        ends.append([table.weight.detach() for table in tables])
    for one, other in zip(*ends, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
