"""A detection code's warmup before the milestones: a `_LRScheduler` of its own that reads base_lrs and last_epoch."""

from bisect import bisect_right

import torch
from torch.optim.lr_scheduler import _LRScheduler


class WarmupMultiStepLR(_LRScheduler):
    def __init__(
        self, optimizer, milestones, gamma=0.1, warmup_factor=1.0 / 3, warmup_iters=5, warmup_method="linear", last_epoch=-1
    ):
        if list(milestones) != sorted(milestones):
            raise ValueError("milestones should increase")
        self.milestones, self.gamma = milestones, gamma
        self.warmup_factor, self.warmup_iters, self.warmup_method = warmup_factor, warmup_iters, warmup_method
        super(WarmupMultiStepLR, self).__init__(optimizer, last_epoch)

    def get_lr(self):
        factor = 1
        if self.last_epoch < self.warmup_iters:
            if self.warmup_method == "constant":
                factor = self.warmup_factor
            elif self.warmup_method == "linear":
                alpha = float(self.last_epoch) / self.warmup_iters
                factor = self.warmup_factor * (1 - alpha) + alpha
        return [base_lr * factor * self.gamma ** bisect_right(self.milestones, self.last_epoch) for base_lr in self.base_lrs]


params = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))]
optimizer = torch.optim.SGD([{"params": params[:1], "lr": 0.02}, {"params": params[1:], "lr": 0.04}], momentum=0.9)
for method in ("linear", "constant"):
    scheduler = WarmupMultiStepLR(optimizer, [8, 12], warmup_method=method)
    for iteration in range(15):
        sum(p.sum() for p in params).backward()
        optimizer.step()
        scheduler.step()
        print(method, iteration, *["%.6f" % lr for lr in scheduler.get_last_lr()])
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"]
