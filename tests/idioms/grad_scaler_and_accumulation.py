"""Mixed precision by the book: a GradScaler, gradients accumulated over batches, unscaled and clipped."""

import torch
import torch.optim as optim

torch.manual_seed(5)
net = torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.ReLU(), torch.nn.Linear(12, 3))
optimizer = optim.SGD(net.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)
scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12, growth_interval=3)
accumulate = 2
optimizer.zero_grad()
for number in range(16):
    x, target = torch.randn(8, 6), torch.randint(0, 3, (8,))
    loss = torch.nn.functional.cross_entropy(net(x), target) / accumulate
    scaler.scale(loss).backward()
    if number == 6:
        net[0].weight.grad[0, 0] = float("inf")
    if (number + 1) % accumulate == 0:
        if number % 4 == 1:
            scaler.unscale_(optimizer)
            norm = torch.nn.utils.clip_grad_norm_(net.parameters(), 0.5)
            print(f"norm {norm.item():.4f}")
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    print(number, f"{loss.item() * accumulate:.4f}", scaler.get_scale())
print(f"{sum(p.double().abs().sum() for p in net.parameters()).item():.5f}")
