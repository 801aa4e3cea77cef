"""A training loop that survives `kill -9` at any moment: the same command goes on, to the same weights bit for bit."""

import sys

import torch
from torch import nn

import gradus

STEPS = 300
inputs = torch.randn(1000, 8, generator=torch.Generator().manual_seed(1))
targets = inputs.sin().sum(dim=1, keepdim=True)

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
optimizer = gradus.optim.AdamW(model.parameters(), lr=0.01)
scheduler = gradus.Scheduler(optimizer, lr=gradus.schedules.Cosine(STEPS))
state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}

with gradus.checkpoint.Checkpoints(sys.argv[1], keep=2, asynchronous=True) as checkpoints:
    found = checkpoints.load(**state)  # torch's, Python's and NumPy's random states too
    for step in range(found.position if found else 0, STEPS):
        batch = torch.randint(len(inputs), (32,))
        loss = (model(inputs[batch]) - targets[batch]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if (step + 1) % 10 == 0 or step + 1 == STEPS:
            checkpoints.save(step + 1, **state)

print(f"loss {(model(inputs) - targets).square().mean().item():.6f} after {STEPS} steps")
