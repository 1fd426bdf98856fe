"""CLIP as a second opinion, on a tiny model of random weights: open_clip is an extra, so the tests skip without it."""

import json

import pytest
import torch

from depthbox.core.errors import InputError, UsageError
from depthbox.supervision.config import ClipConfig
from depthbox.supervision.parts.category import Shown
from depthbox.supervision.parts.clip_prior import ClipPrior, fused_logits

TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    open_clip = pytest.importorskip("open_clip", reason="an extra: depthbox[clip]")
    folder = tmp_path_factory.mktemp("clip")
    (folder / "tiny-test.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    torch.save(open_clip.create_model("tiny-test").state_dict(), folder / "weights.pt")
    return folder / "weights.pt"


def opinion(prior: ClipPrior, image: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    shown = Shown(image=image, disparity=None, features=torch.zeros(4, 8, 8), masks=masks)
    return prior.probabilities(prior.described(shown))


def test_probabilities_of_masks(tiny):
    prior = ClipPrior(ClipConfig(model="tiny-test", weights=str(tiny)), ("box", "ball", "cone"))
    masks = torch.zeros(2, 16, 24)
    masks[0, :8], masks[1, 8:] = 1, 1
    image = torch.rand(3, 64, 96)
    said = opinion(prior, image, masks)
    assert said.shape == (2, 3) and torch.allclose(said.sum(1), torch.ones(2)) and not torch.equal(said[0], said[1])
    assert opinion(prior, image, masks[:0]).shape == (0, 3)
    assert not any(p.requires_grad for p in prior.parameters())


def test_the_whole_image_pooled_is_what_clip_would_say_of_its_tokens(tiny):
    import open_clip

    prior = ClipPrior(ClipConfig(model="tiny-test", weights=str(tiny), descriptions=("a {}",)), ("box", "ball"))
    model = open_clip.create_model("tiny-test", pretrained=str(tiny)).eval()
    image = torch.rand(3, 64, 64)
    with torch.no_grad():
        normal = (image[None] - prior.mean) / prior.std
        tokens = model.visual._embeds(normal)
        tokens = model.visual.ln_post(model.visual.transformer(tokens))[:, 1:] @ model.visual.proj
        texts = model.encode_text(open_clip.get_tokenizer("tiny-test")(["a box", "a ball"]), normalize=True)
        row = torch.nn.functional.normalize(tokens.mean(1), dim=1)
        wanted = (model.logit_scale.exp() * row @ texts.T).softmax(1)
    said = opinion(prior, image, torch.ones(1, 16, 16))
    torch.testing.assert_close(said, wanted, rtol=1e-3, atol=1e-4)


def test_descriptions_are_fused_by_how_sure_they_are():
    logits = torch.tensor([[[0.0, 4.0]], [[0.0, 0.0]]])
    weight = torch.tensor(4.0).exp() / (torch.tensor(4.0).exp() + 1)
    torch.testing.assert_close(fused_logits(logits), torch.stack((torch.zeros(()), 4 * weight))[None])


def test_what_is_missing_is_said(tiny, tmp_path):
    with pytest.raises(UsageError, match="open_clip knows no such model"):
        ClipPrior(ClipConfig(model="tinny", weights=str(tiny)), ("box",))
    with pytest.raises(InputError, match="no such weights file"):
        ClipPrior(ClipConfig(model="tiny-test", weights=str(tmp_path / "gone.pt")), ("box",))
    (tmp_path / "bad.pt").write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot be loaded"):
        ClipPrior(ClipConfig(model="tiny-test", weights=str(tmp_path / "bad.pt")), ("box",))
