"""Signatures of `gradus.optim`, made from the rules by tools/optim_stub.py."""

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from torch import Tensor
from torch.optim import swa_utils as swa_utils
from torch.optim import swap_in_optimizer_params_and_state as swap_in_optimizer_params_and_state

from gradus import lr_scheduler as lr_scheduler
from gradus.optim.classical import Adadelta as _Adadelta
from gradus.optim.classical import Adagrad as _Adagrad
from gradus.optim.classical import Adam as _Adam
from gradus.optim.classical import Adamax as _Adamax
from gradus.optim.classical import AdamW as _AdamW
from gradus.optim.classical import ASGD as _ASGD
from gradus.optim.classical import NAdam as _NAdam
from gradus.optim.classical import RAdam as _RAdam
from gradus.optim.classical import RMSprop as _RMSprop
from gradus.optim.classical import Rprop as _Rprop
from gradus.optim.classical import SGD as _SGD
from gradus.optim.classical import SparseAdam as _SparseAdam
from gradus.optim.groups import Groups as Groups
from gradus.optim.groups import groups as groups
from gradus.optim.lbfgs import LBFGS as LBFGS
from gradus.optim.matrices import Adafactor as _Adafactor
from gradus.optim.matrices import Muon as _Muon
from gradus.optim.matrices import SOAP as _SOAP
from gradus.optim.modern import Adan as _Adan
from gradus.optim.modern import AdEMAMix as _AdEMAMix
from gradus.optim.modern import CautiousAdamW as _CautiousAdamW
from gradus.optim.modern import CautiousLion as _CautiousLion
from gradus.optim.modern import LAMB as _LAMB
from gradus.optim.modern import LARS as _LARS
from gradus.optim.modern import Lion as _Lion
from gradus.optim.modern import SophiaG as _SophiaG
from gradus.optim.modern import SophiaH as _SophiaH
from gradus.optim.optimizer import Optimizer as Optimizer
from gradus.optim.prodigy import Prodigy as _Prodigy
from gradus.optim.schedule_free import AdamWScheduleFree as _AdamWScheduleFree
from gradus.optim.schedule_free import RAdamScheduleFree as _RAdamScheduleFree
from gradus.optim.schedule_free import SGDScheduleFree as _SGDScheduleFree
from gradus.rules.cautious import cautious as cautious

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "LBFGS",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdamWScheduleFree",
    "Adamax",
    "Adan",
    "CautiousAdamW",
    "CautiousLion",
    "Groups",
    "Lion",
    "Muon",
    "NAdam",
    "Optimizer",
    "Prodigy",
    "RAdam",
    "RAdamScheduleFree",
    "RMSprop",
    "Rprop",
    "SGDScheduleFree",
    "SophiaG",
    "SophiaH",
    "SparseAdam",
    "cautious",
    "groups",
]

Params: TypeAlias = Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]]
Backend: TypeAlias = Literal["auto", "torch", "cpu", "cuda"] | str  # or a registered one

class ASGD(_ASGD):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        lambd: float | Tensor = 0.0001,
        alpha: float | Tensor = 0.75,
        t0: float | Tensor = 1000000.0,
        weight_decay: float | Tensor = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class LAMB(_LAMB):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class LARS(_LARS):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.1,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0001,
        trust_coefficient: float | Tensor = 0.001,
        dampening: float | Tensor = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SGD(_SGD):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        momentum: float | Tensor = 0,
        dampening: float | Tensor = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SOAP(_SOAP):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.003,
        betas: tuple[float | Tensor, float | Tensor] = (0.95, 0.95),
        shampoo_beta: float | Tensor | None = None,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.01,
        precondition_frequency: int = 10,
        max_precond_dim: int = 10000,
        merge_dims: bool = False,
        precondition_1d: bool = False,
        normalize_grads: bool = False,
        data_format: str = "channels_first",
        correct_bias: bool = True,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class AdEMAMix(_AdEMAMix):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = (0.9, 0.999, 0.9999),
        alpha: float | Tensor = 5.0,
        alpha_warmup: float | Tensor | None = None,
        beta3_warmup: float | Tensor | None = None,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adadelta(_Adadelta):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        rho: float | Tensor = 0.9,
        eps: float | Tensor = 1e-06,
        weight_decay: float | Tensor = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adafactor(_Adafactor):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        beta2_decay: float | Tensor = -0.8,
        eps: tuple[float | Tensor | None, float | Tensor] = (None, 0.001),
        d: float | Tensor = 1.0,
        weight_decay: float | Tensor = 0.0,
        *,
        maximize: bool = False,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
        beta1: float | Tensor | None = None,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adagrad(_Adagrad):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        lr_decay: float | Tensor = 0,
        weight_decay: float | Tensor = 0,
        initial_accumulator_value: float | Tensor = 0,
        eps: float | Tensor = 1e-10,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adam(_Adam):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class AdamW(_AdamW):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = True,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class AdamWScheduleFree(_AdamWScheduleFree):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0025,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        warmup_steps: float | Tensor = 0.0,
        r: float | Tensor = 0.0,
        weight_lr_power: float | Tensor = 2.0,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adamax(_Adamax):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.002,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Adan(_Adan):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor, float | Tensor] = (0.98, 0.92, 0.99),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        no_prox: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class CautiousAdamW(_CautiousAdamW):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.01,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        decoupled_weight_decay: bool = True,
        correct_bias: bool = True,
        cautious_factor: float | Tensor = 0.0,
        cautious_wd: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class CautiousLion(_CautiousLion):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        cautious_factor: float | Tensor = 0.0,
        cautious_wd: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Lion(_Lion):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.99),
        weight_decay: float | Tensor = 0.0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Muon(_Muon):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        weight_decay: float | Tensor = 0.1,
        momentum: float | Tensor = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float | Tensor, float | Tensor, float | Tensor] = (3.4445, -4.775, 2.0315),
        eps: float | Tensor = 1e-07,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
        batched: bool = False,
        adamw_lr: float | Tensor = 0.0003,
        adamw_betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.95),
        adamw_eps: float | Tensor = 1e-10,
        adamw_weight_decay: float | Tensor = 0.0,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class NAdam(_NAdam):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.002,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0,
        momentum_decay: float | Tensor = 0.004,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Prodigy(_Prodigy):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        beta3: float | Tensor | None = None,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        bias_correction: bool = False,
        decouple: bool = True,
        safeguard_warmup: bool = False,
        d0: float | Tensor = 1e-06,
        d_coef: float | Tensor = 1.0,
        growth_rate: float | Tensor = ...,
        slice_p: int = 1,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class RAdam(_RAdam):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0,
        decoupled_weight_decay: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class RAdamScheduleFree(_RAdamScheduleFree):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0025,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0.0,
        r: float | Tensor = 0.0,
        weight_lr_power: float | Tensor = 2.0,
        silent_sgd_phase: bool = True,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class RMSprop(_RMSprop):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        alpha: float | Tensor = 0.99,
        eps: float | Tensor = 1e-08,
        weight_decay: float | Tensor = 0,
        momentum: float | Tensor = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class Rprop(_Rprop):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.01,
        etas: tuple[float | Tensor, float | Tensor] = (0.5, 1.2),
        step_sizes: tuple[float | Tensor, float | Tensor] = (1e-06, 50),
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SGDScheduleFree(_SGDScheduleFree):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1.0,
        momentum: float | Tensor = 0.9,
        weight_decay: float | Tensor = 0.0,
        warmup_steps: float | Tensor = 0.0,
        r: float | Tensor = 0.0,
        weight_lr_power: float | Tensor = 2.0,
        *,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SophiaG(_SophiaG):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0001,
        betas: tuple[float | Tensor, float | Tensor] = (0.965, 0.99),
        rho: float | Tensor = 0.04,
        eps: float | Tensor = 1e-15,
        weight_decay: float | Tensor = 0.1,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SophiaH(_SophiaH):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.0001,
        betas: tuple[float | Tensor, float | Tensor] = (0.96, 0.99),
        rho: float | Tensor = 0.01,
        eps: float | Tensor = 1e-12,
        weight_decay: float | Tensor = 0.1,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...

class SparseAdam(_SparseAdam):
    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 0.001,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float | Tensor = 1e-08,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        backend: Backend = "auto",
        clip_norm: float | None = None,
        clip_value: float | None = None,
        skip_nonfinite: bool = False,
        stochastic_rounding: bool = False,
    ) -> None: ...
