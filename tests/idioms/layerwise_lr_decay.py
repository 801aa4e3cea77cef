"""Fine-tuning with rates that fall from layer to layer: `lr_scale` in each group, applied by hand in the loop."""

import math

import torch
import torch.optim as optim

torch.manual_seed(4)
net = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(3)), torch.nn.Linear(4, 1))
x, y = torch.randn(16, 4), torch.randn(16, 1)
groups = []
for depth, layer in enumerate(net):
    for name, param in layer.named_parameters():
        decay = 0.0 if name == "bias" else 0.05
        groups.append({"params": [param], "weight_decay": decay, "lr_scale": 0.75 ** (3 - depth), "layer_id": depth})
optimizer = optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.98))
total = 20
for step in range(total):
    rate = 1e-2 * min(1, (step + 1) / 4) * 0.5 * (1 + math.cos(math.pi * step / total))
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"] if "lr_scale" in group else rate
    loss = ((net(x) - y) ** 2).mean()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimizer.step()
    rates = [group["lr"] for group in optimizer.param_groups]
    print(f"step {step}: loss {loss.item():.5f}, lr {min(rates):.6f} to {max(rates):.6f}")
