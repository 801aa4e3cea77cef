"""Style transfer's loop: an LBFGS over one tensor, with a closure that counts its calls."""

import torch
import torch.optim as optim

torch.manual_seed(8)
target = torch.randn(10)
for options in (
    {},
    {"line_search_fn": "strong_wolfe", "max_iter": 3},
    {"max_iter": 5, "lr": 0.5},
    {"max_iter": 20, "max_eval": 1},
):
    image = torch.zeros(10).requires_grad_()
    optimizer = optim.LBFGS([image], **options)
    run = [0]
    while run[0] <= 12:

        def closure():
            optimizer.zero_grad()
            loss = ((image - target) ** 2).sum() + (image**4).sum()
            loss.backward()
            run[0] += 1
            return loss

        print(f"{optimizer.step(closure).item():.4f}", run[0])
    print(f"{image.detach().norm().item():.3f}")
