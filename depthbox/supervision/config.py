"""The numbers of each method; what they mean stands with the method. Read at start-up, so nothing heavy is imported here."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from depthbox.core.config import added
from depthbox.supervision.terms_config import (
    BoxTermsConfig,
    PairwiseConfig,
    PointsConfig,
    QueryTermsConfig,
    QueryWeights,
)
from depthbox.supervision.video_config import SdeWeights, VideoTermsConfig

__all__ = [
    "BoxDepthConfig", "BoxDepthWeights", "BoxTermsConfig", "ClipConfig", "DepthSsdaConfig", "DepthSsdaWeights", "DetectorWeights", "DistillationConfig", "FullConfig", "FullWeights", "PairwiseConfig", "PlDcConfig", "PlDcWeights",
    "PointsConfig", "QueryTermsConfig", "QueryWeights", "SdeConfig", "SdeWeights", "SemiDetectorConfig", "VideoTermsConfig",
]  # fmt: skip


class OneView:
    """A method without a teacher that looks at a larger view than the student."""

    __slots__ = ()

    def teacher_from(self, steps: int) -> None:
        """The first step with such a teacher: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDepthWeights:
    """All 1 in the paper, which has no `box_prior` (it falls to 0 over twice the warm-up), no `depth_relief` and `relief_bce` (ours: what stands out of the surface around a
    box, by dice and by pixels, for disparity with sharp edges) and no `mask_affinity` (BoxTeacher's). `mask_dice` and `mask_bce` are of images with masks, where a run has such."""

    class_focal: float = 1.0
    box_giou: float = 1.0
    box_quality: float = 1.0
    projection: float = 1.0
    box_prior: float = 1.0
    color_affinity: float = 1.0
    depth_affinity: float = 1.0
    depth_relief: float = added(0.0)
    relief_bce: float = added(0.0)
    instance_depth: float = 1.0
    pseudo_mask: float = 1.0
    mask_affinity: float = 0.0
    mask_dice: float = added(1.0)
    mask_bce: float = added(1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationConfig:
    """From the fraction `start` of the run on (1: never) a teacher, an average of the student that keeps at most `keep` a step, makes pseudo masks.

    `matching` depth_aware maximises `box_cost` gIoU + beta S_dmatch + (1 - box_cost - beta) score and keeps what is above `threshold` (one whose boxes do not overlap is let go, ours); beta is
    `depth_cost`, falling linearly to 0 over the run where `depth_cost_falls`, and `form` is that of S_dmatch. The published code of form B took
    beta = 1 - alpha. Without `all_detections` those that could not be kept do not take part (ours, cheaper: among all of them, as published, one may take the
    place of a better pair and is then below the threshold). `greedy` is BoxTeacher's. `confidence` weighs a pseudo mask by c = sqrt(sqrt(score) q), q its `mask_quality`; `binary` cuts it
    at 0.5 (both BoxTeacher).
    """

    start: float = 2 / 3
    keep: float = 0.999
    matching: Literal["depth_aware", "greedy"] = "depth_aware"
    box_cost: float = 0.1
    depth_cost: float = 0.3
    depth_cost_falls: bool = True
    form: Literal["A", "B"] = "B"
    threshold: float = 0.5
    all_detections: bool = added(False)
    confidence: bool = False
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxDepthConfig(PairwiseConfig):
    """Boxes and depth, with a teacher later in the run. `relief_share` (ours): of the largest relief next to it, what a cell has to stand out."""

    weights: BoxDepthWeights = BoxDepthWeights()
    relief_share: float = added(0.0)
    box_quality: Literal["iou", "centerness"] = "iou"
    masks_per_image: int = 64
    distillation: DistillationConfig = DistillationConfig()
    needs_masks: bool = False
    learns_from: ClassVar[tuple[str, ...]] = ("boxes", "masks")
    """What an image may be labelled with ("masks", "boxes", "none"); first what a labelled image is. Where some images are said to have boxes alone,
    labelled ones have masks."""

    def teacher_from(self, steps: int) -> int | None:
        """The first step with a teacher; None where the run has none."""
        start = round(self.distillation.start * steps)
        return start if start < steps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class FullWeights:
    class_focal: float = 1.0
    box_giou: float = 1.0
    box_quality: float = 1.0
    mask_dice: float = 1.0
    mask_bce: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FullConfig(OneView):
    """`mask_bce` (mean over the pixels of the box) is ours beside CondInst's dice: it makes the twin stronger.

    `model.head=query` has other losses, with `query_weights` and `query` instead of the three settings before them.
    """

    weights: FullWeights = FullWeights()
    box_quality: Literal["iou", "centerness"] = "iou"
    masks_per_image: int = 64
    query_weights: QueryWeights = added(QueryWeights())
    query: QueryTermsConfig = added(QueryTermsConfig())
    needs_masks: bool = True
    learns_from: ClassVar[tuple[str, ...]] = ("masks",)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlDcWeights:
    """`query_*` of images with masks, `pseudo_*` of unlabelled ones (lambda 1 as published, 2 for guided distillation), the others of images with boxes
    alone: class and projection as Box2Mask weighs them. `pseudo_color_affinity` and `pseudo_depth_affinity` (ours) hold the masks that pseudo labels
    teach to colour and disparity; `pseudo_start` (ours, of `model.query.start=picked`) teaches from them where objects are."""

    query_class: float = 2.0
    query_bce: float = 5.0
    query_dice: float = 5.0
    query_start: float = 2.0
    pseudo_class: float = 2.0
    pseudo_mask_bce: float = 5.0
    pseudo_mask_dice: float = 5.0
    pseudo_start: float = added(0.0)
    pseudo_color_affinity: float = added(0.0)
    pseudo_depth_affinity: float = added(0.0)
    boxed_class: float = added(2.0)
    projection: float = added(5.0)
    box_prior: float = added(5.0)
    color_affinity: float = added(1.0)
    depth_affinity: float = added(0.3)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorWeights:
    """As `PlDcWeights`, for a detector: `pseudo_class`, `pseudo_box` and `pseudo_quality` are its three losses on unlabelled images."""

    class_focal: float = 1.0
    box_giou: float = 1.0
    box_quality: float = 1.0
    mask_dice: float = 1.0
    mask_bce: float = 1.0
    pseudo_class: float = 1.0
    pseudo_box: float = 1.0
    pseudo_quality: float = 1.0
    pseudo_mask_dice: float = 1.0
    pseudo_mask_bce: float = 1.0
    pseudo_color_affinity: float = 0.0
    pseudo_depth_affinity: float = 0.0
    projection: float = 1.0
    box_prior: float = 1.0
    color_affinity: float = 1.0
    depth_affinity: float = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class SemiDetectorConfig:
    """Semi-supervised training of a detector with dynamic masks (ours; published for queries): its losses are those of `full` and, with boxes alone, of
    `box_depth`. `pseudo_background` is what the locations of unlabelled images weigh in `pseudo_class` where no object is kept. A pseudo label whose class has less than `class_from` of the
    probabilities of all classes (after the correction) teaches its box and mask, and no class: neither its own nor background."""

    weights: DetectorWeights = DetectorWeights()
    pseudo_background: float = 1.0
    class_from: float = 0.0
    box_quality: Literal["iou", "centerness"] = "iou"
    masks_per_image: int = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """`method.category=open_clip`: a model's name, its weights (a file of this machine) and descriptions a class, each with `{}` for the name."""

    model: str = "ViT-B-16"
    weights: str = ""
    descriptions: tuple[str, ...] = ("a photo of a {}", "a {} in a scene", "a part of a {}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlDcConfig(OneView):
    """From the fraction `burn_in` of the run on (1: never) a teacher, an average of the student that keeps at most `keep` a step (0.9996 published, for
    369 000 steps), labels the unlabelled images.

    `kept_by` two: class and mask quality each above its threshold; coupled: their product above `class_threshold`; class: class quality alone, above it (from
    0.5 on "no object" is less likely then, as published). Mask quality is a mean over cells of stride 4, where the published code's resolution is not known. A
    mask has more than `min_pixels` (class: a sum of probabilities over cells of stride 4); of those that overlap by an IoU above `pseudo_nms_iou`, whatever
    their classes, the best stays (ours; 1: all do). `adapt_on` counts (ours, after LabelMatch, arXiv 2206.06608): of each class the best, as many an image as
    labelled images hold, if they reach the thresholds; all or kept: thresholds a class that follow the qualities of its predictions, never below `floors` (class,
    mask; 0 published); they start between `lowest` (T_min) and those above, the higher the more of the labelled objects are of the class. Averages keep
    `adapt_keep` an image. `category` is who corrects the class, from the share `category_weight` falling to 0 over the run: prototypes of the teacher's features,
    CLIP, or (ours) the backbone as it was before training, shown each object cut out, and its disparity where there is one.
    `uncertainty` weighs the pixels of `pseudo_mask_bce`. `pseudo_no_object` is what "no object" weighs on unlabelled images (0.1 published; at 0, ours, they teach
    no background: most of what is not kept may be an object). `depth_form` is a third quality that must reach `depth_threshold` where disparity is known: S_dmatch in form A or B, or (ours) the
    agreement with the relief of disparity (0.5 is good); `depth_refine` (ours) corrects masks by that relief (`parts/depth_quality.py`).
    `boxed` is about images with boxes alone, and about the affinities of pseudo masks. With `model.head=dynamic` (ours) `detector` stands in for `weights` and
    `query`; class quality is then the detection's score, which stays low (0.5 is a sure one): thresholds for it are lower.
    """

    weights: PlDcWeights = PlDcWeights()
    query: QueryTermsConfig = QueryTermsConfig()
    burn_in: float = 1 / 18
    keep: float = 0.99
    kept_by: Literal["two", "coupled", "class"] = "two"
    class_threshold: float = 0.85
    mask_threshold: float = 0.9
    min_pixels: int = 5
    pseudo_nms_iou: float = added(1.0)
    adapt_on: Literal["off", "all", "kept", "counts"] = "off"
    adapt_keep: float = 0.9996
    lowest: tuple[float, float] = added((0.6, 0.75))
    floors: tuple[float, float] = (0.6, 0.75)
    category: Literal["off", "prototypes", "cut_outs", "open_clip"] = "prototypes"
    category_weight: float = 0.5
    clip: ClipConfig = ClipConfig()
    uncertainty: bool = True
    pseudo_no_object: float = added(0.1)
    depth_form: Literal["off", "A", "B", "relief"] = "off"
    depth_threshold: float = 0.8
    depth_theta: float = 2.0
    depth_refine: bool = added(False)
    boxed: BoxTermsConfig = added(BoxTermsConfig())
    detector: SemiDetectorConfig = added(SemiDetectorConfig())
    needs_masks: bool = True
    learns_from: ClassVar[tuple[str, ...]] = ("masks", "boxes", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class SdeConfig(OneView, VideoTermsConfig):
    """Depth from one's own video.

    From the fraction `aligned_from` of the run on (1: never, as published) each motion is the pose network's, aligned to the images by what depth says
    (ours, after DDVO), and the network learns what came of it (`motion`).
    """

    weights: SdeWeights = SdeWeights()
    aligned_from: float = 0.125
    needs_masks: bool = False
    learns_from: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSsdaWeights:
    """Cross-entropies all 1 as published; the two of video are those of `SdeWeights`, there with `model.multi_task`."""

    labelled_ce: float = 1.0
    source_ce: float = 1.0
    mixed_ce: float = 1.0
    cross_domain_ce: float = 1.0
    photometric: float = 1.0
    smoothness: float = 1e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthSsdaConfig(OneView):
    """Semantic segmentation with few labels. `mixing` pairs the target images of a step by depth (up to `margin` of disparity behind), by half of the
    classes, or not at all; `cross_domain` pairs them with labelled images of a source domain, by depth.

    `mixed_images` says which of the target images `mixing` pairs: all, or those without labels alone. Published are pairs from a stream of all images, of
    which a thirtieth has labels: with half of a step labelled, `unlabelled` is nearer to it.

    From the fraction `burn_in` of the run on (ours: 0 is published; a short run believes its first mistakes) images without labels are taught by a teacher,
    an average of the student that keeps at most `keep` a step, weighted by the share of mixed pixels with a probability of at least `confidence` (`trust`
    share, as published, where labelled images are a thirtieth of those that are mixed: where they are half of a step, the truth vouches for a teacher that is
    sure of nothing). `trust` teacher takes that share of the pixels that the teacher labelled, and weighs the truth 1; pixel believes the sure pixels
    alone, and the truth: a teacher that knows ground and wall well and objects badly then teaches ground and wall (both ours).

    `jitter` and `blur` are of the mixtures' strong view. `video` is of `model.multi_task`; with `model.init` of a depth network, as that was trained.
    """

    weights: DepthSsdaWeights = DepthSsdaWeights()
    mixing: Literal["depth", "class", "none"] = "depth"
    mixed_images: Literal["all", "unlabelled"] = added("all")
    margin: float = 0.03
    cross_domain: bool = False
    burn_in: float = added(0.0)
    confidence: float = 0.968
    trust: Literal["share", "pixel", "teacher"] = added("share")
    keep: float = 0.99
    jitter: float = 0.25
    blur: float = 0.5
    video: VideoTermsConfig = VideoTermsConfig()
    needs_masks: bool = False
    learns_from: ClassVar[tuple[str, ...]] = ("labels", "none", "source")


MethodConfig = BoxDepthConfig | FullConfig | PlDcConfig | SdeConfig
"""Of `build_method`; depth_ssda has `build_ssda`."""
