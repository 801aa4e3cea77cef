"""A course's one cycle, batch by batch, with the momentum recorded beside the rate, and the library's own kind told."""

import torch
from torch.optim import lr_scheduler

model = torch.nn.Linear(3, 1)
data = [(torch.randn(4, 3), torch.randn(4, 1)) for _ in range(5)]
for kind in ("SGD", "Adam"):
    opt = (
        torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9) if kind == "SGD" else torch.optim.Adam(model.parameters())
    )
    sched = lr_scheduler.OneCycleLR(opt, 0.1, epochs=4, steps_per_epoch=len(data))
    assert sched.__module__ == lr_scheduler.__name__
    for epoch in range(4):
        for x, y in data:
            loss = torch.nn.functional.mse_loss(model(x), y)
            opt.zero_grad()
            loss.backward()
            opt.step()
            group = opt.param_groups[0]
            print("%.6f" % group["lr"], "%.4f" % (group["betas"][0] if kind == "Adam" else group["momentum"]), "%.4f" % loss)
            sched.step()

opt = torch.optim.SGD(model.parameters(), lr=0.1)
step_lr = lr_scheduler.MultiStepLR(opt, milestones=[3, 6], gamma=0.1)
plateau = lr_scheduler.ReduceLROnPlateau(opt, "min", factor=0.5, patience=1)
for epoch, loss in enumerate([3.0, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]):
    opt.step()
    step_lr.step()
    plateau.step(loss)
    print(epoch, "%.8f" % opt.param_groups[0]["lr"], step_lr.last_epoch, plateau.num_bad_epochs)
for group in opt.param_groups:  # a manual decay on top
    group["lr"] *= 0.5
opt.step()
step_lr.step()
print(opt.param_groups[0]["lr"], step_lr.get_last_lr())
