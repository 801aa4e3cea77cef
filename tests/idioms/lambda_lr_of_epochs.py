"""Image-to-image code's rate: constant for some epochs, then linearly to zero, as a rule of the epoch in a LambdaLR."""

import torch
from torch.optim import lr_scheduler

net = torch.nn.Linear(2, 1)
optimizer = torch.optim.Adam(net.parameters(), lr=0.0002, betas=(0.5, 0.999))
n_epochs, n_epochs_decay, epoch_count = 4, 5, 1


def lambda_rule(epoch):
    return 1.0 - max(0, epoch + epoch_count - n_epochs) / float(n_epochs_decay + 1)


scheduler = lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda_rule)
for epoch in range(epoch_count, n_epochs + n_epochs_decay + 1):
    old_lr = optimizer.param_groups[0]["lr"]
    optimizer.step()
    scheduler.step()
    lr = optimizer.param_groups[0]["lr"]
    print("learning rate %.7f -> %.7f" % (old_lr, lr))
print("learning rate now: {:.7f}".format(scheduler.get_last_lr()[0]))
