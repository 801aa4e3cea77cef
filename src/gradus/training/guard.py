"""What a run does at a loss or gradient that is no finite number."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.training.setup import needs_closure
from gradus.training.trouble import Diverged, non_finite

__all__ = ["Guard", "check_policy"]

_RETREATS = 8  # halvings: a run that needs more has another fault than its rate


def check_policy(run: Run, optimizer: torch.optim.Optimizer) -> None:
    """Refuse a policy that can't be followed.

    Args:
        run: names the policy.
        optimizer: the run's.

    Raises:
        InvalidInput: an update of this optimizer can't be left out.
    """
    if run.on_nonfinite == "skip" and needs_closure(optimizer):
        raise InvalidInput(
            f"{run.optimizer} looks at the loss several times in an update, and has moved the parameters by the time that a "
            f'later loss is no finite number, so an update can\'t be skipped; use "stop" or "back-off"'
        )


class Guard:
    """A run's policy, and what has happened under it so far.

    Args:
        policy: "stop", "skip", "back-off", or None, which doesn't look.
        on_incident: told of each update that was skipped and of each return.
    """

    def __init__(self, policy: str | None, on_incident: Callable[[str], None] | None) -> None:
        self.policy, self._on_incident = policy, on_incident
        self._incidents: list[str] = []
        self._retreats = 0
        self._good: dict[str, Any] | None = None  # the state at the epoch's beginning, where it may be gone back to

    def look(self, step: int, loss: Tensor, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Raise NonFinite where the policy wants to know; see `non_finite`."""
        trouble = None if self.policy is None else non_finite(step, loss, model, optimizer)
        if trouble is not None:
            raise trouble

    @property
    def factor(self) -> float:
        """What the rates are multiplied by, for the returns so far."""
        return float(0.5**self._retreats)

    def remember(self, parts: Mapping[str, Any]) -> None:
        """Keep the state at an epoch's beginning, if it may be gone back to."""
        if self.policy == "back-off":
            self._good = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}

    def go_back(self, parts: Mapping[str, Any], trouble: Diverged) -> None:
        """Fill the parts with the state at the epoch's beginning, or raise the trouble if that can't be, or no more."""
        if self._good is None or self._retreats == _RETREATS:
            raise trouble
        self._retreats += 1
        for name, part in parts.items():
            part.load_state_dict(copy.deepcopy(self._good[name]))  # torch's take parts of it as they are

    def tell(self, incident: str) -> None:
        """Note an incident, and tell of it."""
        self._incidents.append(incident)
        if self._on_incident is not None:
            self._on_incident(incident)

    def saved(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"incidents": self._incidents, "retreats": self._retreats, "good": self._good}

    def take_over(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `saved` gave; the incidents are told again."""
        self._retreats, self._good = saved["retreats"], saved["good"]
        for incident in saved["incidents"]:
            self.tell(incident)
