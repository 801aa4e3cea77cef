"""Code written for `torch.optim` runs on `gradus.optim`: names, subclasses, groups, GradScaler, and states of others."""

import copy
import importlib
import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gradus.lr_scheduler
import gradus.optim
from gradus.errors import InvalidInput
from gradus.rules import ops, rule
from optim_registry import ALL, BY_NAME, CLASSES, Case, give_gradients, params

SUBMODULES = ["adam", "adamw", "sgd", "rmsprop", "adagrad", "lbfgs", "sparse_adam", "optimizer", "_functional", "_adafactor"]


@pytest.mark.parametrize("name", [name for name in torch.optim.__all__ if name[0].isupper()])
def test_every_class_has_torchs_name(name: str) -> None:
    """What torch.optim offers, this package offers by the same name, and says that it is from the public module."""
    assert getattr(gradus.optim, name).__module__ == "gradus.optim"


def test_everything_else_of_torch_optim_is_there() -> None:
    """`lr_scheduler` and `swa_utils` are there, as attributes and in imports: one line is all there is to replace."""
    from gradus.optim.swa_utils import AveragedModel

    from gradus.optim import lr_scheduler, swa_utils
    from gradus.optim.lr_scheduler import StepLR

    assert lr_scheduler is gradus.lr_scheduler
    assert StepLR is gradus.lr_scheduler.StepLR
    assert swa_utils.AveragedModel is AveragedModel
    assert gradus.optim.swap_in_optimizer_params_and_state is torch.optim.swap_in_optimizer_params_and_state
    assert not hasattr(gradus.optim, "adamm")


@pytest.mark.parametrize("name", SUBMODULES)
def test_torchs_submodules_can_be_imported(name: str) -> None:
    """Names are taken from torch's submodules too: there they are this library's where it has them, else torch's."""
    ours, theirs = importlib.import_module(f"gradus.optim.{name}"), importlib.import_module(f"torch.optim.{name}")
    for public in getattr(theirs, "__all__", []):
        here = getattr(ours, public)
        assert here is getattr(gradus.optim if public in gradus.optim.__all__ else theirs, public)
    assert getattr(gradus.optim, name) is ours


def test_required_is_torchs() -> None:
    """`from torch.optim.optimizer import Optimizer, required`, as many repositories have it, works by this name."""
    from gradus.optim.optimizer import Optimizer, required

    assert Optimizer is gradus.optim.Optimizer
    assert required is importlib.import_module("torch.optim.optimizer").required


class Descent(gradus.optim.Optimizer):
    """An optimizer as courses write it."""

    def __init__(self, params: Any, lr: float = 0.1, momentum: float = 0.5) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:  # type: ignore[override]  # noqa: ARG002
        for group in self.param_groups:
            for param in group["params"]:
                buffer = self.state[param].setdefault("buffer", torch.zeros_like(param))
                param.sub_(buffer.mul_(group["momentum"]).add_(param.grad), alpha=group["lr"])


def test_a_class_without_a_rule_has_torchs_contract() -> None:
    """With `super().__init__(params, defaults)` and a `step` of one's own, state, groups, copies and schedulers work."""
    (param,) = params(shapes=[(3,)])
    optimizer = Descent([{"params": [param], "mine": 1}], lr=1.0)
    schedule = gradus.lr_scheduler.ExponentialLR(optimizer, 0.5)
    start = param.detach().clone()
    for _ in range(2):
        param.grad = torch.ones_like(param)
        optimizer.step()
        schedule.step()
    torch.testing.assert_close(start - param.detach(), torch.full_like(start, 1.0 + 0.5 * 1.5))
    saved = optimizer.state_dict()
    assert saved["param_groups"] == [{"lr": 0.25, "momentum": 0.5, "mine": 1, "initial_lr": 1.0, "params": [0]}]
    other = Descent([param])
    other.load_state_dict(saved)
    assert torch.equal(other.state[param]["buffer"], optimizer.state[param]["buffer"])
    assert copy.deepcopy(optimizer).state_dict()["param_groups"] == saved["param_groups"]
    assert "lr: 0.25" in repr(optimizer)
    with pytest.raises(NotImplementedError, match="Optimizer has neither a rule nor a step"):
        gradus.optim.Optimizer([param], {}).step()


def test_torchs_optimizers_are_instances() -> None:
    """`isinstance(optimizer, Optimizer)`, as frameworks ask it, holds for torch's optimizers too, and for no other thing."""
    some = params(shapes=[(2,)])
    for one in (torch.optim.SGD(some), gradus.optim.SGD(some), gradus.optim.LBFGS(some), Descent(some)):
        assert isinstance(one, gradus.optim.Optimizer)
    assert not isinstance(torch.optim.SGD(some), gradus.optim.SGD)
    assert not isinstance(some[0], gradus.optim.Optimizer)


@pytest.mark.parametrize("case", ALL, ids=str)
def test_printed_it_looks_like_torchs(case: Case) -> None:
    """An optimizer prints torch's lines, `0` for `0`, and what was chosen."""
    some = params(shapes=[(2, 2)])
    assert repr(case.ours(some)) == repr(case.theirs(some))


def test_what_is_not_torchs_default_is_printed() -> None:
    """A way to run that was asked for is printed, whether or not torch's class has it."""
    assert "fused: True" in repr(gradus.optim.Adamax(params(shapes=[(2, 2)]), fused=True))


@pytest.mark.parametrize("key", ["lr_scale", "rho", "lr_mult", "layer_id", "use_muon", "decay_mult", "weight_decay_filter"])
def test_keys_of_ones_own_in_groups(key: str) -> None:
    """A group may hold what its user likes (timm's lr_scale, SAM's rho), as with torch; it is kept and saved."""
    some = params(shapes=[(2,)])
    optimizer = gradus.optim.SGD([{"params": some, key: 0.5}], lr=0.1)
    assert optimizer.state_dict()["param_groups"][0][key] == 0.5
    other = gradus.optim.SGD(some, lr=0.1)
    other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0][key] == 0.5
    assert gradus.optim.LBFGS([{"params": some, key: 0.5}]).param_groups[0][key] == 0.5


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        *(("weight_decy", "weight_decay"), ("weigth_decay", "weight_decay"), ("weightdecay", "weight_decay"), ("LR", "lr")),
        *(("moment", "momentum"), ("beta", "betas"), ("epsilon", None), ("dampning", "dampening"), ("l_r", "lr")),
    ],
)
def test_slips_of_the_pen_in_groups(key: str, meant: str | None) -> None:
    """A key that is nearly a hyperparameter's name is refused, with the name that was meant; others are the user's."""
    some, kind = params(shapes=[(2,)]), gradus.optim.Adam if key == "beta" else gradus.optim.SGD
    if meant is None:
        kind([{"params": some, key: 0.5}])
        return
    with pytest.raises(InvalidInput, match=rf"has no hyperparameter '{key}'; did you mean '{meant}'\?"):
        kind([{"params": some, key: 0.5}])


@pytest.mark.parametrize("key", ["clip_norm", "skip_nonfinite", "backend"])
def test_what_is_for_all_groups_is_no_groups_key(key: str) -> None:
    """An option of the whole optimizer in a group, where nobody would read it, is refused."""
    with pytest.raises(InvalidInput, match=f"{key} is for all groups together; give it to SGD itself"):
        gradus.optim.SGD([{"params": params(shapes=[(2,)]), key: 1.0}])


# GradScaler


OPTIONS: list[dict[str, Any]] = [{}, {"skip_nonfinite": True}, {"clip_norm": 0.5}, {"clip_value": 0.01}, {"fused": True}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_unscaling_is_claimed_only_where_it_was_asked_for(options: dict[str, Any]) -> None:
    """Lightning refuses to clip gradients for who unscales them itself; only what needs that, or fused=True, claims it."""
    optimizer = gradus.optim.Adam(params(shapes=[(2,)]), **options)
    assert getattr(optimizer, "_step_supports_amp_scaling", False) == bool(options)
    assert copy.deepcopy(optimizer)._step_supports_amp_scaling == bool(options)


@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_grad_scaler_is_right_whoever_unscales(options: dict[str, Any], by_hand: bool) -> None:
    """Whoever unscales them, and with an infinity on the way, updates are those of the plain gradients."""
    ours, theirs = params(torch.float32, [(3,), (2,)]), params(torch.float32, [(3,), (2,)])
    plain = {key: value for key, value in options.items() if key.startswith("clip")}
    got, want = gradus.optim.Adam(ours, **options), gradus.optim.Adam(theirs, **plain)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(6):
        give_gradients(ours, theirs, step=step)
        for param in ours:
            param.grad = scaler.scale(param.grad)
        if step == 3:
            ours[0].grad[0] = math.inf
        if by_hand:
            scaler.unscale_(got)
        scaler.step(got)
        scaler.update()
        if step != 3:
            want.step()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert float(got.state[ours[0]]["step"]) == 5


# Hyperparameters


@rule
def bare(param: Any, grad: Any, *, lr: Any = 0.1, eps: Any = 1e-8, shares: Any = (0.5, 0.5), flip: Any = False) -> Any:
    """A rule as one writes it first, without annotations."""
    return param - lr * (-grad if flip else grad) / (shares[0] + shares[1] + eps)


class Bare(gradus.optim.Optimizer, rule=bare):
    """Its optimizer."""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1}, "lr must be a finite number that isn't negative; got -1"),
        ({"lr": "a"}, "lr must be a finite number that isn't negative; got 'a'"),
        ({"lr": math.nan}, "lr must be a finite number that isn't negative; got nan"),
        ({"eps": -1e-8}, "eps must be a finite number that isn't negative"),
        ({"shares": (0.5,)}, "shares must be 2 finite numbers; got"),
        ({"shares": "ab"}, "shares must be 2 finite numbers; got 'ab'"),
        ({"flip": "yes"}, "flip must be True or False; got 'yes'"),
    ],
)
def test_a_rule_without_annotations_is_checked(options: dict[str, Any], message: str) -> None:
    """What has no annotation is checked by its name where that means the same everywhere, else by its default's kind."""
    with pytest.raises(InvalidInput, match=message):
        Bare(params(shapes=[(2,)]), **options)
    with pytest.raises(InvalidInput, match=message):
        Bare([{"params": params(shapes=[(2,)]), **options}])


@pytest.mark.parametrize("backend", ["reference", "cpu"])
@pytest.mark.parametrize(
    "options", [{"eps": 0.0}, {"betas": (0.9, 0.0)}, {"betas": (0.9, 0.0), "eps": 0.0}, {"betas": (0, 0)}]
)
def test_radam_is_finite_where_torchs_is(options: dict[str, Any], backend: str) -> None:
    """Without ε or a second memory, and where gradients are 0, RAdam's updates are torch's, to the NaN."""
    ours, theirs = params(shapes=[(4,)]), params(shapes=[(4,)])
    got, want = gradus.optim.RAdam(ours, lr=0.1, **options, backend=backend), torch.optim.RAdam(theirs, lr=0.1, **options)
    for step in range(10):
        give_gradients(ours, theirs, step=step)
        for some in (ours, theirs):
            some[0].grad[step % 2 :: 2] = 0.0
            some[0].grad[3] = 0.0
        got.step()
        want.step()
        torch.testing.assert_close(ours[0], theirs[0], equal_nan=True)


@pytest.mark.parametrize(
    ("name", "options"),
    [("Rprop", {"lr": 1e308}), ("Adagrad", {"initial_accumulator_value": 1e39})],
    ids=["Rprop", "Adagrad"],
)
def test_a_slot_that_begins_beyond_its_dtype(name: str, options: dict[str, Any]) -> None:
    """What a slot can't begin at in single precision is refused, where torch raises of it; in double it is fine."""
    for dtype in (torch.float32, torch.float64):
        (param,) = params(dtype, shapes=[(2,)])
        before = param.detach().clone()
        optimizer = getattr(gradus.optim, name)([param], **options)
        give_gradients([param], step=0)
        if dtype == torch.float64:
            optimizer.step()
            assert bool(param.isfinite().all())
            continue
        with pytest.raises(InvalidInput, match=rf"starts at .*, its {next(iter(options))}; torch.float32"):
            optimizer.step()
        assert torch.equal(param, before)


# States of others


def of(slots: dict[str, Any], **group: Any) -> dict[str, Any]:
    """A state of one parameter in another library's form."""
    return {"state": {0: slots}, "param_groups": [{"params": [0], **group}]}


def adam_after(count: int) -> tuple[Tensor, Tensor]:
    """Adam's averages after some updates with a gradient of ones."""
    return torch.full((3,), 1 - 0.9**count), torch.full((3,), 1 - 0.999**count)


M, V = adam_after(7)
ADAM = {"lr": 0.1, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
FOREIGN = {
    "apex.optimizers.FusedAdam": of({"exp_avg": M, "exp_avg_sq": V}, step=7, bias_correction=True, **ADAM),
    "apex, capturable": of({"exp_avg": M, "exp_avg_sq": V}, step=torch.tensor(7, dtype=torch.int), **ADAM),
    "bitsandbytes, 32 bits": of({"step": 7, "state1": M, "state2": V}, **ADAM),
    "transformers.AdamW": of({"step": 7, "exp_avg": M, "exp_avg_sq": V}, correct_bias=True, **ADAM),
    "torch 1.4": of({"step": 7, "exp_avg": M, "exp_avg_sq": V}, amsgrad=False, **ADAM),
    "torch": of({"step": torch.tensor(7.0), "exp_avg": M, "exp_avg_sq": V}, amsgrad=False, maximize=False, **ADAM),
}


@pytest.mark.parametrize("whose", FOREIGN)
def test_known_states_of_others_are_taken(whose: str) -> None:
    """A state in the form of apex, bitsandbytes, Transformers or an older torch goes on where that training stood."""
    ours, theirs = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    want = torch.optim.Adam([theirs], **ADAM)
    for param in (ours, theirs):
        param.grad = torch.ones(3)
    for _ in range(7):
        want.step()
    with torch.no_grad():
        ours.copy_(theirs)
    got = gradus.optim.Adam([ours])
    got.load_state_dict(copy.deepcopy(FOREIGN[whose]))
    got.step()
    want.step()
    torch.testing.assert_close(ours, theirs)
    assert float(got.state[ours]["step"]) == 8


def test_timms_adan_is_taken() -> None:
    """timm's Adan keeps the gradient before with its sign turned, and counts steps in the group."""
    slots = {"exp_avg": M, "exp_avg_diff": M, "exp_avg_sq": V, "neg_pre_grad": torch.full((3,), -2.0)}
    optimizer = gradus.optim.Adan([nn.Parameter(torch.ones(3))])
    optimizer.load_state_dict(of(slots, step=7, lr=0.1, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0))
    ((_, kept),) = optimizer.state.items()
    assert kept["pre_grad"].tolist() == [2.0] * 3
    assert float(kept["step"]) == 7


SCHEDULE_FREE = {"lr": 0.1, "weight_decay": 0.0, "warmup_steps": 0, "r": 0.0, "weight_lr_power": 2.0, "foreach": True}


def test_schedulefrees_states_are_taken() -> None:
    """schedulefree counts steps and sums weights in its groups: a state goes on as the formula of its paper says."""
    z, y, lr, beta = 0.2, 0.5, 0.1, 0.9
    param = nn.Parameter(torch.full((1,), y, dtype=torch.float64))
    optimizer = gradus.optim.SGDScheduleFree([param])
    saved = of(
        {"z": torch.full((1,), z, dtype=torch.float64)},
        **SCHEDULE_FREE,
        momentum=beta,
        k=4,
        train_mode=True,
        weight_sum=4 * lr**2,
        lr_max=lr,
        scheduled_lr=lr,
    )
    optimizer.load_state_dict(saved)
    param.grad = torch.full((1,), 2.0, dtype=torch.float64)
    optimizer.step()
    x = (y - (1 - beta) * z) / beta
    after = z - lr * 2.0
    share = lr**2 / (5 * lr**2)
    assert param.item() == pytest.approx((1 - beta) * after + beta * ((1 - share) * x + share * after))
    assert float(optimizer.state[param]["step"]) == 5


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_bias_correction": True},
        {"slice_p": 3},
        {"betas": (0.0, 0.99)},
        {"weight_decay": 0.1, "decouple": False, "safeguard_warmup": True},
    ],
)
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_prodigyopts_states_are_taken(options: dict[str, Any], start: float) -> None:
    """A training goes on as prodigyopt would have gone on with it, whatever its options and wherever it began."""
    prodigyopt = pytest.importorskip("prodigyopt")
    theirs = nn.Parameter(torch.full((4, 5), start))
    want = prodigyopt.Prodigy([theirs], **options)

    def go(optimizer: Any, param: nn.Parameter, count: int) -> None:
        for _ in range(count):
            param.grad = param.detach() - torch.linspace(1, 3, 20).view(4, 5)
            optimizer.step()

    go(want, theirs, 6)
    ours = nn.Parameter(theirs.detach().clone())
    got = gradus.optim.Prodigy([ours])
    got.load_state_dict(copy.deepcopy(want.state_dict()))
    go(want, theirs, 6)
    go(got, ours, 6)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    assert got.param_groups[0]["d"] == pytest.approx(want.param_groups[0]["d"], rel=1e-5)
    assert got.param_groups[0]["k"] == 12
    assert not {"use_bias_correction", "d_hat"} & got.param_groups[0].keys()


REFUSED = {
    "no step": (of({"exp_avg": M, "exp_avg_sq": V}, **ADAM), r"it has no step for a parameter of shape \(3,\)"),
    "no slot": (of({"step": 7, "exp_avg": M}, **ADAM), "it has no exp_avg_sq for a parameter"),
    "a step alone": (of({"step": 7}, **ADAM), "it has no exp_avg for a parameter"),
    "no amsgrad slot": (of({"step": 7, "exp_avg": M, "exp_avg_sq": V}, **ADAM, amsgrad=True), "it has no max_exp_avg_sq"),
    "uncorrected": (of({"step": 7, "exp_avg": M, "exp_avg_sq": V}, **ADAM, correct_bias=False), "with correct_bias=False"),
    "8 bits": (of({"step": 7, "state1": M, "qmap1": M}, **ADAM), "kept in 8 bits .*save it with optim_bits=32"),
    "another optimizer": (of({"step": 7, "exp_avg": M, "exp_avg_sq": V, "s": M}, **ADAM), "it has a slot 's'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_half_a_state_is_refused(what: str) -> None:
    """A state that lacks a step or a slot, or was made by other formulas, is refused by name, and nothing is changed."""
    optimizer = gradus.optim.Adam([nn.Parameter(torch.ones(3))], lr=0.5)
    saved, message = REFUSED[what]
    with pytest.raises(InvalidInput, match=message):
        optimizer.load_state_dict(copy.deepcopy(saved))
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize("name", CLASSES)
def test_a_state_without_one_of_its_entries_is_refused(name: str) -> None:
    """Of every optimizer's state, whatever is taken out of it is missed; whole it is taken."""
    some = params(torch.float32, shapes=[(3, 2)])
    optimizer = CLASSES[name](some)
    give_gradients(some, step=0)
    optimizer.step()
    saved = optimizer.state_dict()
    CLASSES[name](some).load_state_dict(saved)
    for slot in saved["state"][0]:
        if slot == "step" and (name == "SGD" or not optimizer.rule.counts_steps):
            continue  # torch keeps none
        damaged = copy.deepcopy(saved)
        del damaged["state"][0][slot]
        with pytest.raises(InvalidInput, match=f"it has no {slot} for a parameter"):
            CLASSES[name](some).load_state_dict(damaged)


@pytest.mark.parametrize(
    ("name", "option", "value"), [("Adam", "amsgrad", True), ("SGD", "momentum", 0.9), ("RMSprop", "centered", True)]
)
def test_a_slot_that_is_about_to_begin_is_saved_as_such(name: str, option: str, value: Any) -> None:
    """Saved after an option was chosen and before the next step, a state is whole, and begins the new slot then."""
    some = params(shapes=[(3,)])
    optimizer = getattr(gradus.optim, name)(some)
    give_gradients(some, step=0)
    optimizer.step()
    optimizer.param_groups[0][option] = value
    other = getattr(gradus.optim, name)(some)
    other.load_state_dict(optimizer.state_dict())
    other.step()
    assert float(other.state[some[0]]["step"]) == 2


@pytest.mark.parametrize("position", [0, 1, 2])
def test_by_position_no_layer_gets_anothers_moments(position: int) -> None:
    """Without names strict=False gives a group with a layer more nothing: nobody knows which one is new."""
    some = params(shapes=[(2, 2)] * 3)
    optimizer = gradus.optim.Adam(some)
    give_gradients(some, step=0)
    optimizer.step()
    new = params(shapes=[(2, 2)], seed=5)
    more = gradus.optim.Adam([*some[:position], *new, *some[position:]])
    difference = more.load_state_dict(optimizer.state_dict(), strict=False)
    assert difference == ([(0, place) for place in range(4)], [(0, place) for place in range(3)])
    assert not more.state
    apart = gradus.optim.Adam([{"params": new, "lr": 0.5}, {"params": some, "lr": 0.25}])
    apart.load_state_dict(optimizer.state_dict(), strict=False)
    assert not apart.state
    assert [group["lr"] for group in apart.param_groups] == [0.5, 0.25]


# What torch asks and refuses


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, None])
def test_lbfgs_evaluates_as_often_as_torchs(most: int | None, search: str | None) -> None:
    """`max_eval` bounds the closure's calls as torch's does, within a line search too."""
    asked = []
    for library in (torch.optim, gradus.optim):
        point = nn.Parameter(torch.tensor([-1.5, 2.0], dtype=torch.float64))
        optimizer = library.LBFGS(
            [point], max_iter=20, max_eval=most, line_search_fn=search, lr=0.01 if search is None else 1
        )
        calls = []

        def closure(point: Any = point, optimizer: Any = optimizer, calls: list[int] = calls) -> Tensor:
            calls.append(1)
            optimizer.zero_grad()
            loss = (1 - point[0]) ** 2 + 100 * (point[1] - point[0] ** 2) ** 2
            loss.backward()
            return loss

        optimizer.step(closure)
        asked.append(len(calls))
    assert asked[0] == asked[1]


def test_a_sparse_adams_state_is_torchs() -> None:
    """torch's SparseAdam counts steps in whole numbers, and its bias corrections with them in double precision."""
    ours, theirs = params(shapes=[(4, 2)]), params(shapes=[(4, 2)])
    got, want = gradus.optim.SparseAdam(ours), torch.optim.SparseAdam(theirs)
    ours[0].grad = torch.eye(4, 2, dtype=torch.float64).to_sparse(1)
    got.step()
    saved = got.state_dict()
    assert type(saved["state"][0]["step"]) is int
    want.load_state_dict(copy.deepcopy(saved))  # torch takes tensors as they are
    for some in (ours, theirs):
        some[0].grad = torch.eye(4, 2, dtype=torch.float64).to_sparse(1)
    with torch.no_grad():
        theirs[0].copy_(ours[0])
    got.step()
    want.step()
    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    ("given", "options"),
    [
        (lambda: torch.ones(3, 2).to_sparse().requires_grad_(), {}),
        (lambda: torch.ones(3, dtype=torch.complex64).requires_grad_(), {}),
        (lambda: torch.ones(3).requires_grad_(), {"lr": 0.0}),
        (lambda: torch.ones(3).requires_grad_(), {"eps": 0.0}),
    ],
)
def test_what_torchs_sparse_adam_refuses(given: Any, options: dict[str, Any]) -> None:
    """Parameters that are sparse or complex, and a rate or ε of 0 to begin with, are refused as by torch."""
    for library in (torch.optim, gradus.optim):
        with pytest.raises(ValueError, match=r"Sparse params|Complex params|Invalid|SparseAdam (takes|begins)"):
            library.SparseAdam([given()], **options)


def test_muon_asks_what_three_dimensions_are() -> None:
    """torch's Muon takes matrices alone. Here three dimensions may be a kernel or experts: it is said, or refused."""
    with pytest.raises(ValueError, match="only supports 2D"):
        torch.optim.Muon(params(shapes=[(2, 3, 4)]))
    with pytest.raises(InvalidInput, match=r"shape \(2, 3, 4\) is a batch of matrices or one; give its group batched=True"):
        gradus.optim.Muon(params(shapes=[(2, 2), (2, 3, 4)]))
    for told in ({"batched": True}, {"batched": False}, {"muon": False}):
        some = params(shapes=[(2, 3, 4)])
        optimizer = gradus.optim.Muon([{"params": some, **told}])
        with pytest.raises(InvalidInput, match="can't tell"):
            optimizer.add_param_group({"params": params(shapes=[(2, 3, 4)])})
        give_gradients(some, step=0)
        optimizer.step()
    gradus.optim.Muon(params(shapes=[(2, 3, 4), (4,), (2, 2, 3, 3)]), batched=True)
    gradus.optim.Muon(params(shapes=[(2, 2), (4,), (2, 2, 3, 3)]))


def test_signatures_take_what_torchs_take() -> None:
    """Every argument of torch's class is an argument here, with the same default."""
    for name in BY_NAME:
        ours, theirs = (inspect.signature(getattr(library, name)).parameters for library in (gradus.optim, torch.optim))
        for argument, parameter in theirs.items():
            assert repr(ours[argument].default) == repr(parameter.default), (name, argument)


def test_norms_of_ops_are_used() -> None:
    """An own class under the replaced import may have a rule, too."""

    @rule
    def halving(param: Any, grad: Any, *, lr: Any = 0.5) -> Any:
        return param - lr * ops.sign(grad)

    class Halving(gradus.optim.Optimizer, rule=halving):
        """Its optimizer."""

    (param,) = params(shapes=[(2,)])
    before = param.detach().clone()
    param.grad = torch.ones_like(param)
    Halving([param]).step()
    torch.testing.assert_close(before - param.detach(), torch.full_like(before, 0.5))


@pytest.mark.parametrize("name", [*CLASSES, "LBFGS"])
def test_an_optimizers_docstring_is_whole(name: str) -> None:
    """A public optimizer says what it keeps and what each argument is, names its source, and has an example."""
    kind = getattr(gradus.optim, name)
    assert all(part in kind.__doc__ for part in ("Kept ", "Args:", "Source: ", ">>> "))
    arguments = getattr(kind, "hypers", None) or torch.optim.LBFGS([torch.ones(1)]).defaults
    assert [argument for argument in arguments if argument not in kind.__doc__] == []
