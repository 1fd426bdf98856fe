"""`preset=paper`: the absolute values of each paper, for a machine that has the hours; the recipes have fractions of a run of some hundred steps.

Augmentation by crops of other scales, and momentum or betas other than usual, are no settings and left out. Where neither paper nor published code says
a value (i), it is what is common for such a network.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from depthbox.core.config import vary
from depthbox.core.errors import UsageError
from depthbox.data.config import SemanticViewsConfig, VideoViewsConfig, ViewsConfig
from depthbox.experiment import DataConfig, DepthConfig, Experiment, ScheduleConfig, SemanticDataConfig, VideoDataConfig
from depthbox.models.config import DenseModelConfig, ModelConfig, QueryConfig, SdeModelConfig
from depthbox.recipes import guided_distillation, recipe
from depthbox.supervision.config import (
    BoxDepthConfig,
    BoxDepthWeights,
    DepthSsdaConfig,
    DistillationConfig,
    FullConfig,
    PlDcConfig,
    PointsConfig,
    QueryTermsConfig,
    SdeConfig,
    SdeWeights,
)

__all__ = ["PAPERS", "paper"]

UNCLIPPED = 1e6
"""A bound on the gradient's norm that none reaches."""
CHECKPOINT_EVERY, LOG_EVERY = 2000, 50
"""Runs of days."""


def _box_depth() -> Experiment:
    """arXiv 2403.01214: FCOS and CondInst with R-50, the DG-MaskHead, 90 000 steps of 16 photos; disparity by DPT.

    Colour warms up over 10 000 steps, depth over the next 10 000; the start of self-distillation is not published (i: where the rate first drops). 3x is
    `schedule.steps=270000 schedule.decay_at=0.777778,0.925926 method.warm_up=0.037037 method.distillation.start=0.777778`. (i): 1000 steps of warm-up, weight decay 1e-4,
    form B of the agreement with a depth cost that falls from 0.3.
    """
    return Experiment(
        method=BoxDepthConfig(
            weights=BoxDepthWeights(box_prior=0.0, depth_affinity=1.0),
            distillation=DistillationConfig(all_detections=True),
            warm_up=10_000 / 90_000,
        ),
        data=DataConfig(views=_photos(jitter=0.0, grey=0.0, blur=0.0)),
        depth=DepthConfig(source="hf:Intel/dpt-large"),
        model=ModelConfig(
            backbone="resnet50",
            channels=256,
            head_depth=4,
            mask_head="depth_guided",
            mask_width=128,
            mask_feature_stride=8,
        ),
        schedule=_schedule(
            steps=90_000,
            optimizer="sgd",
            learning_rate=0.01,
            backbone_factor=1.0,
            weight_decay=1e-4,
            warm_up=1000 / 90_000,
            clip_norm=UNCLIPPED,
        ),
        batch_size=16,
    )


def _full() -> Experiment:
    """CondInst: the fully supervised twin of that, with its dice alone."""
    method = vary(FullConfig(), {"weights.mask_bce": 0.0})
    return vary(_box_depth(), {"method": method, "depth": DepthConfig(source="none"), "model.mask_head": "condinst"})


def _pl_dc() -> Experiment:
    """arXiv 2505.11075: Mask2Former with R-50, 368 750 steps of 8 labelled and 8 unlabelled photos (COCO; 180 000 on Cityscapes).

    The published prior of a class is CLIP's, which needs a file: `method.category=open_clip method.clip.weights=FILE`; prototypes stand in for it. Crops at
    scales 0.1 to 2 are no setting: a short side of 640 to 800 instead. (i): the rate of the backbone, and where the rate drops.
    """
    method = PlDcConfig(
        query=QueryTermsConfig(points=PointsConfig(number=12_544)), burn_in=20_000 / 368_750, keep=0.9996
    )
    return Experiment(
        method=method,
        data=DataConfig(labelled_share=0.5, views=_photos(jitter=0.4, grey=0.2, blur=0.5, erase=1.0)),
        depth=DepthConfig(source="none"),
        model=ModelConfig(
            backbone="resnet50",
            channels=256,
            frozen_stages=0,
            head="query",
            query=QueryConfig(start="learned", queries=100, layers=9, width=2048, deformable=6),
        ),
        schedule=_schedule(
            steps=368_750, learning_rate=1e-4, backbone_factor=0.1, weight_decay=1e-4, warm_up=0.0, clip_norm=0.01
        ),
        batch_size=16,
    )


def _guided_distillation() -> Experiment:
    """The peer of that on the same schedule: its filter and its lambda of 2. Its teacher is trained before it (`recipes.guided_distillation`)."""
    teacher = _pl_dc()
    points = {"query.points.number": 12_544, "keep": 0.9996, "burn_in": 20_000 / 368_750}
    return replace(teacher, method=vary(guided_distillation().method, points))


def _depth_ssda() -> Experiment:
    """arXiv 2108.12545: R-101 with a dilated last stage and ASPP, 40 000 steps of 2 + 2 crops of 512 at half of Cityscapes' resolution.

    The decoder's published widths 256/256/128/128/64 are no setting: `width` 64 has 256/192/128/64. (i): weight decay 5e-4.
    With `model.multi_task=yes` add `method.video.scale_free=no model.pose_backbone=resnet18 model.pose_stride=1`, the published depth.
    """
    return Experiment(
        method=DepthSsdaConfig(mixed_images="unlabelled", keep=0.99),
        data=SemanticDataConfig(labelled_share=0.5, views=SemanticViewsConfig(short_side=512, crop=512)),
        depth=DepthConfig(source="builtin"),
        model=DenseModelConfig(backbone="resnet101", width=64, context="aspp", dilated=True),
        schedule=_schedule(
            steps=40_000,
            optimizer="sgd",
            learning_rate=1e-2,
            backbone_factor=0.1,
            weight_decay=5e-4,
            warm_up=0.0,
            decay_at=(0.75,),
            clip_norm=UNCLIPPED,
        ),
        batch_size=4,
    )


def _sde() -> Experiment:
    """arXiv 2108.12545, phase one: 300 000 steps of Adam with the encoder frozen, four scales, nothing of ours.

    Phase two is another run: `model.init=RUN model.frozen_stages=0 method.weights.feature_distance=0.01 schedule.steps=50000
    schedule.learning_rate=1e-5 schedule.decay_at=1`. Widths as in `depth_ssda`; (i): the size of the frames.
    """
    return Experiment(
        method=SdeConfig(
            weights=SdeWeights(motion=0.0, still_far=0.0, lower_near=0.0), aligned_from=1.0, scales=4, scale_free=False
        ),
        data=VideoDataConfig(gap=(1,), views=VideoViewsConfig(short_side=512)),
        depth=DepthConfig(source="none"),
        model=SdeModelConfig(
            backbone="resnet101",
            frozen_stages=4,
            pose_backbone="resnet18",
            pose_stride=1,
            width=64,
            context="aspp",
            dilated=True,
        ),
        schedule=_schedule(
            steps=300_000,
            learning_rate=1e-4,
            backbone_factor=1.0,
            weight_decay=0.0,
            warm_up=0.0,
            decay_at=(160 / 300,),
            clip_norm=UNCLIPPED,
        ),
    )


def _photos(*, jitter: float, grey: float, blur: float, erase: float = 0.0) -> ViewsConfig:
    """A short side of 640 to 800."""
    return ViewsConfig(
        short_side=800, max_side=1333, scale=(0.8, 1.0), jitter=jitter, grey=grey, blur=blur, erase=erase
    )


def _schedule(**settings) -> ScheduleConfig:
    return ScheduleConfig(decay="steps", checkpoint_every=CHECKPOINT_EVERY, log_every=LOG_EVERY, **settings)


PAPERS: Mapping[str, Callable[[], Experiment]] = {
    "box_depth": _box_depth, "full": _full, "pl_dc": _pl_dc, "guided_distillation": _guided_distillation, "depth_ssda": _depth_ssda, "sde": _sde,
}  # fmt: skip


def paper(name: str, preset: str = "paper") -> Experiment:
    """The experiment of a method as its paper has it. Raises `UsageError` for an unknown method or preset."""
    recipe(name)  # says what the methods are
    if preset != "paper":
        raise UsageError(f"preset={preset}: allowed is paper, the absolute values of the method's paper")
    return PAPERS[name]()
