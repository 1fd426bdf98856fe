"""Is a teacher's pseudo label right, and who could tell? Qualities and second opinions of PL-DC, judged by the truth of the images it has no labels of.

    uv run python experiments/judge_pseudo_labels.py RUN [steps=60] [depth.source=maps:depth/train depth.maps.kind=depth_mm ...]

RUN is the folder of a `pl_dc` run, whose settings and views these are; others may be given, a depth source above all. In the first third of the
steps nothing is judged; second opinions learn from labelled images alone. Prints how many objects are found and pseudo labels on an object (IoU 0.5), the area under the ROC curve of each
quality for an IoU of 0.5 and of 0.75, the share of those on an object that the teacher and each second opinion name rightly, and what `method.depth_refine` makes of their masks.
"""

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from depthbox.core.batch import Batch
from depthbox.core.config import parse_overrides, vary
from depthbox.data.local import local_batches
from depthbox.data.pack import unpack
from depthbox.models.query_predict import mask_iou
from depthbox.models.segmenter import Model
from depthbox.recipes import pl_dc
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.category import CategoryPrior, PrototypeBank, fused
from depthbox.supervision.parts.correction import Looked, corrected
from depthbox.supervision.parts.cut_outs import CutOuts
from depthbox.supervision.parts.depth_quality import depth_quality, refined, relief_quality
from depthbox.supervision.parts.looks import look
from depthbox.supervision.parts.matching import right_similarity
from depthbox.supervision.parts.pseudo_labels import PseudoLabels, believed, full_size, verdict
from depthbox.supervision.parts.relief import sampled_disparity
from depthbox.supervision.semi_supervised import split
from depthbox.train.prepare import prepare
from depthbox.train.saved import open_run_folder
from depthbox.train.state import initial_model

Columns = dict[str, Tensor]
"""Of pseudo labels "N": what is known of each."""


def main(words: list[str]) -> None:
    run, settings = Path(words[0]), parse_overrides(words[1:])
    steps = int(settings.pop("steps", "60"))
    with tempfile.TemporaryDirectory() as folder:
        said = json.loads((run / "experiment.json").read_text())["settings"]
        places = {"out": f"{folder}/run", "tracking.uri": "none", "device": "cpu"}
        job = prepare(vary(pl_dc(), said | places | settings))
        method = job.experiment.method
        teacher = open_run_folder(run).model(classes=len(job.classes), experiment=job.experiment)
        assert isinstance(method, PlDcConfig) and isinstance(teacher, Model)
        priors = _priors(teacher, initial_model(job.experiment, classes=job.classes), depth=job.depth is not None)
        found = []
        for step, pack in enumerate(local_batches(job.source, job.depth, range(steps))):
            _learn(teacher, batch := unpack(pack), priors)
            found += _judged(teacher, batch, priors, method) if 3 * step >= steps else []
    if not any("iou" in one for one in found):
        raise SystemExit(
            f"{run}: no pseudo label to judge; are there images without labels, and thresholds that let some through?"
        )
    _print({name: torch.cat([one[name] for one in found if name in one]) for name in max(found, key=len)})


def _priors(teacher: Model, untrained: nn.Module, *, depth: bool) -> dict[str, CategoryPrior]:
    assert isinstance(untrained, Model)
    priors: dict[str, CategoryPrior] = {"prototypes": PrototypeBank(teacher.classes, teacher.config.channels)}
    for name, seen in (("cut-outs", False), ("cut-outs with disparity", True))[: 1 + depth]:
        priors[name] = CutOuts(untrained.backbone, teacher.classes, depth=seen)
    return priors


@torch.no_grad()
def _learn(teacher: Model, batch: Batch, priors: Mapping[str, CategoryPrior]) -> None:
    labelled, _, _ = split(batch)
    said = look(teacher, batch.views, labelled)
    looked = Looked(batch=batch, said=said, images=labelled, features=True, mixed=teacher.mixed)
    for prior in priors.values():
        corrected(prior, looked, [], share=1.0)


@torch.no_grad()
def _judged(teacher: Model, batch: Batch, priors: Mapping[str, CategoryPrior], method: PlDcConfig) -> Iterator[Columns]:
    _, _, bare = split(batch)
    if not len(bare):
        return
    said = look(teacher, batch.views, bare)
    looked = Looked(batch=batch, said=said, images=bare, features=True, mixed=teacher.mixed)
    thresholds = torch.tensor([[method.class_threshold], [method.mask_threshold]])
    for at, image in enumerate(bare.tolist()):
        truth = batch.truth[image]
        if truth is None or truth.masks is None or not len(truth.masks):
            continue
        pairs = said.candidates(at)
        labels = believed(pairs, thresholds.expand(-1, len(pairs.labels)), method)
        once = verdict([labels], [labels.labels], [truth])
        counts = {"objects": torch.tensor([once.objects]), "found": torch.tensor([once.masks])}
        if not len(labels.labels):
            yield counts
            continue
        iou, owner = mask_iou(full_size(labels), truth.masks).max(1)
        shown, own = looked.shown(at, (labels.logits > 0).float()), said.probabilities(at, labels.query)
        asked = {
            name: fused(own, one.probabilities(one.described(shown)), 1.0).argmax(1) for name, one in priors.items()
        }
        yield (
            counts
            | {"iou": iou, "class quality": labels.class_quality, "mask quality": labels.mask_quality}
            | {
                f"named by {name}": (those == truth.labels[owner]).float()
                for name, those in ({"teacher": labels.labels} | asked).items()
            }
            | (_by_depth(labels, batch, image, method, truth.masks[owner]) if batch.views.disparity is not None else {})
        )


def _by_depth(labels: PseudoLabels, batch: Batch, image: int, method: PlDcConfig, truth: Tensor) -> Columns:
    views, one = batch.views, slice(image, image + 1)
    assert views.disparity is not None
    disparity, size_hw = sampled_disparity(views)[image], (views.weak.shape[-2], views.weak.shape[-1])
    similarity = right_similarity(views.disparity[one], views.valid[one], theta=method.depth_theta)[0]
    return {
        "S_dmatch A": depth_quality(labels.logits, similarity, size_hw, form="A"),
        "S_dmatch B": depth_quality(labels.logits, similarity, size_hw, form="B"),
        "relief": relief_quality(labels, disparity)[0],
        "corrected iou": mask_iou(full_size(refined(labels, disparity)), truth).diagonal(),
    }


def _print(found: Columns) -> None:
    iou, objects, once = found.pop("iou"), found.pop("objects"), found.pop("found")
    on, corrected_iou = iou >= 0.5, found.pop("corrected iou", None)
    print(
        f"{len(iou)} pseudo labels of {len(objects)} images, {once.sum() / objects.sum():.2f} of their {objects.sum()} objects found"
    )
    print(f"{on.float().mean():.2f} on an object, mean IoU of these {iou[on].mean():.3f}", end="")
    print("" if corrected_iou is None else f", corrected by disparity {corrected_iou[on].mean():.3f}")
    for name, values in found.items():
        if name.startswith("named by"):
            print(f"{name:34s}{values[on].mean():.2f}")
        else:
            print(f"{name:34s}{_area(values, on):.2f} (IoU 0.5)  {_area(values, iou >= 0.75):.2f} (IoU 0.75)")


def _area(values: Tensor, right: Tensor) -> float:
    """Under the ROC curve."""
    yes, no = values[right].numpy(), values[~right].numpy()
    return float(mannwhitneyu(yes, no).statistic) / max(len(yes) * len(no), 1)


if __name__ == "__main__":
    main(sys.argv[1:])
