"""A tutorial's training loop: momentum SGD, the rate divided by ten every few epochs, printed as it goes."""

import torch
import torch.nn as nn
import torch.optim as optim
from torch.optim import lr_scheduler

model = nn.Linear(4, 2)
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
exp_lr_scheduler = lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.1)
inputs, labels = torch.randn(16, 4), torch.randint(0, 2, (16,))

for epoch in range(8):
    optimizer.zero_grad()
    loss = criterion(model(inputs), labels)
    loss.backward()
    optimizer.step()
    print(f"Epoch {epoch}: loss {loss.item():.4f}, lr {exp_lr_scheduler.get_last_lr()}")
    exp_lr_scheduler.step()
