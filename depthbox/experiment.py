"""An experiment is data + depth + model + method + schedule + seed, frozen. Everything a run does is in here."""

from dataclasses import dataclass, field
from typing import Literal

from depthbox.core.config import added, digest
from depthbox.data.config import SemanticViewsConfig, VideoViewsConfig, ViewsConfig
from depthbox.depth.disturb import DisturbConfig
from depthbox.models.config import DenseModelConfig, InferenceConfig, ModelConfig, SdeModelConfig
from depthbox.supervision.config import BoxDepthConfig, DepthSsdaConfig, FullConfig, PlDcConfig, SdeConfig

__all__ = [
    "PLACES",
    "DataConfig",
    "DepthConfig",
    "Experiment",
    "MapsConfig",
    "RayConfig",
    "ScheduleConfig",
    "SemanticDataConfig",
    "SemanticSourceConfig",
    "SemanticSplitConfig",
    "SemanticTrainConfig",
    "SplitConfig",
    "TrackingConfig",
    "TrainConfig",
    "UnlabelledConfig",
    "VideoDataConfig",
    "VideoSplitConfig",
    "name_of",
]


PLACES = (
    "out",
    "storage",
    "tracking",
    "workers",
    "launcher",
    "ray",
    "device",
    "depth.cache",
    "depth.device",
    "data.processes",
)
"""Where a run takes place, not what it does: these settings do not name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitConfig:
    """Paths below `data.root` (or absolute): a folder of photos and a COCO JSON."""

    images: str = ""
    annotations: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(SplitConfig):
    """`labelled` and `boxed` name images, as FILE or FILE:KEY, below `data.root` or from the current folder: those with labels (empty: all others), those that keep their boxes alone."""

    labelled: str = added("")
    boxed: str = added("")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledConfig:
    """A folder of photos, or a pattern, without annotations."""

    images: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """An empty root is `$DEPTHBOX_DATA`. The run ends when more than `quarantine_share` of the images cannot be read.

    Of the images of a step `labelled_share` are labelled, `boxed_share` have boxes alone, the rest has no labels: images of the annotations that
    neither list names, and those of `unlabelled`.
    `processes` prepare batches ahead with launcher=local (0: the training process does).
    """

    root: str = ""
    train: TrainConfig = TrainConfig()
    val: SplitConfig = SplitConfig()
    unlabelled: UnlabelledConfig = added(UnlabelledConfig())
    labelled_share: float = added(1.0)
    boxed_share: float = added(0.0)
    views: ViewsConfig = ViewsConfig()
    quarantine_share: float = 0.05
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSplitConfig:
    """Folders of frames below `data.root`, or patterns of them."""

    sequences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDataConfig:
    """Like `DataConfig`, of video. A frame is learnt from those `gap` before and after it, from several (2,4,8) one after the other; without any, gaps
    are chosen at which the camera has moved enough to show depth (1 where neighbours do).

    `frames` and `depths` are patterns of file names, where a folder holds more than one kind of picture, or depth maps under names of their own;
    `depth_zero` is what a 0 in them means. Depth is measured against, never learnt from.
    """

    root: str = ""
    train: VideoSplitConfig = VideoSplitConfig()
    val: VideoSplitConfig = VideoSplitConfig()
    gap: tuple[int, ...] = ()
    frames: str = ""
    depths: str = ""
    depth_kind: Literal["depth_mm", "depth_m"] = "depth_mm"
    depth_zero: Literal["far", "missing", "auto"] = "auto"
    views: VideoViewsConfig = VideoViewsConfig()
    quarantine_share: float = 0.05
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticSplitConfig:
    """Photos and label maps below `data.root`: folders, or patterns such as 'seq_*/frame_*.jpg' and 'seq_*/semantic_*.png'. What the wildcards
    stand for says which belong together; in folders, the place and the name."""

    images: str = ""
    labels: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticTrainConfig(SemanticSplitConfig):
    """`labelled` names the photos whose labels may be learnt from, as FILE or FILE:KEY (empty: all that have a label map); `frames` is where
    the neighbours of a photo lie, as a pattern (empty: among `images`)."""

    labelled: str = ""
    frames: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticSourceConfig(SemanticSplitConfig):
    """Labelled images of another domain, such as rendered ones. An empty `table` is that of the target."""

    table: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticDataConfig:
    """Like `DataConfig`, of photos with a class for every pixel.

    `table` says what the pixels of label maps mean: cityscapes, gta5, synthia, synthia13, camvid, or a JSON file. `classes=shared` learns the classes
    that target and source share by name; other pixels are unlabelled.
    Of the images of a step `labelled_share` have labels, `source_share` are of `source`, the rest has none. `pairing=geometry` draws for every
    target the source image, of five, whose disparity is most like it (METHODS 3.5).
    `gap` frames before and after a photo are its neighbours, for methods that learn depth as well (0: none).
    """

    root: str = ""
    table: str = ""
    train: SemanticTrainConfig = SemanticTrainConfig()
    val: SemanticSplitConfig = SemanticSplitConfig()
    source: SemanticSourceConfig = SemanticSourceConfig()
    classes: Literal["same", "shared"] = "same"
    labelled_share: float = 0.5
    source_share: float = 0.0
    pairing: Literal["random", "geometry"] = "random"
    gap: int = 0
    views: SemanticViewsConfig = SemanticViewsConfig()
    quarantine_share: float = 0.05
    processes: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MapsConfig:
    """What the files of `depth.source=maps:DIR` hold, what their zero means, and whether maps that look inverted are taken all the same."""

    kind: Literal["depth_mm", "depth_m", "disparity"] = "depth_mm"
    zero: Literal["far", "missing"] = "far"
    sign: Literal["check", "trust"] = "check"


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthConfig:
    """Where disparity comes from: `builtin`, `builtin:FILE` (of `depthbox depth train`), `none`, `maps:DIR`, `hf:NAME_OR_FOLDER` or `run:FOLDER`; an empty cache is the user's cache folder.

    `disturb` makes it worse on purpose, after the cache, for ablations.
    """

    source: str = "builtin"
    cache: str = ""
    maps: MapsConfig = MapsConfig()
    disturb: DisturbConfig = DisturbConfig()
    device: str = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleConfig:
    """Steps of AdamW or SGD with warm-up and `decay`; evaluation and checkpoints every `evaluate_every` and `checkpoint_every` steps (0: at the end).

    `decay` steps, as papers have it: a tenth of the learning rate from each fraction of the run in `decay_at` on; poly: (1 - step / steps)^0.9 of it.
    `backbone_factor` scales the pretrained backbone's learning rate. `precision` auto is bfloat16 where the processor has it, else float32.
    """

    steps: int = 450
    optimizer: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 1e-3
    backbone_factor: float = 0.3
    weight_decay: float = 0.05
    warm_up: float = 0.05
    decay: Literal["cosine", "steps", "poly"] = added("cosine")
    decay_at: tuple[float, ...] = added((2 / 3, 8 / 9))
    clip_norm: float = 5.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    evaluate_every: int = 0
    checkpoint_every: int = 200
    log_every: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingConfig:
    """MLflow: an empty uri is a sqlite file in `out`; `none` switches tracking off."""

    uri: str = ""
    experiment: str = "depthbox"
    run_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RayConfig:
    """What the Ray launcher asks of the cluster. Fractions, so that a run fits two cores. `threads` of torch a worker (0: the cores, shared)."""

    address: str = ""
    worker_cpus: float = 0.5
    depth_actors: int = 1
    depth_actor_cpus: float = 0.25
    task_cpus: float = 0.5
    max_failures: int = 3
    threads: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """`batch_size` is global; `workers` share it. Where it runs (`out`, `storage`, `tracking`, `workers`, `launcher`, `ray`) does not change its digest."""

    method: BoxDepthConfig | FullConfig | PlDcConfig | SdeConfig | DepthSsdaConfig
    data: DataConfig | VideoDataConfig | SemanticDataConfig = DataConfig()
    depth: DepthConfig = DepthConfig()
    model: ModelConfig | SdeModelConfig | DenseModelConfig = ModelConfig()
    inference: InferenceConfig = InferenceConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    seed: int = 0
    batch_size: int = 8
    workers: int = 1
    launcher: Literal["ray", "local"] = "ray"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    out: str = ""
    storage: str = ""
    """Where `out` is not seen by every machine: an object store that keeps checkpoints and results, s3://bucket/folder."""
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    ray: RayConfig = field(default_factory=RayConfig)


def name_of(experiment: Experiment) -> str:
    """The digest that names the run: the same for every place it could run at."""
    return digest(experiment, without=PLACES)
