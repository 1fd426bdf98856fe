"""The depth and pose networks: sizes, what a pair's encoder sees, the direction of motions, weights that load again."""

from dataclasses import replace

import pytest
import torch

from depthbox.core.batch import Frames
from depthbox.models.config import SdeModelConfig
from depthbox.models.sde_net import OUTPUT_STRIDES, SdeNetwork, build_sde, input_size, untrained_sde

SMALL = SdeModelConfig(backbone="test_efficientnet", weights="none", pose_backbone="test_efficientnet", pose_weights="none", width=8)  # fmt: skip


@pytest.fixture
def network() -> SdeNetwork:
    torch.manual_seed(0)
    return build_sde(SMALL)


def frames(*images: torch.Tensor) -> Frames:
    stacked = torch.stack(images, 1)
    return Frames(
        plain=stacked, strong=stacked, intrinsics=torch.tensor([[0.8, 1.0, 0.5, 0.5]]).expand(len(stacked), 4)
    )


def test_outputs_and_gradients_reach_everything(network: SdeNetwork):
    assert all((s == 0.5).all() for s in network.sigmoids(torch.rand(1, 3, 64, 64))), "everything starts equally far"
    for head in network.decoder.heads:
        torch.nn.init.normal_(head.weight, std=0.02)
    found = network(frames(*torch.rand(3, 2, 3, 64, 96)))
    assert [tuple(s.shape) for s in found.sigmoids] == [(2, 1, 64 // s, 96 // s) for s in OUTPUT_STRIDES]
    assert all(((s > 0) & (s < 1)).all() for s in found.sigmoids)
    assert found.motions.shape == (2, 2, 4, 4)
    (sum(s.mean() for s in found.sigmoids) + found.motions.square().sum()).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None] == []


def test_disparity_may_start_low():
    network, low = build_sde(replace(SMALL, start=-2.0)), torch.tensor(-2.0).sigmoid()
    assert all((s == low).all() for s in network.sigmoids(torch.rand(1, 3, 64, 64)))


def test_motions_are_seen_in_the_order_of_time(network: SdeNetwork):
    """a, b then b, a: what lies before the one is after the other, so the ways are each other's way back."""
    a, b = torch.rand(2, 1, 3, 64, 64)
    with torch.no_grad():
        network.pose_head[-1].weight.mul_(100)
        from_b, from_a = network(frames(b, a, a)).motions, network(frames(a, b, b)).motions
    torch.testing.assert_close(from_b[:, 0] @ from_a[:, 1], torch.eye(4)[None], rtol=0, atol=1e-5)
    assert (from_b[:, 0] - torch.eye(4)).abs().max() > 1e-4


def test_a_pair_of_equal_images_is_what_the_pretrained_encoder_knows():
    network = build_sde(SdeModelConfig(pose_weights="builtin", weights="none", backbone="test_efficientnet", width=8))
    single = build_sde(
        SdeModelConfig(weights="builtin", pose_weights="none", pose_backbone="test_efficientnet", width=8)
    )
    image = torch.rand(1, 3, 64, 64)
    pair = network.pose_backbone(torch.cat((image, image), 1))[-1]
    torch.testing.assert_close(pair, single.backbone(image)[-1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("weights", ["none", "builtin"])
def test_the_bare_architecture_takes_a_trained_state(weights: str):
    config = SdeModelConfig(weights=weights, pose_weights=weights, width=8)
    torch.manual_seed(0)
    network = build_sde(config)
    torch.manual_seed(1)
    torch.nn.init.normal_(network.decoder.heads[-1].weight, std=0.02)
    other = untrained_sde(config)
    other.load_state_dict(network.state_dict())
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(network.eval().sigmoids(images)[0], other.eval().sigmoids(images)[0])


def test_the_size_that_the_networks_see():
    assert input_size((480, 640), short_side=192) == (192, 256)
    assert input_size((1024, 2048), short_side=192) == (192, 384)
    assert input_size((375, 1242), short_side=192) == (192, 640)
