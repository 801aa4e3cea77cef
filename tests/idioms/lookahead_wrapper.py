"""Lookahead around a fast optimizer, whose state and groups the wrapper shares."""

from collections import defaultdict

import torch
from torch import optim


class Lookahead(optim.Optimizer):
    def __init__(self, optimizer, k=5, alpha=0.5):
        self.optimizer = optimizer
        self.k, self.alpha = k, alpha
        self.param_groups = self.optimizer.param_groups
        self.state = defaultdict(dict)
        self.fast_state = self.optimizer.state
        for group in self.param_groups:
            group["counter"] = 0

    def update(self, group):
        for fast in group["params"]:
            kept = self.state[fast]
            if "slow_param" not in kept:
                kept["slow_param"] = torch.zeros_like(fast.data)
                kept["slow_param"].copy_(fast.data)
            slow = kept["slow_param"]
            slow += (fast.data - slow) * self.alpha
            fast.data.copy_(slow)

    def step(self, closure=None):
        loss = self.optimizer.step(closure)
        for group in self.param_groups:
            if group["counter"] == 0:
                self.update(group)
            group["counter"] = (group["counter"] + 1) % self.k
        return loss

    def zero_grad(self):
        self.optimizer.zero_grad()


torch.manual_seed(3)
net = torch.nn.Linear(5, 2)
x, y = torch.randn(20, 5), torch.randn(20, 2)
optimizer = Lookahead(optim.Adam(net.parameters(), lr=0.05), k=3)
for step in range(14):
    optimizer.zero_grad()
    loss = torch.nn.functional.mse_loss(net(x), y)
    loss.backward()
    optimizer.step()
    average = sum(optimizer.fast_state[p]["exp_avg"].abs().sum().item() for p in net.parameters())
    print(step, f"{loss.item():.5f} {average:.5f}", int(optimizer.fast_state[net.weight]["step"]))
