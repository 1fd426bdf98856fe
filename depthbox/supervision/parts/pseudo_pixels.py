"""How good the teacher's labels of pixels are, as figures."""

from torch import Tensor

from depthbox.core.shapes import IGNORE

__all__ = ["pseudo_figures"]


def pseudo_figures(confidence: Tensor, labels: Tensor, truth: Tensor | None, *, threshold: float) -> dict[str, Tensor]:
    """Of unlabelled images, all "U H W": the share of confident pixels, and where a `truth` is known (not IGNORE) the share of labels that are right, of
    all pixels and of the confident ones. Empty without a pixel; a share of nothing is left out."""
    there = labels != IGNORE
    if not there.any():
        return {}
    sure = confidence >= threshold
    figures = {"pseudo/confident_share": sure[there].float().mean()}
    if truth is None:
        return figures
    known, right = there & (truth != IGNORE), (labels == truth).float()
    rows = {"accuracy": known, "accuracy_of_confident": known & sure}
    return figures | {f"pseudo/{name}": right[row].mean() for name, row in rows.items() if row.any()}
