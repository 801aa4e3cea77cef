"""Restarts with a warmup and a peak that shrinks: a scheduler that writes into the groups itself and overrides step."""

import math

import torch
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LRScheduler


class WarmupRestarts(LRScheduler):
    def __init__(self, optimizer, first_cycle_steps, cycle_mult=1.0, max_lr=0.1, min_lr=0.001, warmup_steps=0, gamma=1.0):
        self.cur_cycle_steps, self.cycle_mult = first_cycle_steps, cycle_mult
        self.base_max_lr = self.max_lr = max_lr
        self.min_lr, self.warmup_steps, self.gamma = min_lr, warmup_steps, gamma
        self.cycle, self.step_in_cycle = 0, -1
        super().__init__(optimizer)
        self.init_lr()

    def init_lr(self):
        self.base_lrs = []
        for param_group in self.optimizer.param_groups:
            param_group["lr"] = self.min_lr
            self.base_lrs.append(self.min_lr)

    def get_lr(self):
        if self.step_in_cycle == -1:
            return self.base_lrs
        if self.step_in_cycle < self.warmup_steps:
            return [(self.max_lr - base) * self.step_in_cycle / self.warmup_steps + base for base in self.base_lrs]
        part = (self.step_in_cycle - self.warmup_steps) / (self.cur_cycle_steps - self.warmup_steps)
        return [base + (self.max_lr - base) * (1 + math.cos(math.pi * part)) / 2 for base in self.base_lrs]

    def step(self, epoch=None):
        self.step_in_cycle += 1
        if self.step_in_cycle >= self.cur_cycle_steps:
            self.cycle += 1
            self.step_in_cycle -= self.cur_cycle_steps
            self.cur_cycle_steps = int((self.cur_cycle_steps - self.warmup_steps) * self.cycle_mult) + self.warmup_steps
        self.max_lr = self.base_max_lr * self.gamma**self.cycle
        self.last_epoch += 1
        for param_group, lr in zip(self.optimizer.param_groups, self.get_lr()):
            param_group["lr"] = lr


class DecayingRestarts(CosineAnnealingWarmRestarts):
    """Each restart begins lower."""

    def __init__(self, *args, decay=0.7, **kwargs):
        self.decay = decay
        super().__init__(*args, **kwargs)

    def step(self, epoch=None):
        super().step(epoch)
        if self.T_cur == 0 and self.last_epoch > 0:
            self.base_lrs = [lr * self.decay for lr in self.base_lrs]
            for group, lr in zip(self.optimizer.param_groups, self.get_lr()):
                group["lr"] = lr


model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = WarmupRestarts(optimizer, 8, cycle_mult=1.5, warmup_steps=2, gamma=0.5)
for step in range(24):
    scheduler.step()
    print(step, "%.6f" % optimizer.param_groups[0]["lr"])

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = DecayingRestarts(optimizer, T_0=4, T_mult=2, eta_min=1e-3)
for step in range(20):
    optimizer.step()
    scheduler.step()
    print(step, scheduler.T_cur, scheduler.T_i, "%.6f" % optimizer.param_groups[0]["lr"])

optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
scheduler = CosineAnnealingWarmRestarts(optimizer, T_0=2, T_mult=2)
iters = 4
for epoch in range(6):
    for i in range(iters):
        optimizer.step()
        scheduler.step(epoch + i / iters)
        print(epoch, i, "%.6f" % scheduler.get_last_lr()[0])
