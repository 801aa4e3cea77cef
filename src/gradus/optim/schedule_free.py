"""Schedule-free optimizers: an average of the iterates in place of a schedule."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from gradus.checks import one_of
from gradus.errors import InvalidInput
from gradus.optim.foreign import own_group
from gradus.optim.optimizer import Optimizer
from gradus.optim.state_dicts import Difference, saved_groups
from gradus.rules import modern
from gradus.rules.rule import Rule

__all__ = ["AdamWScheduleFree", "RAdamScheduleFree", "SGDScheduleFree"]


class _ScheduleFree(Optimizer):
    """In training the parameters are y, where gradients are taken; the model to evaluate is x, their average."""

    _takes_sparse = False  # z starts at the parameter, all of its rows at the first update

    def eval(self) -> None:
        """Put the averages x into the parameters, for evaluation and for saving the model."""
        self._go("eval")

    def train(self) -> None:
        """Put y back into the parameters, for training."""
        self._go("train")

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The averages in the parameters, for a block: `with optimizer.averaged(): evaluate(model)`."""
        before = self._mode
        self.eval()
        try:
            yield
        finally:
            self._go(before)

    @property
    def _mode(self) -> str:
        return str(self.param_groups[0].get("mode", "train"))

    @torch.no_grad()
    def _go(self, mode: str) -> None:
        if mode == self._mode:
            return
        for group in self.param_groups:
            beta = group["betas"][0] if "betas" in group else group["momentum"]
            weight = 1 - 1 / beta if mode == "eval" else 1 - beta
            for param in group["params"]:
                if "z" in self._state.get(param, {}):
                    z = self._state[param]["z"]  # in single precision where the parameter is in half
                    param.copy_(param.to(z.dtype).lerp(z.to(param.device), weight))
            group["mode"] = mode

    def _update(self) -> bool:
        if self._mode != "train":
            raise InvalidInput(
                "the parameters hold the averages, so a step would train on them; call optimizer.train() first"
            )
        return super()._update()

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, in the mode of the present groups."""
        mode = {"mode": self._mode} if self.param_groups else {}
        super().add_param_group({**param_group, **mode} if isinstance(param_group, dict) else param_group)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Difference:  # type: ignore[override]
        """Load a state with the mode that it was saved in; see `Optimizer.load_state_dict`.

        A state that was saved in evaluation goes with the averages, one that was saved in training with the parameters of
        training: save and load the model and the optimizer together, in either mode and in either order.
        """
        modes: set[str] = set()
        handle = self.register_load_state_dict_pre_hook(lambda _, given: modes.update(_modes(self.rule, given)))
        try:
            difference = super().load_state_dict(state_dict, strict)
        finally:
            handle.remove()
        mode = next(iter(modes), "train")
        for group in self.param_groups:
            if group.get("mode", "train") != mode:  # a state without a mode gives groups none
                group["mode"] = mode
        return difference

    def _check_saved(self, group: Mapping[str, Any]) -> None:
        one_of("train", "eval")("the saved mode", group.get("mode", "train"))


def _modes(rule: Rule, state_dict: Mapping[str, Any]) -> set[str]:
    """The mode of a state's groups, which is one; schedulefree's own has another name."""
    groups = [own_group(rule, group) for group in saved_groups(state_dict) if group["params"]]
    modes = {group.get("mode", "train") for group in groups if isinstance(group.get("mode", "train"), str)}
    if len(modes) > 1:
        raise InvalidInput(f"the groups of a saved state must all be in one mode; got {sorted(modes)}")
    return modes


class SGDScheduleFree(_ScheduleFree, rule=modern.schedule_free_sgd, group_keys=("mode",)):
    """SGD with an average of the iterates in place of momentum and schedule.

    y = (1 − β)z + βx; z ← z − γ∇f(y); x ← (1 − c)x + cz, c = γ²/Σγ². The parameters are y in training.

    Kept for each parameter: z; lr_max and weight_sum, one number each. Evaluate within `with optimizer.averaged():`, or
    between `optimizer.eval()` and `optimizer.train()`; a step while the averages are in the parameters is an error. A state
    may be saved in either mode, with the model's of that moment, and comes back in it.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ; higher than with a schedule.
        momentum: β, above 0.
        weight_decay: λ: λy is added to the gradient.
        warmup_steps: updates in which γ grows to its value.
        r: the average's weights grow with tʳ.
        weight_lr_power: and with this power of the largest γ so far.

    Source: Defazio et al. 2024, The Road Less Scheduled, eqs. 3 to 5.

    >>> param = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = SGDScheduleFree([param], lr=0.5)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     (param - 3).square().sum().backward()
    ...     optimizer.step()
    >>> with optimizer.averaged():
    ...     abs(param.item() - 3) < 0.01
    True
    """


class AdamWScheduleFree(_ScheduleFree, rule=modern.schedule_free_adamw, group_keys=("mode",)):
    """AdamW with an average of the iterates in place of the first moment and the schedule.

    As `SGDScheduleFree`, along g/(√v̂ + ε).

    Kept for each parameter: z, exp_avg_sq; lr_max and weight_sum, one number each.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ; 1 to 10 times that with a schedule.
        betas: β of y, above 0, and β₂ of v.
        eps: ε.
        weight_decay: λ: γλy is taken off.
        warmup_steps: updates in which γ grows to its value.
        r: the average's weights grow with tʳ.
        weight_lr_power: and with this power of the largest γ so far.

    Source: Defazio et al. 2024, The Road Less Scheduled, Algorithm 1.

    >>> param = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = AdamWScheduleFree([param], lr=0.1)
    >>> for _ in range(300):
    ...     optimizer.zero_grad()
    ...     (param - 3).square().sum().backward()
    ...     optimizer.step()
    >>> with optimizer.averaged():
    ...     abs(param.item() - 3) < 0.1
    True
    """


class RAdamScheduleFree(_ScheduleFree, rule=modern.schedule_free_radam, group_keys=("mode",)):
    """AdamWScheduleFree that needs no warmup: its rate grows as RAdam's does, by how far the second moment can be trusted.

    ρ∞ = 2/(1 − β₂) − 1; ρ = ρ∞ − 2tβ₂ᵗ/(1 − β₂ᵗ). Above ρ = 4 the rate is γ√((ρ − 4)(ρ − 2)ρ∞/((ρ∞ − 4)(ρ∞ − 2)ρ)); up
    to there, which takes 4 updates with β₂ = 0.999, it is 0, or γ along the plain gradient.

    Kept for each parameter: z, exp_avg_sq; lr_max and weight_sum, one number each.

    Args:
        params: tensors, pairs of name and tensor, or groups of either.
        lr: γ.
        betas: β of y, above 0, and β₂ of v.
        eps: ε.
        weight_decay: λ: γλy is taken off.
        r: the average's weights grow with tʳ.
        weight_lr_power: and with this power of the largest rate so far.
        silent_sgd_phase: whether nothing moves up to ρ = 4; else SGD does, at the rate γ. For β₂ up to 0.6, where ρ is
            never above 4, it would never end, and is refused.

    Source: Defazio et al. 2024, The Road Less Scheduled, with eq. 5 of Liu et al. 2019, On the Variance of the Adaptive
    Learning Rate; the authors' package, which has 4 for the 5 of torch's RAdam.

    >>> param = torch.nn.Parameter(torch.zeros(1))
    >>> optimizer = RAdamScheduleFree([param], lr=0.1)
    >>> for _ in range(1000):
    ...     optimizer.zero_grad()
    ...     (param - 3).square().sum().backward()
    ...     optimizer.step()
    >>> with optimizer.averaged():
    ...     abs(param.item() - 3) < 0.1
    True
    """

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, which must move at some time."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["silent_sgd_phase"] and 2 / (1 - group["betas"][1]) - 1 <= 4:
            self.param_groups.pop()
            raise InvalidInput(
                f"with betas[1] up to 0.6 a silent SGD phase never ends, and nothing would ever move; got "
                f"{group['betas'][1]}; give a greater one, or silent_sgd_phase=False"
            )
