"""Sharpness-aware minimization as a wrapper around a base optimizer, two passes a step."""

import torch


class SAM(torch.optim.Optimizer):
    def __init__(self, params, base_optimizer, rho=0.05, **kwargs):
        defaults = dict(rho=rho, **kwargs)
        super().__init__(params, defaults)
        self.base_optimizer = base_optimizer(self.param_groups, **kwargs)
        self.param_groups = self.base_optimizer.param_groups
        self.defaults.update(self.base_optimizer.defaults)

    @torch.no_grad()
    def first_step(self):
        grads = [p.grad.norm(p=2) for group in self.param_groups for p in group["params"]]
        norm = torch.stack(grads).norm(p=2)
        for group in self.param_groups:
            scale = group["rho"] / (norm + 1e-12)
            for p in group["params"]:
                self.state[p]["old_p"] = p.data.clone()
                p.add_(p.grad * scale)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for group in self.param_groups:
            for p in group["params"]:
                p.data = self.state[p]["old_p"]
        self.base_optimizer.step()
        self.zero_grad()


torch.manual_seed(2)
net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
x, y = torch.randn(32, 4), torch.randn(32, 1)
optimizer = SAM(net.parameters(), torch.optim.SGD, rho=0.1, lr=0.1, momentum=0.9)
for step in range(15):
    loss = torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.first_step()
    torch.nn.functional.mse_loss(net(x), y).backward()
    optimizer.second_step()
    print(step, f"{loss.item():.5f}")
for group in optimizer.param_groups:
    print(group["rho"], group["lr"], group["momentum"], group["weight_decay"])
print(len(optimizer.base_optimizer.state), f"{sum(p.abs().sum() for p in net.parameters()).item():.4f}")
