"""Segmentation's polynomial rate and the transformer's, each a scheduler of its own, and one in a SequentialLR."""

import torch
from torch.optim.lr_scheduler import ConstantLR, ExponentialLR, LRScheduler, SequentialLR


class PolyLR(LRScheduler):
    def __init__(self, optimizer, max_iters, power=0.9, last_epoch=-1, min_lr=1e-6):
        self.power, self.max_iters, self.min_lr = power, max_iters, min_lr
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [
            max(base_lr * (1 - self.last_epoch / self.max_iters) ** self.power, self.min_lr) for base_lr in self.base_lrs
        ]


class NoamLR(LRScheduler):
    def __init__(self, optimizer, model_size, warmup_steps):
        self.model_size, self.warmup_steps = model_size, warmup_steps
        super().__init__(optimizer)

    def get_lr(self):
        last_epoch = max(1, self.last_epoch)
        scale = self.model_size**-0.5 * min(last_epoch**-0.5, last_epoch * self.warmup_steps**-1.5)
        return [base_lr * scale for base_lr in self.base_lrs]


def optimizer():
    return torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))], lr=1.0, betas=(0.9, 0.98), eps=1e-9)


makes = {
    "poly": lambda o: PolyLR(o, 20),
    "noam": lambda o: NoamLR(o, 512, 6),
    "sequence": lambda o: SequentialLR(o, [ConstantLR(o, 0.1, 99), PolyLR(o, 16), ExponentialLR(o, 0.5)], [4, 12]),
}
for name, make in makes.items():
    opt = optimizer()
    scheduler = make(opt)
    for step in range(18):
        opt.step()
        scheduler.step()
        print(name, step, "{:.6e}".format(scheduler.get_last_lr()[0]), scheduler.last_epoch)
