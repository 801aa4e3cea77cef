"""A warmup wrapped around another scheduler: it rises, then hands over to `after_scheduler` and steps that."""

import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, StepLR, _LRScheduler


class GradualWarmup(_LRScheduler):
    def __init__(self, optimizer, multiplier, total_epoch, after_scheduler=None):
        self.multiplier, self.total_epoch = multiplier, total_epoch
        self.after_scheduler, self.finished = after_scheduler, False
        super().__init__(optimizer)

    def get_lr(self):
        if self.last_epoch > self.total_epoch:
            if self.after_scheduler:
                if not self.finished:
                    self.after_scheduler.base_lrs = [base_lr * self.multiplier for base_lr in self.base_lrs]
                    self.finished = True
                return self.after_scheduler.get_last_lr()
            return [base_lr * self.multiplier for base_lr in self.base_lrs]
        return [base_lr * ((self.multiplier - 1.0) * self.last_epoch / self.total_epoch + 1.0) for base_lr in self.base_lrs]

    def step(self, epoch=None):
        if self.finished and self.after_scheduler:
            self.after_scheduler.step()
            self._last_lr = self.after_scheduler.get_last_lr()
        else:
            super().step(epoch)


for after in (lambda o: CosineAnnealingLR(o, 10, eta_min=1e-4), lambda o: StepLR(o, step_size=3, gamma=0.5)):
    model = torch.nn.Linear(2, 1)
    optim = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = GradualWarmup(optim, multiplier=4, total_epoch=5, after_scheduler=after(optim))
    optim.zero_grad()
    optim.step()
    for epoch in range(1, 18):
        scheduler.step()
        print(epoch, "%.7f" % optim.param_groups[0]["lr"])
        optim.step()
