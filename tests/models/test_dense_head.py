"""The semantic network: sizes, the exchange as its formula, a silent start of attention, what a depth network gives it."""

import pytest
import torch

from depthbox.core.batch import Frames
from depthbox.models.config import DenseModelConfig, SdeModelConfig
from depthbox.models.dense_head import DenseNetwork, SelfAttention, build_dense, from_depth_network, untrained_dense
from depthbox.models.sde_net import OUTPUT_STRIDES, build_sde

SMALL = {"backbone": "test_efficientnet", "weights": "none", "pose_backbone": "test_efficientnet", "pose_weights": "none", "width": 8}  # fmt: skip


def network(*, multi_task: bool = False, **settings) -> DenseNetwork:
    torch.manual_seed(0)
    return build_dense(DenseModelConfig(**SMALL | settings, multi_task=multi_task), classes=5)


def video(number: int) -> Frames:
    frames = torch.rand(number, 3, 3, 64, 96)
    return Frames(plain=frames, strong=frames, intrinsics=torch.tensor([[0.8, 1.0, 0.5, 0.5]]).expand(number, 4))


@pytest.mark.parametrize("options", [{}, {"context": "aspp"}])
def test_logits_are_as_large_as_the_images_and_gradients_reach_everything(options):
    model = network(**options)
    out = model(torch.rand(2, 3, 64, 96))
    assert out.logits.shape == (2, 5, 64, 96) and out.side is None and out.sde is None
    out.logits.square().sum().backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_several_tasks_share_one_forward():
    model, frames = network(multi_task=True), video(2)
    for head in model.depth_decoder.heads:
        torch.nn.init.normal_(head.weight, std=0.02)
    out = model(torch.cat((frames.strong[:, 0], torch.rand(1, 3, 64, 96))), frames)
    assert out.logits.shape == out.side.shape == (3, 5, 64, 96)
    assert [tuple(s.shape) for s in out.sde.sigmoids] == [(2, 1, 64 // s, 96 // s) for s in OUTPUT_STRIDES]
    depth = sum(s.mean() for s in out.sde.sigmoids) + out.sde.motions.square().sum()
    (out.logits.square().sum() + out.side.square().sum() + depth).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


def test_each_task_hears_of_the_other_after_the_side_classifier():
    model, images = network(multi_task=True), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        model.exchange.to_classes.message.weight.add_(0.5)
        after = model(images)
    assert torch.equal(before.side, after.side) and not torch.allclose(before.logits, after.logits)


def test_attention_starts_at_a_half():
    block, x = SelfAttention(4), torch.rand(1, 4, 5, 6)
    torch.testing.assert_close(block(x), 0.5 * block.message(x))


def test_a_depth_network_starts_the_encoder_and_both_decoders():
    torch.manual_seed(7)
    depth = build_sde(SdeModelConfig(**SMALL))
    torch.nn.init.normal_(depth.decoder.heads[3].weight)
    plain, both = network(), network(multi_task=True)
    state = from_depth_network(depth.state_dict())
    left = both.load_state_dict(state, strict=False)
    assert not left.unexpected_keys
    assert {name.split(".")[0] for name in left.missing_keys} == {"classifier", "side_classifier", "exchange"}
    assert {n.split(".")[0] for n in plain.load_state_dict(state, strict=False).missing_keys} == {"classifier"}
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = depth.decoder.coarse(depth.backbone(images))[-1]
        assert torch.equal(plain.decoder.coarse(plain.backbone(images))[-1], expected)
        assert torch.equal(both.depth_decoder.coarse(both.backbone(images))[-1], expected)
    own = both.state_dict()
    assert from_depth_network(own).keys() == own.keys()


def test_the_bare_architecture_takes_a_trained_state():
    config = DenseModelConfig(multi_task=True, width=8)
    torch.manual_seed(1)
    model = build_dense(config, classes=3)
    other = untrained_dense(config, classes=3)
    other.load_state_dict(model.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(model.class_logits(images), other.class_logits(images))
