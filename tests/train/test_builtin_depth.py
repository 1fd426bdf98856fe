"""Training the built-in depth network: repeatable to the byte, and its loss is about relief more than about scale."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from depthbox.core.errors import InputError, UsageError
from depthbox.depth.estimator import build_estimator
from depthbox.models.depth_net import load_network
from depthbox.train.builtin_depth import augment, depth_loss, main, train_builtin
from depthbox.train.builtin_run import BuiltinRun
from depthbox.train.inputs import depth_spec


def test_the_same_command_writes_the_same_bytes(tmp_path):
    lines: list[str] = []
    files = []
    for processes in (1, 2):
        out = tmp_path / f"{processes}.safetensors"
        run = BuiltinRun(scenes=8, steps=3, seed=5, processes=processes, size_hw=(64, 96))
        train_builtin(run, out=out, progress=lines.append)
        files.append(out.read_bytes())
    assert files[0] == files[1]
    assert lines[0] == "rendered 8/8 scenes" and lines[1].startswith("step 3/3 loss ")
    _, note = load_network(out)
    assert (note.scenes, note.steps, note.seed) == (8, 3, 5)


def test_a_run_says_its_batch_and_its_file_is_a_source_of_depth(tmp_path, monkeypatch):
    out = tmp_path / "mine.safetensors"
    train_builtin(BuiltinRun(scenes=2, steps=1, batch=2, size_hw=(64, 96)), out=out, progress=lambda line: None)
    assert load_network(out)[1].command.endswith("scenes=2 steps=1 seed=0 batch=2 size_hw=64,96")
    monkeypatch.chdir(tmp_path)
    found = build_estimator(depth_spec("builtin:mine.safetensors", Path("elsewhere")))
    shipped = build_estimator("builtin")
    photo = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    assert found.digest != shipped.digest
    assert found.disparity([photo], [""])[0].shape == (64, 96)
    with pytest.raises(InputError, match=r"none\.safetensors: the depth network cannot be read .* check the path"):
        build_estimator("builtin:none.safetensors")
    with pytest.raises(UsageError, match="'builtin:' needs a file"):
        build_estimator("builtin:")


def test_the_encoder_starts_from_weights(tmp_path):
    weights, out = tmp_path / "encoder.safetensors", tmp_path / "net.safetensors"
    drawn = timm.create_model("mobilenetv2_100").state_dict()
    save_file(drawn, weights)
    run = BuiltinRun(scenes=2, steps=1, batch=2, size_hw=(64, 96), weights=str(weights))
    train_builtin(run, out=out, progress=lambda line: None)
    network, note = load_network(out)
    assert note.command.endswith("size_hw=64,96 weights=encoder.safetensors")
    # One step of a learning rate that has hardly begun to rise.
    assert (network.encoder.conv_stem.weight - drawn["conv_stem.weight"]).abs().max() < 1e-3


@pytest.mark.parametrize(("name", "cause"), [("none.safetensors", "no such weights file"), ("net.bin", "can execute")])
def test_other_weights_are_refused_before_anything_is_rendered(tmp_path, name, cause):
    (tmp_path / "net.bin").touch()
    lines: list[str] = []
    with pytest.raises(
        InputError, match=rf"{cause}.* \| next: weights= takes none, hub or a \.safetensors file of timm's"
    ):
        train_builtin(BuiltinRun(weights=str(tmp_path / name)), out=tmp_path / "x", progress=lines.append)
    assert not lines


def test_a_few_steps_lower_the_loss(tmp_path):
    lines: list[str] = []
    run = BuiltinRun(scenes=12, steps=100, size_hw=(48, 64))
    train_builtin(run, out=tmp_path / "x.safetensors", progress=lines.append)
    first, second = (float(line.split()[-1]) for line in lines if line.startswith("step"))
    assert second < 0.9 * first


def test_the_loss_sees_relief_and_little_of_scale_and_shift():
    target = torch.rand(2, 1, 32, 48, generator=torch.Generator().manual_seed(0))
    assert depth_loss(target, target) < 0.005
    halved = 0.5 * target + 0.2
    assert depth_loss(halved, target) - depth_loss(halved, target, relief=0.0) < 0.01
    assert torch.equal(depth_loss(halved, target, relief=0.0), (halved - target).abs().mean())
    assert depth_loss(1 - target, target) > 0.3
    flat = torch.full_like(target, 0.4)
    assert torch.isfinite(depth_loss(flat, flat))
    flat.requires_grad_()
    depth_loss(flat, target).backward()
    assert torch.isfinite(flat.grad).all()


def test_augmentation_moves_photo_and_disparity_alike():
    """A photo that shows its own disparity still does so after cropping, rolling and flipping."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(0, 1, 96).expand(64, 96) * 0.5 + torch.linspace(0, 0.5, 64)[:, None]
    photos = (255 * ramp).round().to(torch.uint8).expand(6, 3, 64, 96)
    images, disparity = augment(photos, ramp.half().expand(6, 1, 64, 96), crop_hw=(32, 64), generator=generator)
    assert images.shape == (6, 3, 32, 64) and disparity.shape == (6, 1, 16, 32)
    assert torch.allclose(disparity.amin((1, 2, 3)), torch.zeros(6)) and torch.allclose(
        disparity.amax((1, 2, 3)), torch.ones(6)
    )
    small = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), 2)
    for image, truth in zip(small, disparity, strict=True):
        assert torch.corrcoef(torch.stack([image.flatten(), truth.flatten()]))[0, 1] > 0.95


def test_a_wrong_word_is_a_usage_error():
    with pytest.raises(UsageError, match="out=FILE"):
        main(["scenes=3"])
    with pytest.raises(UsageError):
        main(["out=x", "seeds=3"])
