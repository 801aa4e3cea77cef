"""Calls of optimizers, right and wrong. `make check` has mypy find each that is wrong, and no other."""

import torch

import gradus

params = [torch.zeros(3, requires_grad=True)]
named = torch.nn.Linear(3, 1).named_parameters()

gradus.optim.AdamW(params, 1e-3, (0.9, 0.95), weight_decay=0.1, clip_norm=1.0)
gradus.optim.AdamW(named, lr=torch.tensor(1e-3))
gradus.optim.SGD([{"params": params, "lr": 0.1}], momentum=0.9, nesterov=True)
gradus.optim.Muon(params, adjust_lr_fn="match_rms_adamw", adamw_lr=1e-3)
gradus.optim.LBFGS(params, max_iter=5)
optimizer: torch.optim.Optimizer = gradus.optim.Lion(params)
gradus.optim.SophiaG(params).update_hessian(batch_size=32)

gradus.optim.AdamW(params, lrr=3)  # type: ignore[call-arg]
gradus.optim.AdamW(params, betas=1)  # type: ignore[arg-type]
gradus.optim.SGD(params, 0.1, 0.9, 0.0, 0.0, False, True)  # type: ignore[call-arg]
gradus.optim.Lion(params, backend=3)  # type: ignore[arg-type]
gradus.optim.Muon(params, 1, 2, 3, "nonsense")  # type: ignore[arg-type]
gradus.optim.AdamX(params)  # type: ignore[attr-defined]
gradus.optim.LBFGS(params, momentum=0.9)  # type: ignore[call-arg]
