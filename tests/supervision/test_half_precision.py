"""The losses and the matching in half precision: as in float32 on the same numbers, whatever sums they take over a map."""

import pytest
import torch

from depthbox.ops.masks import dice_loss
from depthbox.ops.pairwise import Edges
from depthbox.supervision.parts.box_terms import affinities, projection
from depthbox.supervision.parts.mask_terms import mask_terms
from depthbox.supervision.parts.matching import depth_agreement
from depthbox.supervision.parts.pseudo_masks import mask_affinity, mask_quality, pseudo_mask, relief_bce

HEIGHT, WIDTH = 300, 304
"""More pixels than float16 has numbers for."""


def values() -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(2, HEIGHT, WIDTH, generator=rng) + 2
    logits[0, :5] = 100.0
    return {"logits": logits, "targets": (torch.rand(2, HEIGHT, WIDTH, generator=rng) > 0.3).float()}


def edges() -> Edges:
    active = torch.rand(1, 4, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1)) > 0.2
    valid = torch.ones(1, HEIGHT, WIDTH, dtype=torch.bool)
    return Edges(forward=active, backward=active, valid=valid, inside_only=False)


BOXES = torch.ones(2, HEIGHT, WIDTH, dtype=torch.bool)
SURE = torch.tensor([1.0, 0.5])
IMAGE = torch.zeros(2, dtype=torch.long)
SIMILAR = torch.rand(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))

TERMS = {
    "dice": lambda x, t: dice_loss(x.sigmoid(), t),
    "projection": lambda x, t: projection(x, BOXES),
    "affinity": lambda x, t: affinities(x, IMAGE, BOXES, [edges()], dilation=2)[0],
    "mask_dice": lambda x, t: mask_terms(x, t, BOXES)["mask_dice"],
    "mask_bce": lambda x, t: mask_terms(x, t, BOXES)["mask_bce"],
    "pseudo_mask": lambda x, t: pseudo_mask(x, t, SURE),
    "relief_bce": lambda x, t: relief_bce(x, t, BOXES, SURE),
    "mask_affinity": lambda x, t: mask_affinity(x, t, BOXES, SURE, valid=BOXES),
    "mask_quality": lambda x, t: mask_quality(x.sigmoid()),
    "S_dmatch A": lambda x, t: depth_agreement(x.sigmoid(), BOXES, SIMILAR, form="A"),
    "S_dmatch B": lambda x, t: depth_agreement(x.sigmoid(), BOXES, SIMILAR, form="B"),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", TERMS)
def test_half_precision_is_the_precision_of_the_input_alone(name: str, dtype: torch.dtype):
    given = {key: value.to(dtype) for key, value in values().items()}
    found = TERMS[name](given["logits"], given["targets"])
    expected = TERMS[name](given["logits"].float(), given["targets"].float())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=1e-4)
