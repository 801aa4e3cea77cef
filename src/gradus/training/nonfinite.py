"""What a run does at a loss or gradient that is no finite number."""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gradus.distributed import all_gather
from gradus.errors import InvalidInput
from gradus.runs import Run
from gradus.training.errors import Diverged, find_nonfinite
from gradus.training.step import needs_closure

__all__ = ["NonFinitePolicy", "check_policy"]

_RETREATS = 8  # halvings: a run that needs more has another fault than its rate
_log = logging.getLogger(__name__)


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
    if run.on_nonfinite == "back-off" and any(group.get("lr") is None for group in optimizer.param_groups):
        raise InvalidInput(f'"back-off" halves the learning rate, and {run.optimizer} has none; use "stop" or "skip"')


class NonFinitePolicy:
    """A run's policy, and what has happened under it so far.

    Args:
        policy: "stop", "skip", "back-off", or None, which doesn't look.
        on_incident: called with each update that was skipped and each return, in a sentence.
    """

    def __init__(self, policy: str | None, on_incident: Callable[[str], None] | None) -> None:
        self.policy, self._on_incident = policy, on_incident
        self._incidents: list[str] = []
        self._retreats = 0
        self._good: dict[str, Any] | None = None  # the state at the last evaluation, where it may be gone back to

    def look(
        self,
        step: int,
        loss: Tensor,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler | None,
    ) -> None:
        """Raise NonFinite where there is one; all processes that train together raise the same.

        A gradient that overflows because the loss is scaled is the scaler's affair: it leaves the update out and scales
        less. It is trouble once nothing is scaled up any more.
        """
        trouble = find_nonfinite(step, loss, model, optimizer)
        if trouble is not None and trouble.parameter is not None and scaler is not None and scaler.get_scale() > 1:
            trouble = None
        found = next((one for one in all_gather(trouble) if one is not None), None)
        if found is not None:
            raise found

    @property
    def factor(self) -> float:
        """What the rates are multiplied by, for the returns so far."""
        return float(0.5**self._retreats)

    def remember(self, position: int, parts: Mapping[str, Any]) -> None:
        """Keep the state at an evaluation, if it may be gone back to."""
        if self.policy == "back-off":
            self._good = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()} | {"position": position}

    def go_back(self, parts: Mapping[str, Any], trouble: Diverged) -> int:
        """Fill the parts with the state at the last evaluation, or raise the trouble if that can't be, or no more.

        Returns:
            The updates done then.
        """
        if self._good is None or self._retreats == _RETREATS:
            raise trouble
        self._retreats += 1
        for name, part in parts.items():
            part.load_state_dict(copy.deepcopy(self._good[name]))  # torch's take parts of it as they are
        position: int = self._good["position"]
        return position

    def report(self, incident: str) -> None:
        """Note an incident, and tell whoever wants to know."""
        _log.warning(incident)
        self._note(incident)

    def _note(self, incident: str) -> None:
        self._incidents.append(incident)
        if self._on_incident is not None:
            self._on_incident(incident)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {"incidents": self._incidents, "retreats": self._retreats, "good": self._good}

    def load_state(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave; the incidents are told again."""
        self._retreats, self._good = saved["retreats"], saved["good"]
        for incident in saved["incidents"]:
            self._note(incident)
