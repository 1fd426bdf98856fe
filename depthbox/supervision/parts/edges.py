"""Which neighbours colour and disparity hold together, where a method learns from boxes."""

import torch

from depthbox.core.batch import Views
from depthbox.ops.pairwise import Edges
from depthbox.supervision.config import PairwiseConfig
from depthbox.supervision.parts.box_terms import color_change, color_edges, depth_change, depth_edges, vetoed

__all__ = ["active_edges"]


@torch.no_grad()
def active_edges(views: Views, config: PairwiseConfig, *, depth: bool) -> dict[str, Edges]:
    """The edges of each affinity by the name of its loss, after the vetoes."""
    c = config
    color = color_edges(views, threshold=c.color_threshold, dilation=c.dilation)
    if not depth:
        return {"color_affinity": color}
    deep = depth_edges(
        views,
        theta=c.depth_theta,
        threshold=c.depth_threshold,
        form=c.depth_form,
        inside_only=c.depth_inside_only,
        dilation=c.dilation,
    )
    if c.depth_veto:
        color = vetoed(color, depth_change(views, dilation=c.dilation), limit=c.depth_veto)
    if c.color_veto:
        deep = vetoed(deep, color_change(views, dilation=c.dilation), limit=c.color_veto)
    return {"color_affinity": color, "depth_affinity": deep}
