"""A tutorial's chapter on saving: print an optimizer, its state, save, load into a new one, go on."""

import io

import torch
import torch.optim as optim
from torch.optim.adam import Adam
from torch.optim.sgd import SGD

torch.manual_seed(7)
net = torch.nn.Linear(3, 2)
for make in (
    lambda p: SGD(p, lr=0.1, momentum=0.9),
    lambda p: Adam(p, lr=0.01, weight_decay=1e-3),
    lambda p: optim.RMSprop(p, lr=0.01),
    lambda p: optim.Adagrad([{"params": [net.weight], "lr": 0.2}, {"params": [net.bias]}]),
):
    optimizer = make(net.parameters())
    print(optimizer)
    for _ in range(3):
        optimizer.zero_grad()
        net(torch.ones(5, 3)).square().mean().backward()
        optimizer.step()
    state = optimizer.state_dict()
    for number, kept in state["state"].items():
        print(number, {name: f"{value.double().sum().item():.6f}" for name, value in kept.items() if name != "step"})
    print([{key: group[key] for key in ("lr", "weight_decay", "params")} for group in state["param_groups"]])
    file = io.BytesIO()
    torch.save({"model": net.state_dict(), "optimizer": state}, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=True)
    again = make(net.parameters())
    again.load_state_dict(loaded["optimizer"])
    for param_group in again.param_groups:
        param_group["lr"] = param_group["lr"] * 0.1
    again.step()
    print(type(again).__name__, f"{net.weight.sum().item():.6f}", again.param_groups[0]["lr"])
