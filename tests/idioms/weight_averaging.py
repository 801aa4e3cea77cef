"""Averages of weights: SWA with its own rate, and an exponential moving average."""

import torch
from torch.optim.swa_utils import SWALR, AveragedModel, get_ema_multi_avg_fn, update_bn

torch.manual_seed(6)
net = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.BatchNorm1d(6), torch.nn.ReLU(), torch.nn.Linear(6, 1))
loader = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(4)]
optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
averaged = AveragedModel(net)
moving = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8)
swa_scheduler = SWALR(optimizer, anneal_strategy="linear", anneal_epochs=3, swa_lr=0.02)
for epoch in range(10):
    for x, y in loader:
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(x), y)
        loss.backward()
        optimizer.step()
        moving.update_parameters(net)
    if epoch > 5:
        averaged.update_parameters(net)
        swa_scheduler.step()
    else:
        scheduler.step()
    print(epoch, f"{loss.item():.5f}", f"{optimizer.param_groups[0]['lr']:.6f}")
update_bn(((x,) for x, _ in loader), averaged)
update_bn(((x,) for x, _ in loader), moving)
for model in (net, averaged, moving):
    model.eval()
    print(f"{sum(torch.nn.functional.mse_loss(model(x), y) for x, y in loader).item():.5f}")
