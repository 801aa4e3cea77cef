"""Parameter groups by name."""

from typing import Any

import pytest
import torch
from torch import nn

import gradus
from gradus.errors import InvalidInput
from gradus.optim import groups


class Net(nn.Module):
    """An embedding, three blocks, a norm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 4)
        self.blocks = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def where(made: Any) -> dict[str, dict[str, Any]]:
    """The hyperparameters of each parameter, by name."""
    return {
        name: {key: value for key, value in group.items() if key not in ("params", "param_names", "name")}
        for group in made
        for name in group["param_names"]
    }


def test_patterns_give_hyperparameters_by_name() -> None:
    """Each parameter has what its patterns give it, a later pattern before an earlier one, and is in one group."""
    net = Net()
    made = groups(net, {"bias|norm": {"weight_decay": 0.0}, "head": {"lr": 0.01}, "head.bias": {"lr": 0.1}})
    found = where(made)
    assert set(found) == {name for name, _ in net.named_parameters()}
    assert found["blocks.0.weight"] == {}
    assert found["norm.weight"] == {"weight_decay": 0.0}
    assert found["head.weight"] == {"lr": 0.01}
    assert found["head.bias"] == {"weight_decay": 0.0, "lr": 0.1}


def test_rates_fall_by_layer() -> None:
    """The rate of layer l of L is lr·decay^(L − l), from the head down to the embedding."""
    found = where(groups(Net(), {"bias": {"weight_decay": 0.0}}, lr=1.0, layer_decay=0.5))
    expected = {"head": 1.0, "norm": 1.0, "blocks.2": 0.5, "blocks.1": 0.25, "blocks.0": 0.125, "embedding": 0.0625}
    for name, options in found.items():
        (rate,) = [rate for prefix, rate in expected.items() if name.startswith(prefix)]
        assert options["lr"] == rate
        assert ("weight_decay" in options) == name.endswith("bias")


def test_an_optimizer_and_a_scheduler_take_them() -> None:
    """They train, by ours and by torch's optimizers, and schedules find them by name; frozen parameters are left out."""
    net = Net()
    net.embedding.requires_grad_(requires_grad=False)
    for library in (gradus.optim, torch.optim):
        made = groups(net, {"bias": {"weight_decay": 0.0}}, lr=0.1)
        optimizer = library.AdamW(made)
        gradus.Scheduler(optimizer, lr={"bias": gradus.schedules.Linear(10)})
        net.head(net.norm(net.blocks[0](torch.ones(4)))).sum().backward()
        optimizer.step()
        assert sum(len(group["params"]) for group in optimizer.param_groups) == len(list(net.parameters())) - 1


def test_printed_they_say_what_fell_where() -> None:
    """A line for each group: how much is in it, its hyperparameters, and whose parameters."""
    text = str(groups(Net(), {"bias": {"weight_decay": 0.0}}))
    assert text.splitlines() == [
        "default: 6 tensors, 80 elements (defaults): embedding.weight, blocks.0.weight, blocks.1.weight, … head.weight",
        "bias: 5 tensors, 18 elements (weight_decay=0.0): blocks.0.bias, blocks.1.bias, blocks.2.bias, … head.bias",
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"patterns": {"haed": {"lr": 0.1}}},
            r"no parameter's name fits 'haed' .did you mean head.*; there are, among others, embedding",
        ),
        ({"patterns": {"(": {}}}, r"'\(' is no regular expression: missing \)"),
        ({"layer_decay": 0.9}, r"layer_decay is a factor above 0 and at most 1 on lr=\.\.\.; got 0\.9 and lr=None"),
        ({"layer_decay": 1.5, "lr": 0.1}, r"layer_decay is a factor above 0 and at most 1"),
        ({"layer_decay": 0.9, "lr": "0.1"}, r"lr must be a finite number that isn't negative; got '0\.1'"),
        ({"patterns": {"head": 0.1}}, r"'head' must give a dict of hyperparameters, such as dict\(lr=0\.01\); got 0\.1"),
        ({"patterns": {"head": {"params": []}}}, r"'head' must give a dict of hyperparameters"),
        ({"patterns": {"head": {"lr": "x"}}}, r"the lr of 'head' must be a finite number that isn't negative; got 'x'"),
        ({"patterns": {3: {"lr": 0.1}}}, r"a pattern is a regular expression for names, a str; got 3"),
    ],
)
def test_refused_with_a_reason(arguments: dict[str, Any], message: str) -> None:
    """A pattern that fits nothing, or a decay without a rate, is an error that says the way out."""
    with pytest.raises(InvalidInput, match=message):
        groups(Net(), **arguments)


def test_what_isnt_trained_is_told_apart() -> None:
    """A pattern for frozen parameters alone is refused by that reason, and so is what is no model."""
    net = Net()
    net.head.requires_grad_(False)
    with pytest.raises(InvalidInput, match=r"'head' fits nothing that is trained: head\.\w+ has requires_grad=False"):
        groups(net, {"head": {"lr": 0.1}})
    with pytest.raises(InvalidInput, match=r"groups are made of a model's named parameters; got generator"):
        groups(net.parameters())  # type: ignore[arg-type]
