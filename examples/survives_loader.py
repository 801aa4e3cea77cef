"""A training loop over a DataLoader's worker processes that survives `kill -9`: the same command goes on, bit for bit."""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import gradus

EPOCHS, EXAMPLES, BATCH = 2, 100, 8


class Noisy(Dataset):
    """Each example with noise of its own, which the workers draw."""

    def __init__(self):
        inputs = torch.randn(EXAMPLES, 8, generator=torch.Generator().manual_seed(1))
        self.examples = TensorDataset(inputs, inputs.sin().sum(dim=1, keepdim=True))

    def __len__(self):
        return len(self.examples)

    def __getitem__(self, index):
        inputs, target = self.examples[index]
        return inputs + 0.01 * torch.randn(8), target


def main(folder, start_method):
    """Train, or go on where that was cut."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 1))
    optimizer = gradus.optim.AdamW(model.parameters(), lr=0.01)
    order = torch.Generator()  # of the shuffling and of the workers' seeds
    loader = DataLoader(Noisy(), BATCH, shuffle=True, num_workers=2, generator=order, multiprocessing_context=start_method)
    scheduler = gradus.Scheduler(optimizer, lr=gradus.schedules.Cosine(EPOCHS * len(loader)))
    state = {"model": model, "optimizer": optimizer, "scheduler": scheduler}

    with gradus.checkpoint.Checkpoints(folder, asynchronous=True) as checkpoints:
        found = checkpoints.load(**state)
        done = found.position if found else 0
        for epoch in range(done // len(loader), EPOCHS):
            order.manual_seed(epoch)  # so that a resumed epoch is the same one
            for step, (inputs, targets) in enumerate(loader, start=epoch * len(loader)):
                if step < done:
                    continue
                loss = (model(inputs) - targets).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                checkpoints.save(step + 1, **state)
    print(f"loss {loss.item():.6f}" if done < EPOCHS * len(loader) else "it has been trained already")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)
