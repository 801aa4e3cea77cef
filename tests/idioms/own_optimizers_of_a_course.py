"""Optimizers as a course has its students write them: a base class, defaults, a loop over groups."""

import torch
from torch.optim import Optimizer


class GradientDescent(Optimizer):
    def __init__(self, params, lr=0.1):
        super().__init__(params, dict(lr=lr))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= group["lr"] * p.grad


class MyAdam(Optimizer):
    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8):
        defaults = dict(lr=lr, betas=betas, eps=eps)
        super(MyAdam, self).__init__(params, defaults)

    def step(self, closure=None):
        loss = None
        if closure is not None:
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if len(state) == 0:
                    state["step"] = 0
                    state["exp_avg"] = torch.zeros_like(p.data)
                    state["exp_avg_sq"] = torch.zeros_like(p.data)
                state["step"] += 1
                b1, b2 = group["betas"]
                state["exp_avg"].mul_(b1).add_(p.grad.data, alpha=1 - b1)
                state["exp_avg_sq"].mul_(b2).addcmul_(p.grad.data, p.grad.data, value=1 - b2)
                m = state["exp_avg"] / (1 - b1 ** state["step"])
                v = state["exp_avg_sq"] / (1 - b2 ** state["step"])
                p.data.addcdiv_(m, v.sqrt() + group["eps"], value=-group["lr"])
        return loss


for make in (lambda p: GradientDescent(p, lr=0.2), lambda p: MyAdam(p, lr=0.05)):
    torch.manual_seed(1)
    net = torch.nn.Linear(4, 1)
    x, y = torch.randn(16, 4), torch.randn(16, 1)
    optimizer = make(net.parameters())
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.5)
    for epoch in range(12):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        print(epoch, round(loss.item(), 5), optimizer.param_groups[0]["lr"])
    print(optimizer)
    optimizer.load_state_dict(optimizer.state_dict())
    print(sorted(optimizer.state_dict()), len(optimizer.state))
