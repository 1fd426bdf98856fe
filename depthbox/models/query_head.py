"""The second network: backbone, pixel decoder and queries, each of which says one class and one mask (Mask2Former). It knows no loss."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from depthbox.core.errors import UsageError
from depthbox.core.shapes import MASK_STRIDE
from depthbox.models.anchored import with_places
from depthbox.models.backbone import Backbone
from depthbox.models.config import ModelConfig
from depthbox.models.deformable_decoder import DeformablePixelDecoder
from depthbox.models.pixel_decoder import PixelDecoder
from depthbox.models.query_decoder import QueryDecoder
from depthbox.models.query_start import LearnedStart, Picked, PickedStart

__all__ = ["QueryOutputs", "QuerySegmenter"]

LEVEL_STRIDES = (32, 16, 8)
OUTSIDE = -8.0
"""A mask's logit on padding: about as sure as one gets, so that an enlarged mask ends half way to the next cell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOutputs:
    """What the queries say before the first layer and after each, the last one counting: L = layers + 1, all float32."""

    class_logits: Tensor
    """Float "L B Q K+1"; the last class is "no object"."""
    masks: Tensor
    """Logits "L B Q h w" at stride 4, without a gradient: cell c lies on the pixel edge 4 c + 2, as if shrunk without aligned corners."""
    embeddings: Tensor
    """Float "L B Q C": a mask is its embedding's product with `fine`. Picked queries have five more channels (`anchored`)."""
    fine: Tensor
    """Float "B C h w" at stride 4."""
    features: Tensor
    """Float "B C h w" of the pixel decoder at stride 8."""
    picked: Picked | None = None
    """The cells at stride 8 that queries were picked from, where they are."""

    def of(self, images: slice) -> "QueryOutputs":
        """The part of some images of the batch."""
        return QueryOutputs(
            class_logits=self.class_logits[:, images],
            masks=self.masks[:, images],
            embeddings=self.embeddings[:, images],
            fine=self.fine[images],
            features=self.features[images],
            picked=None if self.picked is None else self.picked.of(images),
        )

    def within(self, valid: Tensor) -> "QueryOutputs":
        """With the masks ended where the photos (bool "B H W") do: no loss has ever looked at padding, so that there they may say anything."""
        padding = ~valid[:, None, MASK_STRIDE // 2 :: MASK_STRIDE, MASK_STRIDE // 2 :: MASK_STRIDE]
        return replace(self, masks=self.masks.masked_fill(padding, OUTSIDE))

    def chosen(self, image: int, queries: Tensor) -> Tensor:
        """The mask logits "L n h w" of queries "L n" of an image, with a gradient: the backward pass of all others is never paid for."""
        layers = torch.arange(len(queries), device=queries.device)[:, None]
        return torch.einsum("lnc,chw->lnhw", self.embeddings[layers, image, queries], self.fine[image])


class QuerySegmenter(nn.Module):
    """Masked-attention mask classification on a timm backbone."""

    def __init__(self, config: ModelConfig, backbone: Backbone, *, classes: int) -> None:
        super().__init__()
        query = config.query
        for name, least in {"queries": 1, "layers": 1, "heads": 1, "width": 1, "deformable": 0}.items():
            if getattr(query, name) < least:
                raise UsageError(
                    f"model.query.{name}={getattr(query, name)}: allowed is a whole number of at least {least}"
                )
        if config.channels % (4 * query.heads) or config.channels % 8:
            raise UsageError(
                f"model.channels={config.channels}: takes a multiple of 8 and of 4 x model.query.heads={query.heads}"
            )
        self.config, self.classes = config, classes
        self.mixed = False
        """True: maps and attention are computed in bfloat16; masks, classes and everything after them stay float32."""
        self.backbone = backbone
        self.pixel_decoder = (
            DeformablePixelDecoder(
                backbone.channels, config.channels, layers=query.deformable, heads=query.heads, width=query.width
            )
            if query.deformable
            else PixelDecoder(backbone.channels, config.channels)
        )
        start = (
            PickedStart(config.channels, classes, query.queries)
            if query.start == "picked"
            else LearnedStart(config.channels, query.queries)
        )
        self.decoder = QueryDecoder(
            config.channels, classes, start=start, layers=query.layers, heads=query.heads, width=query.width
        )

    def forward(self, images: Tensor, valid: Tensor | None = None, hints: Tensor | None = None) -> QueryOutputs:
        """Images "B 3 H W" in 0..1, H and W multiples of 32; `valid` bool "B H W" is False on padding, at which no query looks.

        `hints`: bool "B H/8 W/8", cells that queries are to start from if they are picked at all.
        """
        valid = torch.ones_like(images[:, 0], dtype=torch.bool) if valid is None else valid
        padding = [_padding(valid, stride) for stride in LEVEL_STRIDES]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.mixed):
            maps = self.pixel_decoder(self.backbone(images), padding)
            fine = maps.fine.float()
            fine = with_places(fine, MASK_STRIDE) if self.config.query.start == "picked" else fine
            class_logits, embeddings, masks, picked = self.decoder(maps.levels, fine, padding, hints)
        return QueryOutputs(
            class_logits=class_logits,
            masks=masks,
            embeddings=embeddings,
            fine=fine,
            features=maps.levels[-1].float(),
            picked=picked,
        )


def _padding(valid: Tensor, stride: int) -> Tensor:
    """The cells whose middle is padding: bool "B hw"; none in an image that would be nothing else."""
    padding = ~valid[:, stride // 2 :: stride, stride // 2 :: stride].flatten(1)
    return padding & ~padding.all(1, keepdim=True)
