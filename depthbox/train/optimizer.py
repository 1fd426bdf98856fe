"""The optimiser and its learning-rate schedule."""

import torch
from torch import nn

from depthbox.core.errors import UsageError
from depthbox.core.schedule import Schedule, warm_up_cosine, warm_up_poly, warm_up_steps
from depthbox.experiment import ScheduleConfig

__all__ = ["build_optimizer", "learning_rate", "set_learning_rate"]


def build_optimizer(model: nn.Module, config: ScheduleConfig) -> torch.optim.Optimizer:
    """AdamW or SGD over three groups: pretrained backbone at `backbone_factor`, the rest, and vectors (norms, biases) without decay.

    Raises `UsageError` for a schedule that cannot be.
    """
    _check(config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = config.backbone_factor if name.startswith("backbone.") else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    rows = [{"params": p, "weight_decay": decay, "factor": factor} for (factor, decay), p in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(rows, lr=config.learning_rate, momentum=0.9)
    return torch.optim.AdamW(rows, lr=config.learning_rate)


def learning_rate(config: ScheduleConfig) -> Schedule:
    """Factor of the base rate at a step: warm-up over `warm_up` of the run, then a cosine, `core.schedule.poly`, or a tenth at each of `decay_at`."""
    warm_up = max(1, round(config.warm_up * config.steps))
    if config.decay == "steps":
        return warm_up_steps(config.steps, warm_up=warm_up, drops=config.decay_at)
    if config.decay == "poly":
        return warm_up_poly(config.steps, warm_up=warm_up)
    return warm_up_cosine(config.steps, warm_up=warm_up)


def _check(config: ScheduleConfig) -> None:
    if config.decay != "steps" and config.decay_at != ScheduleConfig().decay_at:
        raise UsageError(f"schedule.decay_at has no effect on schedule.decay={config.decay}; set schedule.decay=steps")
    if not all(0 < at <= 1 for at in config.decay_at):
        raise UsageError(f"schedule.decay_at={config.decay_at}: takes fractions of the run, above 0 and at most 1")


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
