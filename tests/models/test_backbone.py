"""Networks by name give one pyramid; weights really are loaded, and what is no weights file is refused without being run."""

import copy
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from depthbox.core.errors import InputError, UsageError
from depthbox.models.backbone import Backbone, FeaturePyramid, build_backbone
from depthbox.models.depth_net import builtin_encoder_state

CHANNELS = {
    "mobilenetv2_100": [24, 32, 96, 320],
    "resnet18": [64, 128, 256, 512],
    "swin_tiny_patch4_window7_224": [96, 192, 384, 768],
    "convnext_atto": [40, 80, 160, 320],
}


@pytest.fixture(scope="module")
def tiny_weights(tmp_path_factory) -> str:
    """A whole classifier's weights as a file, without any download."""
    import timm

    path = tmp_path_factory.mktemp("weights") / "classifier.safetensors"
    torch.manual_seed(5)
    save_file(timm.create_model("mobilenetv2_035", pad_type="same").state_dict(), path)
    return str(path)


@pytest.mark.parametrize("name", CHANNELS)
@torch.no_grad()
def test_a_network_by_name_gives_strides_4_to_32(name):
    backbone = build_backbone(name)
    features = backbone(torch.rand(2, 3, 64, 96))
    assert backbone.channels == CHANNELS[name]
    assert [tuple(f.shape) for f in features] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(CHANNELS[name], (4, 8, 16, 32), strict=True)
    ]
    assert all(torch.isfinite(f).all() and f.std() > 0 for f in features)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "vit_small_patch14_dinov2"])
@torch.no_grad()
def test_a_plain_transformer_gives_a_pyramid_too(name):
    backbone = build_backbone(name)
    width = backbone.channels[-1]
    features = backbone(torch.rand(1, 3, 64, 96))
    assert [tuple(f.shape[1:]) for f in features] == [(128, 16, 24), (256, 8, 12), (width, 4, 6), (width, 2, 3)]
    backbone.freeze(2)
    free = {name.removeprefix("network.") for name, p in backbone.named_parameters() if p.requires_grad}
    assert "to_4.0.weight" in free and not any("patch_embed" in name or ".blocks.3." in name for name in free)
    assert any(".blocks.11." in name for name in free)


@torch.no_grad()
def test_swin_is_told_by_its_word_and_not_by_its_shape():
    """At height 384 the first map has as many rows as channels."""
    backbone = build_backbone("swin_tiny_patch4_window7_224")
    assert [tuple(f.shape[1:]) for f in backbone(torch.rand(1, 3, 384, 32))] == [
        (96, 96, 8),
        (192, 48, 4),
        (384, 24, 2),
        (768, 12, 1),
    ]


@torch.no_grad()
def test_the_pyramid_has_strides_8_to_128():
    pyramid = FeaturePyramid((4, 6, 8), 16)
    levels = pyramid([torch.rand(2, c, 96 // s, 160 // s) for c, s in ((4, 8), (6, 16), (8, 32))])
    assert [tuple(level.shape) for level in levels] == [
        (2, 16, 12, 20),
        (2, 16, 6, 10),
        (2, 16, 3, 5),
        (2, 16, 2, 3),
        (2, 16, 1, 2),
    ]


def test_pretrained_batch_norms_stay_frozen(tiny_weights):
    backbone = build_backbone("mobilenetv2_035", weights=tiny_weights).train()
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [(m.running_mean.clone(), m.running_var.clone()) for m in norms]
    backbone(torch.rand(2, 3, 32, 32))
    assert norms and backbone.training and not any(m.training for m in norms)
    assert not any(p.requires_grad for m in norms for p in m.parameters())
    assert all(
        torch.equal(m.running_mean, mean) and torch.equal(m.running_var, var)
        for m, (mean, var) in zip(norms, before, strict=True)
    )
    assert any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("name", ["mobilenetv2_035", "resnet18"])
def test_without_weights_batch_norms_are_group_norms(name):
    backbone = build_backbone(name, weights="none")
    kinds = [type(m) for m in backbone.modules()]
    assert not any(issubclass(kind, nn.BatchNorm2d) for kind in kinds) and nn.GroupNorm in kinds
    image, other = torch.rand(2, 1, 3, 32, 64)
    with torch.no_grad():
        alone, together = backbone(image), backbone(torch.cat((other, image)))
    for a, b in zip(alone, together, strict=True):
        torch.testing.assert_close(a[0], b[1], rtol=1e-3, atol=1e-4)


def test_an_activation_that_timm_hides_in_a_norm_is_kept():
    sequence = build_backbone("mobilenetv2_035").network.bn1
    assert [type(m) for m in sequence] == [nn.GroupNorm, nn.Identity, nn.ReLU6]


def test_images_are_normalised_as_imagenet_was():
    class Echo(nn.Module):
        class feature_info:
            reduction = staticmethod(lambda: (4, 8, 16, 32))
            channels = staticmethod(lambda: (3, 3, 3, 3))

        def forward(self, images):
            return [images] * 4

    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    image = torch.tensor(mean).view(1, 3, 1, 1) + torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(Backbone(Echo())(image)[0], torch.ones(1, 3, 1, 1))


def assert_loaded(backbone: Backbone, path: str) -> None:
    wanted, found = load_file(path), backbone.network.state_dict()
    shared = wanted.keys() & found.keys()
    assert {"conv_stem.weight", "blocks.5.0.conv_pwl.weight", "blocks.3.0.bn2.running_var"} <= shared
    assert found.keys() <= wanted.keys() and all(torch.equal(found[name], wanted[name]) for name in shared)


@torch.no_grad()
def test_features_are_those_of_timm(tiny_weights):
    """Also where a strided convolution is computed in a quicker way, and in a copy, as a teacher is one."""
    import timm

    backbone = build_backbone("mobilenetv2_035", weights=tiny_weights)
    plain = timm.create_model("mobilenetv2_035", features_only=True, pad_type="same").eval()
    plain.load_state_dict(backbone.network.state_dict())
    image = torch.rand(2, 3, 96, 64)
    wanted = plain((image - backbone.mean) / backbone.std)
    for found, features in zip(backbone(image), wanted[1:], strict=True):
        torch.testing.assert_close(found, features, rtol=1e-3, atol=1e-4)
    twin = copy.deepcopy(backbone)
    before = twin(image)
    for parameter in backbone.parameters():
        parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(twin(image), before, strict=True))
    assert not torch.equal(backbone(image)[0], before[0])


def test_the_builtin_weights_are_the_depth_networks_encoder():
    name, state = builtin_encoder_state()
    backbone = build_backbone(name, weights="builtin")
    found = backbone.network.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)
    assert build_backbone(name, weights="auto").network.state_dict().keys() == state.keys()
    refuse("resnet18", "builtin", f"model.weights=builtin holds a {name}, not a resnet18", UsageError)


def test_weights_of_a_file_are_loaded(tiny_weights, capfd):
    state = torch.get_rng_state()
    torch.manual_seed(1)
    build_backbone("mobilenetv2_035")
    drawn = torch.rand(3)
    torch.manual_seed(1)
    assert_loaded(build_backbone("mobilenetv2_035", weights=tiny_weights), tiny_weights)
    assert torch.equal(torch.rand(3), drawn), "reading weights drew other random numbers"
    assert capfd.readouterr().err == ""
    torch.set_rng_state(state)


def test_the_imagenet_weights_are_loaded(shared):
    path = shared / "weights" / "mobilenetv2_100.safetensors"
    if not path.is_file():
        pytest.skip("the ImageNet weights are absent")
    assert_loaded(build_backbone("mobilenetv2_100", weights=str(path)), str(path))


class Payload:
    """What a malicious checkpoint does when it is unpickled."""

    def __init__(self, marker) -> None:
        self.marker = marker

    def __reduce__(self):
        return (open, (str(self.marker), "w"))


@pytest.mark.parametrize("file_name", ["weights.pt", "weights.pth", "weights.bin", "weights.safetensors"])
def test_b17_a_pickle_is_refused_and_never_run(file_name, tmp_path):
    path, marker = tmp_path / file_name, tmp_path / "executed"
    path.write_bytes(pickle.dumps(Payload(marker)))
    refuse("mobilenetv2_035", path, "safetensors")
    torch.save({"conv_stem.weight": Payload(marker)}, path)
    refuse("mobilenetv2_035", path, "safetensors")
    assert not marker.exists()


def refuse(name: str, weights: object, words: str, kind: type[ValueError] = InputError) -> None:
    with pytest.raises(kind, match=words) as error:
        build_backbone(name, weights=str(weights))
    assert "\n" not in str(error.value) and len(str(error.value)) < 500
    assert str(weights) in str(error.value) or kind is UsageError


def test_f12_weights_that_cannot_be_had_are_refused_in_one_line(tmp_path, tiny_weights):
    refuse("mobilenetv2_035", tmp_path / "absent.safetensors", "no such weights file")
    refuse("mobilenetv2_035", tmp_path, "no such weights file")
    for content in (b"", b"garbage", b"\xff" * 100, (10**9).to_bytes(8, "little") + b"{}"):
        (tmp_path / "bad.safetensors").write_bytes(content)
        refuse("mobilenetv2_035", tmp_path / "bad.safetensors", "not a safetensors file")
    whole = Path(tiny_weights).read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
    refuse("mobilenetv2_035", tmp_path / "cut.safetensors", "not a safetensors file")


def test_weights_of_another_network_are_refused(tmp_path, tiny_weights):
    refuse("resnet18", tiny_weights, "size mismatch|is not in the file")
    refuse("mobilenetv2_050", tiny_weights, "size mismatch")
    save_file({"a.weight": torch.zeros(3)}, tmp_path / "odd.safetensors")
    refuse("mobilenetv2_035", tmp_path / "odd.safetensors", r"conv_stem.weight: is not in the file, nor are \d+ others")
    state = load_file(tiny_weights)
    del state["blocks.5.0.conv_pwl.weight"]
    save_file(state, tmp_path / "partial.safetensors")
    refuse(
        "mobilenetv2_035",
        tmp_path / "partial.safetensors",
        "blocks.5.0.conv_pwl.weight: is not in the file, nor are 0 others",
    )


def test_an_unknown_network_is_refused_with_near_names():
    refuse("mobilenetv2_101", "none", "knows no such network; near names: .*mobilenetv2_100", UsageError)
    refuse("", "none", "knows no such network; near names: see", UsageError)


@pytest.mark.parametrize("name", ["deit_tiny_patch16_224", "mixer_s16_224"])
def test_a_network_without_a_pyramid_is_refused(name):
    refuse(name, "none", rf"model.backbone={name}: .*resnet50", UsageError)
