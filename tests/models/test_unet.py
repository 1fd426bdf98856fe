"""The decoder's options: an atrous pyramid sees farther, a dilated encoder keeps its resolution and its weights."""

import pytest
import torch

from depthbox.core.errors import UsageError
from depthbox.models.backbone import build_backbone
from depthbox.models.config import SdeModelConfig
from depthbox.models.sde_net import OUTPUT_STRIDES, build_sde, untrained_sde
from depthbox.models.unet import UNet

CHANNELS = (8, 8, 16, 16)


def features(size: int, deepest: int) -> list[torch.Tensor]:
    sides = (size // 4, size // 8, size // 16, size // deepest)
    return [torch.rand(1, c, side, side) for c, side in zip(CHANNELS, sides, strict=True)]


def test_features_at_strides_16_to_2():
    decoder = UNet(CHANNELS, 8)
    images, found = torch.rand(1, 3, 64, 64), features(64, 32)
    coarse = decoder.coarse(found)
    assert [tuple(f.shape[1:]) for f in coarse] == [(32, 4, 4), (24, 8, 8), (16, 16, 16)]
    assert decoder.fine(coarse[-1], images).shape == (1, 8, 32, 32)


def test_the_atrous_pyramid_looks_at_the_whole_map():
    """A far corner changes what a cell says; a 3 x 3 convolution does not see it."""
    reach = {}
    for context in ("convolution", "aspp"):
        torch.manual_seed(0)
        block = UNet(CHANNELS, 8, context=context).context.eval()
        x = torch.rand(1, 16, 20, 20, requires_grad=True)
        first = next(m for m in block.modules() if isinstance(m, torch.nn.Conv2d))
        (gradient,) = torch.autograd.grad(_without_norms(block)(x)[0, :, 10, 10].sum(), x)
        reach[context] = (gradient.abs().sum((0, 1)) > 1e-9).nonzero().sub(10).abs().max().item()
        assert first.in_channels == 16
    assert reach == {"convolution": 1, "aspp": 10}


def _without_norms(block: torch.nn.Module) -> torch.nn.Module:
    """A group norm looks at the whole map anyway."""
    for module in block.modules():
        for name, child in module.named_children():
            if isinstance(child, torch.nn.GroupNorm):
                setattr(module, name, torch.nn.Identity())
    return block


@torch.no_grad()
def test_a_dilated_last_stage_has_the_same_weights_at_twice_the_resolution():
    plain, dilated = (build_backbone("mobilenetv2_100", weights="builtin", dilated=d) for d in (False, True))
    assert plain.state_dict().keys() == dilated.state_dict().keys()
    images = torch.rand(1, 3, 64, 96)
    assert [tuple(f.shape[2:]) for f in dilated(images)] == [(16, 24), (8, 12), (4, 6), (4, 6)]
    torch.testing.assert_close(plain(images)[2], dilated(images)[2])


@torch.no_grad()
def test_the_published_depth_network_is_a_setting():
    config = SdeModelConfig(backbone="mobilenetv2_100", weights="none", pose_backbone="test_efficientnet", pose_weights="none", width=8, context="aspp", dilated=True)  # fmt: skip
    network = build_sde(config)
    assert [s.shape[-1] for s in network.sigmoids(torch.rand(1, 3, 64, 64))] == [64 // s for s in OUTPUT_STRIDES]
    untrained_sde(config).load_state_dict(network.state_dict())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
def test_a_network_that_cannot_be_dilated_is_refused(name: str):
    with pytest.raises(UsageError, match=f"{name}"):
        build_backbone(name, dilated=True)
