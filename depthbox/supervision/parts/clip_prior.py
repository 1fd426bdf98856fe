"""CLIP's opinion on what a mask holds: its image tokens, pooled by mask, against descriptions of every class. Needs the extra `clip` and local weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthbox.core.errors import InputError, UsageError
from depthbox.supervision.config import ClipConfig
from depthbox.supervision.parts.category import Shown, mask_pooled

__all__ = ["ClipPrior", "fused_logits"]


class ClipPrior(nn.Module):
    """A `CategoryPrior` that never learns: frozen open_clip towers with one stride (ViT) and the file `config.weights`.

    Raises `UsageError` where open_clip is missing or knows no such model, `InputError` where the file cannot be used.
    """

    of_kept = of_features = False
    mean: Tensor
    std: Tensor
    texts: Tensor

    def __init__(self, config: ClipConfig, class_names: Sequence[str]) -> None:
        super().__init__()
        model, tokenizer = _load(config)
        self.tower: Any = model.visual.eval().requires_grad_(False)
        if not hasattr(self.tower, "ln_post"):
            raise UsageError(f"method.clip.model={config.model}: has no tokens to pool; give a ViT such as ViT-B-16")
        self.scale = float(model.logit_scale.detach().exp())
        self.side = int(self.tower.image_size[0])
        for name in ("mean", "std"):
            values = torch.tensor(model.visual.preprocess_cfg[name])
            self.register_buffer(name, values.view(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            texts = [
                model.encode_text(tokenizer([one.format(name) for name in class_names])) for one in config.descriptions
            ]
        self.register_buffer("texts", F.normalize(torch.stack(texts), dim=-1), persistent=False)
        self.width = self.texts.shape[-1]

    @torch.no_grad()
    def described(self, shown: Shown, *, labelled: bool = False) -> Tensor:
        if labelled:
            return shown.image.new_zeros(len(shown.masks), self.width)
        size = (self.side, self.side)
        pixels = F.interpolate(shown.image[None], size=size, mode="bicubic", align_corners=False, antialias=True)
        seen = self.tower.forward_intermediates(
            (pixels - self.mean) / self.std, indices=1, normalize_intermediates=True, intermediates_only=True
        )
        tokens = seen["image_intermediates"][0][0]
        projected = torch.einsum("chw,cd->dhw", tokens, self.tower.proj)
        return F.normalize(mask_pooled(projected, shown.masks), dim=1)

    @torch.no_grad()
    def probabilities(self, rows: Tensor) -> Tensor:
        return fused_logits(self.scale * rows @ self.texts.transpose(1, 2)).softmax(-1)

    def learn(self, rows: Tensor, labels: Tensor) -> None:
        """It is frozen."""


def fused_logits(logits: Tensor) -> Tensor:
    """Logits "D N K" of D descriptions as one "N K": their mean, each weighed by its softmax over the descriptions."""
    return (logits * logits.softmax(0)).sum(0)


def _load(config: ClipConfig) -> tuple[Any, Any]:
    try:
        import open_clip
    except ImportError:
        raise UsageError(
            "method.category=open_clip needs open_clip: pip install 'depthbox[clip]', or method.category=prototypes"
        ) from None
    if config.model not in open_clip.list_models():
        raise UsageError(f"method.clip.model={config.model}: open_clip knows no such model")
    path = Path(config.weights)
    if not path.is_file():
        raise InputError(path, "", "no such weights file", "give method.clip.weights=FILE of a CLIP model")
    try:
        model = open_clip.create_model(config.model, pretrained=str(path))
    except Exception as error:  # whatever its loaders raise
        cause = " ".join(str(error).split())[:200]
        raise InputError(path, config.model, f"cannot be loaded: {cause}", "give the weights of that model") from error
    return model.eval(), open_clip.get_tokenizer(config.model)
