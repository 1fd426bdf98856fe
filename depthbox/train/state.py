"""The things a run trains with: made once, put on the device, restored from a checkpoint or started from weights."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from depthbox.core.dist import world_size
from depthbox.core.errors import InputError
from depthbox.data.mixture import MixedPlan
from depthbox.data.schema import CocoData
from depthbox.experiment import Experiment, SemanticDataConfig
from depthbox.models.config import DenseModelConfig, ModelConfig, SdeModelConfig
from depthbox.models.dense_head import DenseNetwork, build_dense
from depthbox.models.sde_net import SdeNetwork, build_sde
from depthbox.models.segmenter import Model, build
from depthbox.supervision.build import build_method, build_ssda
from depthbox.supervision.config import DepthSsdaConfig
from depthbox.supervision.method import Classes, Method
from depthbox.train.checkpoint import Checkpoint, latest_checkpoint, restore, save_checkpoint
from depthbox.train.counters import Counters
from depthbox.train.job import Job
from depthbox.train.optimizer import build_optimizer
from depthbox.train.transfer import start_from

__all__ = ["TrainState", "choose_device", "cpu_computes_bfloat16", "initial_model", "make_state", "mixed_precision"]


Network = Model | SdeNetwork | DenseNetwork


@dataclass(slots=True, kw_only=True)
class TrainState:
    model: Network
    student: nn.Module
    """The model, wrapped in DDP where there are several workers."""
    method: Method
    optimizer: torch.optim.Optimizer
    counters: Counters
    step: int
    device: torch.device
    evaluations: dict[int, Mapping[str, float]] = field(default_factory=dict)
    """The scores of every evaluation on the way, by step."""

    def modules(self) -> Mapping[str, nn.Module]:
        return {"model": self.model, **self.method.modules()}

    def _evaluated(self) -> str:
        """The name of the module that holds the network whose predictions count."""
        counts = self.method.evaluated(self.model, self.step)
        return next(
            name for name, module in self.modules().items() if counts in (module, getattr(module, "model", None))
        )

    def save(self, job: Job) -> None:
        """Every rank calls it; rank 0 writes."""
        counters = self.counters.gathered()
        if torch.distributed.is_initialized() and torch.distributed.get_rank() != 0:
            return
        folder = save_checkpoint(
            job.out,
            step=self.step,
            modules=self.modules(),
            optimizer=self.optimizer,
            classes=job.classes,
            state={
                "counters": counters.state(),
                "evaluated": self._evaluated(),
                "evaluations": {str(step): dict(scores) for step, scores in self.evaluations.items()},
            },
        )
        job.mirror.push_checkpoint(folder)


def make_state(job: Job) -> TrainState:
    """A fresh start, or the newest checkpoint of the run folder."""
    experiment = job.experiment
    device = choose_device(experiment.device)
    model = initial_model(experiment, classes=job.classes).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.mixed = mixed_precision(experiment.schedule.precision, device)
    state = TrainState(
        model=model,
        student=model,
        method=_method(job, model),
        optimizer=build_optimizer(model, experiment.schedule),
        counters=Counters(),
        step=0,
        device=device,
    )
    job.mirror.pull_checkpoint()
    checkpoint = latest_checkpoint(job.out)
    if checkpoint is not None:
        _continue(state, checkpoint)
    if world_size() > 1:
        state.student = DistributedDataParallel(
            model,
            device_ids=[device] if device.type == "cuda" else None,
            broadcast_buffers=False,
            find_unused_parameters=True,
        )
    return state


def _method(job: Job, model: Network) -> Method:
    experiment, config, depth = job.experiment, job.experiment.method, job.depth is not None
    if isinstance(config, DepthSsdaConfig):
        assert isinstance(model, DenseNetwork) and isinstance(experiment.data, SemanticDataConfig)
        return build_ssda(
            config,
            model,
            depth=depth,
            source=bool(experiment.data.source.images),
            steps=experiment.schedule.steps,
        )
    return build_method(
        config,
        model,
        steps=experiment.schedule.steps,
        depth=depth,
        classes=_classes(job),
        words=job.source.plan.words if isinstance(job.source.plan, MixedPlan) else (),
    )


def _classes(job: Job) -> Classes:
    data = job.source.data
    if not isinstance(data, CocoData):
        return Classes(names=job.classes)
    return Classes(names=job.classes, objects=data.labelled_objects, images=data.labelled_images)


def initial_model(experiment: Experiment, *, classes: Sequence[str]) -> Network:
    """The network before the first step: weights of new layers from the seed, then `model.init` where names, shapes and classes fit."""
    torch.manual_seed(experiment.seed)
    model = _built(experiment.model, classes=len(classes))
    if experiment.model.init:
        start_from(model, experiment.model.init, classes=classes)
    return model


def _built(config: ModelConfig | SdeModelConfig | DenseModelConfig, *, classes: int) -> Network:
    if isinstance(config, SdeModelConfig):
        return build_sde(config)
    if isinstance(config, DenseModelConfig):
        return build_dense(config, classes=classes)
    return build(config, classes=classes)


def choose_device(wanted: str) -> torch.device:
    """Of auto, cpu or cuda."""
    if wanted == "cpu" or (wanted == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise InputError("device=cuda", "", "torch sees no GPU here", "run `depthbox doctor`, or set device=cpu")
    return torch.device("cuda", torch.cuda.current_device())


def mixed_precision(wanted: str, device: torch.device) -> bool:
    """bfloat16 where it is asked for, or (auto) where the processor computes in it."""
    if wanted != "auto":
        return wanted == "bfloat16"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu_computes_bfloat16()


def cpu_computes_bfloat16() -> bool:
    """Where it does not, bfloat16 is emulated: a matrix product takes eighty times as long as in float32."""
    # torch 2.11 has no get_capabilities.
    return hasattr(torch.cpu, "get_capabilities") and bool(torch.cpu.get_capabilities().get("avx512_bf16", False))


def _continue(state: TrainState, checkpoint: Checkpoint) -> None:
    saved = restore(checkpoint, modules=state.modules(), optimizer=state.optimizer)
    state.step = checkpoint.step
    state.evaluations = {int(step): scores for step, scores in saved.get("evaluations", {}).items()}
    # Rank 0 carries the totals on; the other ranks count from zero.
    if not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0:
        state.counters = Counters(cast(dict, saved)["counters"])
