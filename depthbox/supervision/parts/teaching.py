"""The teacher's part of a semi-supervised step: it looks at the weak views, and what it is believed becomes labels, with figures about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from depthbox.core.batch import Batch
from depthbox.core.schedule import Schedule
from depthbox.models.query_head import QuerySegmenter
from depthbox.models.segmenter import Segmenter
from depthbox.supervision.config import PlDcConfig
from depthbox.supervision.parts.category import CategoryPrior
from depthbox.supervision.parts.correction import Looked, corrected
from depthbox.supervision.parts.depth_quality import checked_by_depth
from depthbox.supervision.parts.looks import Look, look
from depthbox.supervision.parts.pseudo_labels import PseudoLabels, believed, verdict
from depthbox.supervision.parts.teacher import Teacher
from depthbox.supervision.parts.thresholds import Thresholds

__all__ = ["Taught", "Teaching"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taught:
    """The pseudo labels of the unlabelled images, in their order; none at all before the teacher starts."""

    kept: Sequence[PseudoLabels]
    figures: dict[str, Tensor]


class Teaching:
    """Teacher, thresholds and second opinion of a run."""

    def __init__(
        self,
        config: PlDcConfig,
        teacher: Teacher,
        thresholds: Thresholds,
        prior: CategoryPrior | None,
        share: Schedule,
        *,
        objects_an_image: float,
    ) -> None:
        """`objects_an_image`: of the labelled images; 0 where nobody counted."""
        assert isinstance(teacher.model, (QuerySegmenter, Segmenter))
        self.model = teacher.model
        self.config, self.teacher, self.thresholds, self.prior, self.share = config, teacher, thresholds, prior, share
        self.objects_an_image = objects_an_image

    @torch.no_grad()
    def labels(self, batch: Batch, labelled: Tensor, unlabelled: Tensor, step: int) -> Taught:
        """Every rank calls it at every step from the teacher's start on, with however few images."""
        images, features = torch.cat((unlabelled, labelled)), self.prior is not None and self.prior.of_features
        # The labelled ones for the features that a second opinion may learn from.
        seen = images if features else unlabelled
        said = look(self.model, batch.views, seen) if len(seen) else None
        kept = [self._of_image(batch, said, at, i) for at, i in enumerate(unlabelled.tolist())] if said else []
        self.thresholds.agree()
        before = [one.labels for one in kept]
        if self.prior is not None:
            looked = Looked(batch=batch, said=said, images=images, features=features, mixed=self.model.mixed)
            kept = corrected(self.prior, looked, kept, share=self.share(step))
        elif self.config.detector.class_from:
            kept = [one.named(one.labels, said.probabilities(at, one.query)) for at, one in enumerate(kept) if said]
        truth = [batch.truth[i] if batch.truth else None for i in unlabelled.tolist()]
        return Taught(kept=kept, figures=self._figures(kept, before, truth, batch))

    def _of_image(self, batch: Batch, said: Look, at: int, image: int) -> PseudoLabels:
        pairs = said.candidates(at)
        kept = believed(pairs, self.thresholds.of(pairs.labels), self.config)
        kept = checked_by_depth(kept, batch.views, image, self.config)
        rows = kept if self.config.adapt_on == "kept" else pairs
        qualities = torch.stack((rows.class_quality, rows.mask_quality))
        sound = qualities.isfinite().all(0)  # A threshold that is once NaN stays so.
        self.thresholds.see(rows.labels[sound], qualities[:, sound])
        return kept

    def _figures(
        self, kept: Sequence[PseudoLabels], before: Sequence[Tensor], truth: Sequence, batch: Batch
    ) -> dict[str, Tensor]:
        """This rank's; what is divided by nothing is 0."""
        images = batch.views.weak
        if not kept:
            return {}
        labels, old = torch.cat([one.labels for one in kept]), torch.cat(list(before))
        number = max(len(labels), 1)
        said = verdict(kept, before, truth)
        figures = {
            "kept_an_image": len(labels) / len(kept),
            "class_quality": torch.cat([one.class_quality for one in kept]).sum() / number,
            "mask_quality": torch.cat([one.mask_quality for one in kept]).sum() / number,
            "corrected": (labels != old).sum() / number,
        }
        figures |= {
            f"class_{k}": n / number
            for k, n in enumerate(torch.bincount(labels, minlength=self.model.classes).tolist())
        }
        if self.objects_an_image:
            figures["kept_to_labelled"] = len(labels) / len(kept) / self.objects_an_image
        if said.objects:
            found = max(said.kept, 1)
            figures |= {
                "precision": said.right / found,
                "precision_uncorrected": said.right_before / found,
                "precision_of_masks": said.masks / found,
                "recall": said.right / said.objects,
            }
        return {
            f"pseudo/{name}": torch.as_tensor(value, device=images.device).float() for name, value in figures.items()
        }
