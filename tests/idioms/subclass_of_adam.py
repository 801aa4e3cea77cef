"""Optimizers derived from torch's: gradients centralized before the step, and a log of what the state holds after it."""

import torch
from torch.optim.optimizer import Optimizer, required


class CentralizedAdamW(torch.optim.AdamW):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None and p.grad.dim() > 1:
                    p.grad.data.add_(-p.grad.data.mean(dim=tuple(range(1, p.grad.dim())), keepdim=True))
        return super().step(closure)


class OldSGD(Optimizer):
    def __init__(self, params, lr=required, momentum=0):
        if lr is not required and lr < 0.0:
            raise ValueError("Invalid learning rate: {}".format(lr))
        defaults = dict(lr=lr, momentum=momentum)
        super().__init__(params, defaults)

    def __setstate__(self, state):
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("nesterov", False)

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if "momentum_buffer" not in state:
                    buf = state["momentum_buffer"] = torch.clone(p.grad.data).detach()
                else:
                    buf = state["momentum_buffer"]
                    buf.mul_(group["momentum"]).add_(p.grad.data)
                p.data.add_(buf, alpha=-group["lr"])


torch.manual_seed(9)
net = torch.nn.Linear(4, 3)
x, y = torch.randn(12, 4), torch.randn(12, 3)
adam, sgd = CentralizedAdamW(net.parameters(), lr=0.02), OldSGD(net.parameters(), lr=0.05, momentum=0.9)
for step in range(10):
    optimizer = adam if step % 2 else sgd
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    logged = {id(p): adam.state[p]["exp_avg_sq"].sum().item() for p in net.parameters() if p in adam.state}
    print(step, f"{loss.item():.5f}", [f"{value:.6f}" for value in logged.values()])
fresh = OldSGD(net.parameters(), lr=0.05)
fresh.load_state_dict(sgd.state_dict())
print(fresh, isinstance(sgd, torch.optim.Optimizer), isinstance(adam, torch.optim.Adam))
try:
    OldSGD(net.parameters(), lr=-1.0)
except ValueError as error:
    print(error)
try:
    OldSGD(net.parameters())
    print("lr is required, and nobody asked")
except ValueError as error:
    print(error)
