"""Queries that look at an image where their own mask is, and nowhere else (Mask2Former, Cheng et al. 2022)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.models.anchored import Anchored
from depthbox.models.query_start import LearnedStart, Picked, PickedStart

__all__ = ["QueryDecoder", "attention_block", "sine_positions"]


class QueryDecoder(nn.Module):
    """`layers` times masked cross-attention, self-attention and feed-forward, over strides 32, 16 and 8 in turn.

    What the queries say is read before the first layer and after each: class logits "L B Q K+1" (the last class is "no object"), mask embeddings
    "L B Q C" and mask logits "L B Q h w" without a gradient, L = layers + 1, all float32.
    """

    def __init__(
        self, channels: int, classes: int, *, start: LearnedStart | PickedStart, layers: int, heads: int, width: int
    ) -> None:
        super().__init__()
        self.start = start
        self.level = nn.Embedding(3, channels)
        self.layers = nn.ModuleList(_Layer(channels, heads, width) for _ in range(layers))
        self.norm = nn.LayerNorm(channels)
        self.anchored = Anchored(channels) if isinstance(start, PickedStart) else None
        self.classify = nn.Linear(channels, classes + 1)
        self.embed = nn.Sequential(
            nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
        )  # fmt: skip

    def forward(
        self, levels: list[Tensor], fine: Tensor, padding: list[Tensor], hints: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Picked | None]:
        """Maps "B C h w" of three levels and of the masks; `padding`: bool "B hw" of each level, True where nothing is to be seen.

        `fine` is `with_places` where the start is picked, first from the cells of `hints` (bool "B h w" of the finest level); the last value says where.
        """
        tokens = [m.flatten(2).transpose(1, 2) + self.level.weight[i] for i, m in enumerate(levels)]
        places = [sine_positions(m) for m in levels]
        content, place, picked = self.start(levels[-1], places[-1], padding[-1], hints)
        said = [self._say(content, fine, picked)]
        for i, layer in enumerate(self.layers):
            at = i % 3
            blocked = attention_block(said[-1][2], levels[at], padding[at])
            content = layer(content, place, tokens[at], places[at], blocked)
            said.append(self._say(content, fine, picked))
        class_logits, embeddings, masks = (torch.stack(each) for each in zip(*said, strict=True))
        return class_logits, embeddings, masks, picked

    def _say(self, content: Tensor, fine: Tensor, picked: Picked | None) -> tuple[Tensor, Tensor, Tensor]:
        normed = self.norm(content)
        # Sums over a hundred channels: bfloat16 would cost a mask its edge, and a class what a threshold looks at.
        with torch.autocast(fine.device.type, enabled=False):
            embedding = self.embed(normed.float())
            if self.anchored is not None and picked is not None:
                embedding = torch.cat((embedding, self.anchored(normed.float(), picked.points_xy)), -1)
            masks = torch.einsum("bqc,bchw->bqhw", embedding.detach(), fine.detach())
            return self.classify(normed.float()), embedding, masks


@torch.no_grad()
def attention_block(masks: Tensor, level: Tensor, padding: Tensor) -> Tensor:
    """Where a query must not look: bool "B 1 Q hw", from its mask logits "B Q h w".

    sigmoid(mask) < 0.5 at the size of `level`, and padding ("B hw"). A query that could look nowhere looks everywhere but at padding.
    """
    outside = F.interpolate(masks, size=level.shape[-2:], mode="bilinear", align_corners=False).flatten(2) < 0
    nowhere = (outside | padding[:, None]).all(-1, keepdim=True)
    return (outside & ~nowhere | padding[:, None])[:, None]


def sine_positions(level: Tensor) -> Tensor:
    """Sines and cosines of y, then of x, over the map's own height and width: "1 hw C" for a map "B C h w"."""
    channels, height, width = level.shape[1:]
    half = channels // 2
    frequency = 10000 ** (torch.arange(half // 2, device=level.device) * 2 / half)
    axes = []
    for length in (height, width):
        turn = (torch.arange(length, device=level.device) + 0.5) / length * 2 * math.pi
        angle = turn[:, None] / frequency
        axes.append(torch.cat((angle.sin(), angle.cos()), 1))
    ys, xs = axes[0][:, None].expand(-1, width, -1), axes[1][None].expand(height, -1, -1)
    return torch.cat((ys, xs), -1).flatten(0, 1)[None]


class _Layer(nn.Module):
    def __init__(self, channels: int, heads: int, width: int) -> None:
        super().__init__()
        self.look, self.talk = _Attention(channels, heads), _Attention(channels, heads)
        self.think = nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, channels))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(3))

    def forward(self, content: Tensor, place: Tensor, tokens: Tensor, places: Tensor, blocked: Tensor) -> Tensor:
        content = self.norms[0](content + self.look(content + place, tokens + places, tokens, blocked))
        placed = content + place
        content = self.norms[1](content + self.talk(placed, placed, content, None))
        return self.norms[2](content + self.think(content))


class _Attention(nn.Module):
    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))
        for layer in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor, blocked: Tensor | None) -> Tensor:
        q, k, v = self._split(self.query(queries)), self._split(self.key(keys)), self._split(self.value(values))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=None if blocked is None else ~blocked)
        return self.out(mixed.transpose(1, 2).flatten(2))

    def _split(self, rows: Tensor) -> Tensor:
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)
