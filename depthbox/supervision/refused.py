"""Settings that cannot have an effect: whoever sets one waits for it in vain, so a run is refused by its name."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import fields

from depthbox.core.errors import UsageError
from depthbox.supervision.allowed import (
    check_box_depth_numbers,
    check_pairwise_numbers,
    check_pl_dc_numbers,
    check_query_numbers,
)
from depthbox.supervision.config import (
    BoxDepthConfig,
    BoxDepthWeights,
    BoxTermsConfig,
    DepthSsdaConfig,
    DepthSsdaWeights,
    DetectorWeights,
    DistillationConfig,
    FullConfig,
    MethodConfig,
    PlDcConfig,
    PlDcWeights,
    QueryTermsConfig,
    QueryWeights,
)

__all__ = ["check_burn_in", "check_method", "check_picked", "check_ssda"]

OF_BOXES = ("boxed_class", "projection", "box_prior", "color_affinity", "depth_affinity")
OF_DEPTH = ("color_veto", "depth_veto", "depth_threshold", "depth_theta", "depth_form", "depth_inside_only")
OF_DEPTH_IN_MATCHING = ("form", "depth_cost", "depth_cost_falls")


def check_method(
    config: MethodConfig, *, depth: bool, mask_head: str, head: str = "dynamic", words: Collection[str] = ()
) -> None:
    """Raises `UsageError` for a setting that cannot have an effect. `words`: what the images of the run are labelled with, where not all are alike."""
    if head == "query" and mask_head != "condinst":
        raise UsageError(f"model.mask_head={mask_head} is a head of model.head=dynamic, not of model.head=query")
    match config:
        case FullConfig():
            _check_full(config, head)
        case PlDcConfig():
            _check_pl_dc(config, depth=depth, mask_head=mask_head, head=head)
            _check_boxed(config, depth=depth, boxed="boxes" in words, head=head)
        case BoxDepthConfig():
            _check_box_depth(config, depth=depth, mask_head=mask_head, head=head)
            if "masks" not in words:
                unheard = "has no effect where no image has masks; name those with boxes alone: data.train.boxed"
                _refuse(config.weights, BoxDepthWeights(), ("mask_dice", "mask_bce"), "method.weights.", unheard)


def _check_full(config: FullConfig, head: str) -> None:
    check_query_numbers(config.query)
    if head == "dynamic" and (config.query, config.query_weights) != (QueryTermsConfig(), QueryWeights()):
        raise UsageError("method.query and method.query_weights are of model.head=query")
    plain = FullConfig(query=config.query, query_weights=config.query_weights, needs_masks=config.needs_masks)
    if head == "query" and config != plain:
        raise UsageError("method.weights, box_quality and masks_per_image are of model.head=dynamic; see method.query")


def _check_pl_dc(config: PlDcConfig, *, depth: bool, mask_head: str, head: str) -> None:
    if mask_head != "condinst":
        raise UsageError(f"this method does not teach model.mask_head={mask_head}; set model.mask_head=condinst")
    _check_head(config, head)
    _check_depth(config, depth=depth)
    if config.category == "open_clip" and not config.clip.weights:
        raise UsageError("method.category=open_clip needs method.clip.weights=FILE, the weights of method.clip.model")
    if config.kept_by != "two" and config.adapt_on != "off":
        raise UsageError(f"method.adapt_on={config.adapt_on} adapts two thresholds; set method.kept_by=two")
    check_pl_dc_numbers(config)
    _check_falling(config)
    if config.adapt_on == "off":
        _refuse(config, PlDcConfig(), ("adapt_keep",), "method.", "has no effect; set method.adapt_on")
    if config.adapt_on in ("off", "counts"):
        _refuse(config, PlDcConfig(), ("lowest", "floors"), "method.", "has no effect; set method.adapt_on=all or kept")
    if config.category == "off":
        _refuse(config, PlDcConfig(), ("category_weight",), "method.", "has no effect; set method.category")
    if config.category != "open_clip":
        _refuse(config, PlDcConfig(), ("clip",), "method.", "has no effect; set method.category=open_clip")


def _check_falling(config: PlDcConfig) -> None:
    """Thresholds that follow a class start at most as high, and stop falling at most as high, as those that do not."""
    if config.adapt_on not in ("all", "kept"):
        return
    for name in ("lowest", "floors"):
        for place, highest in enumerate(("class_threshold", "mask_threshold")):
            value, most = getattr(config, name)[place], getattr(config, highest)
            if value > most:
                raise UsageError(f"method.{name}[{place}]={value} is above method.{highest}={most}; set it lower")


def _check_depth(config: PlDcConfig, *, depth: bool) -> None:
    """Of what disparity says about pseudo masks."""
    for name in ("depth_form", "depth_refine"):
        if getattr(config, name) != getattr(PlDcConfig(), name) and not depth:
            raise UsageError(f"method.{name} compares a mask with disparity; set depth.source")
    if config.pseudo_nms_iou == 1 and (config.depth_form == "relief" or config.depth_refine):
        cause = "gives what masks share to one of them, so that doubles would lose it to each other"
        raise UsageError(f"the relief of method.depth_form and depth_refine {cause}: set method.pseudo_nms_iou=0.7")
    if config.depth_form == "off":
        _refuse(config, PlDcConfig(), ("depth_threshold",), "method.", "has no effect; set method.depth_form")
    if config.depth_form not in ("A", "B"):
        _refuse(config, PlDcConfig(), ("depth_theta",), "method.", "has no effect; set method.depth_form=A or B")


def _check_head(config: PlDcConfig, head: str) -> None:
    """`detector` is of one head, what queries learn of the other."""
    if head == "query":
        _refuse(config, PlDcConfig(), ("detector",), "method.", "is of model.head=dynamic; see method.weights")
        return
    # The published thresholds are of queries' probabilities: nothing would be kept, and said by nobody.
    if config.burn_in < 1 and config.kept_by == "two" and config.class_threshold == PlDcConfig().class_threshold:
        raise UsageError(
            f"method.class_threshold={config.class_threshold} is meant for queries, and the scores of a detector stay lower: set "
            "method.class_threshold=0.35 method.mask_threshold=0.85 or others of your own"
        )
    of_queries = "is of model.head=query; see method.detector"
    _refuse(config, PlDcConfig(), ("weights", "query", "pseudo_no_object"), "method.", of_queries)
    _refuse(config.boxed, BoxTermsConfig(), ("cost_class", "cost_projection"), "method.boxed.", of_queries)


def check_picked(config: MethodConfig, start: str) -> None:
    """What only picked queries learn; `start` is `model.query.start`."""
    if start == "picked" or not isinstance(config, (PlDcConfig, FullConfig)):
        return
    why = "is about where queries are picked; set model.query.start=picked"
    if isinstance(config, PlDcConfig):
        _refuse(config.weights, PlDcWeights(), ("pseudo_start", "query_start"), "method.weights.", why)
    else:
        _refuse(config.query_weights, QueryWeights(), ("query_start",), "method.query_weights.", why)
    _refuse(config.query, QueryTermsConfig(), ("cost_outside",), "method.query.", why)


def _check_boxed(config: PlDcConfig, *, depth: bool, boxed: bool, head: str) -> None:
    """What boxes alone, colour and disparity teach."""
    check_pairwise_numbers(config.boxed, "method.boxed.")
    weights: PlDcWeights | DetectorWeights = config.weights
    usual: PlDcWeights | DetectorWeights = PlDcWeights()
    prefix = "method.weights."
    of_boxes: Sequence[str] = OF_BOXES
    if head == "dynamic":
        weights, usual, prefix = config.detector.weights, DetectorWeights(), "method.detector.weights."
        of_boxes = [name for name in OF_BOXES if name != "boxed_class"]
    if not boxed:
        unheard = "has no effect without images that have boxes alone; name them: data.train.boxed and data.boxed_share"
        _refuse(weights, usual, of_boxes, prefix, unheard)
        affine = weights.pseudo_color_affinity > 0 or weights.pseudo_depth_affinity > 0
        silent = ("cost_class", "cost_projection", "prior_size") if affine else [f.name for f in fields(BoxTermsConfig)]
        _refuse(config.boxed, BoxTermsConfig(), silent, "method.boxed.", unheard)
    if not depth:
        _refuse(config.boxed, BoxTermsConfig(), OF_DEPTH, "method.boxed.")
        _refuse(weights, usual, ("depth_affinity", "pseudo_depth_affinity"), prefix)


def _check_box_depth(config: BoxDepthConfig, *, depth: bool, mask_head: str, head: str) -> None:
    if head != "dynamic":
        raise UsageError("box_depth learns from the boxes of a detector; set model.head=dynamic")
    check_box_depth_numbers(config)
    _check_distillation(config)
    if not depth:
        _refuse(config, BoxDepthConfig(), OF_DEPTH, "method.")
        _refuse(config.distillation, DistillationConfig(), OF_DEPTH_IN_MATCHING, "method.distillation.")
        _refuse(config.weights, BoxDepthWeights(), ("depth_relief", "relief_bce"), "method.weights.")
    if not (config.weights.depth_relief or config.weights.relief_bce):
        unheard = "has no effect without method.weights.depth_relief or relief_bce"
        _refuse(config, BoxDepthConfig(), ("relief_share",), "method.", unheard)
    if mask_head != "depth_guided":
        unheard = "is of the disparity of a mask; set model.mask_head=depth_guided"
        _refuse(config.weights, BoxDepthWeights(), ("instance_depth",), "method.weights.", unheard)
    elif not depth:
        raise UsageError(
            "model.mask_head=depth_guided learns from disparity; set depth.source or model.mask_head=condinst"
        )


def _check_distillation(config: BoxDepthConfig) -> None:
    usual, asked = DistillationConfig(), config.distillation
    if asked.start >= 1:
        alone = "needs a teacher; set method.distillation.start below 1"
        # `all_detections` is what `preset=paper` has.
        names = [field.name for field in fields(usual) if field.name not in ("start", "all_detections")]
        _refuse(asked, usual, names, "method.distillation.", alone)
        _refuse(config.weights, BoxDepthWeights(), ("pseudo_mask", "mask_affinity"), "method.weights.", alone)
    elif asked.matching == "greedy":
        of_other = "is of method.distillation.matching=depth_aware"
        names = ["box_cost", "depth_cost", "depth_cost_falls", "form", "threshold"]
        _refuse(asked, usual, names, "method.distillation.", of_other)


def _refuse(
    given: object,
    usual: object,
    names: Iterable[str],
    prefix: str,
    why: str = "has no effect without disparity; set depth.source",
) -> None:
    """Whoever sets one of these waits for an effect in vain."""
    for name in names:
        if getattr(given, name) != getattr(usual, name):
            raise UsageError(f"{prefix}{name}={getattr(given, name)} {why}")


def check_ssda(config: DepthSsdaConfig, *, depth: bool, source: bool, multi_task: bool) -> None:
    """Raises `UsageError` for a setting that cannot have an effect: `depth`, there is disparity; `source`, images of another domain."""
    by_depth = config.mixing == "depth" or config.cross_domain
    if by_depth and not depth:
        asked = "method.mixing=depth" if config.mixing == "depth" else "method.cross_domain"
        raise UsageError(f"{asked} mixes by disparity; set depth.source, or method.mixing=class")
    if config.cross_domain and not source:
        raise UsageError("method.cross_domain mixes with another domain; set data.source.images and data.source_share")
    mixes = config.mixing != "none" or config.cross_domain
    without: tuple[tuple[bool, tuple[str, ...], str], ...] = (
        (by_depth, ("margin",), "is of mixing by depth; set method.mixing=depth or method.cross_domain"),
        (config.mixing != "none", ("mixed_images",), "is of mixing target images; set method.mixing"),
        (
            mixes,
            ("burn_in", "confidence", "trust", "keep", "jitter", "blur"),
            "is of mixtures; set method.mixing or method.cross_domain",
        ),
        (multi_task, ("video",), "is of the depth task; set model.multi_task"),
    )
    for there, names, words in without:
        _refuse(config, DepthSsdaConfig(), names if not there else (), "method.", words)
    losses = {
        "source_ce": source,
        "mixed_ce": config.mixing != "none",
        "cross_domain_ce": config.cross_domain,
        "photometric": multi_task,
        "smoothness": multi_task,
    }
    absent = [name for name, there in losses.items() if not there]
    _refuse(config.weights, DepthSsdaWeights(), absent, "method.weights.", "weighs a loss that this run has not")
    if not 0 <= config.burn_in < 1:
        raise UsageError(f"method.burn_in={config.burn_in}: allowed is from 0 to below 1; set method.mixing=none for 1")
    if not 0 < config.confidence <= 1 or not 0 <= config.keep < 1:
        raise UsageError("method.confidence: above 0, at most 1; method.keep: from 0 to below 1")
    if not 0 <= config.jitter < 1 or not 0 <= config.blur <= 1:
        raise UsageError("method.jitter: from 0 to below 1; method.blur: a probability, from 0 to 1")
    if not 0 < config.video.nearest < config.video.farthest:
        raise UsageError("method.video: allowed is 0 < nearest < farthest")


def check_burn_in(share: float, steps: int) -> None:
    """Raises `UsageError` for a share of the run that rounds to all of it: a teacher is asked for, and none would ever look. 1 asks for none."""
    if share < 1 and round(share * steps) >= steps:
        raise UsageError(f"method.burn_in={share} of {steps} steps leaves none with a teacher; set a smaller one")
