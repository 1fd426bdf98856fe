"""The words every file shares.

Axes: B images, H W pixels, h w cells, N instances, Q queries, K classes, C channels, P points.
Boxes are `boxes_xyxy` in pixels, x to the right, y down, the right and lower edge exclusive.
Disparity is in [0, 1], 1 = nearest, per image; NaN marks a pixel that was not measured. Depth is metres.
"""

__all__ = ["IGNORE", "MASK_STRIDE"]

IGNORE = 255
"""A label pixel that no loss and no score looks at."""

MASK_STRIDE = 4
"""Masks, colours and disparity meet the mask losses at this stride (METHODS conventions)."""
