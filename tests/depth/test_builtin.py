"""The shipped depth network: small, repeatable, right about a rendered scene, and a start for a backbone."""

import json
import pickle

import numpy as np
import pytest
import torch

from depthbox.core.errors import InputError
from depthbox.depth.builtin import BuiltinDepth
from depthbox.depth.estimator import build_estimator, checked
from depthbox.models.depth_net import (
    BUILTIN_WEIGHTS,
    DepthNetwork,
    NetworkNote,
    builtin_encoder_state,
    load_network,
    save_network,
)


@pytest.fixture(scope="module")
def estimator() -> BuiltinDepth:
    return BuiltinDepth()


@pytest.fixture(scope="module")
def scenes():
    from depthbox.data.scene_layout import WIDE
    from depthbox.data.scenes import render_scene

    return [render_scene("held-out", index, seed=7, size_hw=(144, 192), style=WIDE) for index in range(12)]


def note(**changes) -> NetworkNote:
    fields = {"encoder": "mobilenetv2_050", "input_short_side": 64, "mean": (0.5,) * 3, "std": (0.2,) * 3}
    return NetworkNote(**fields | {"command": "none", "scenes": 0, "steps": 0, "seed": 0} | changes)


def resized(disparity: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(disparity)[None, None]
    return torch.nn.functional.interpolate(tensor, size=size_hw, mode="bilinear")[0, 0].numpy()


def test_the_file_is_small_and_says_how_it_was_made():
    assert BUILTIN_WEIGHTS.stat().st_size <= 4_000_000
    network, written = load_network(BUILTIN_WEIGHTS)
    assert written.encoder == "mobilenetv2_100" and written.input_short_side % 32 == 0
    assert written.command.startswith("python -m depthbox.train.builtin_depth")
    assert all(torch.isfinite(p).all() for p in network.parameters())


def test_it_keeps_the_estimator_convention(estimator):
    sizes = [(60, 90, 3), (45, 45, 3), (300, 200, 3), (20, 400, 3)]
    photos = [np.random.default_rng(i).integers(0, 256, size, np.uint8) for i, size in enumerate(sizes)]
    results = estimator.disparity(photos, [""] * 4)
    for photo, result in zip(photos, results, strict=True):
        assert checked(result, photo, path="photo", estimator=estimator.name).dtype == np.float32
        assert (result.min(), result.max()) == (0, 1)
    assert [r.shape for r in results] == [(192, 288), (192, 192), (288, 192), (38, 768)]
    assert estimator.disparity([], []) == []


def test_a_photo_has_one_disparity_alone_or_in_company_and_after_pickling(estimator, scenes):
    photos = [s.image for s in scenes[:3]]
    together = estimator.disparity(photos, [""] * 3)
    again = pickle.loads(pickle.dumps(BuiltinDepth()))
    assert again.digest == estimator.digest and len(estimator.digest) == 64
    for photo, result in zip(photos, together, strict=True):
        assert np.array_equal(again.disparity([photo], [""])[0], result)


def test_it_knows_more_about_unseen_scenes_than_lower_is_nearer(estimator, scenes):
    correlation, prior = [], []
    for scene, result in zip(scenes, estimator.disparity([s.image for s in scenes], [""] * 12), strict=True):
        truth = scene.disparity()
        rows = np.broadcast_to(np.linspace(0, 1, truth.shape[0])[:, None], truth.shape)
        correlation.append(np.corrcoef(truth.ravel(), resized(result, truth.shape).ravel())[0, 1])
        prior.append(np.corrcoef(truth.ravel(), rows.ravel())[0, 1])
    assert np.mean(correlation) > 0.9
    assert np.mean(correlation) > np.mean(prior) + 0.05


def test_the_encoder_starts_a_timm_backbone():
    import timm

    name, state = builtin_encoder_state()
    backbone = timm.create_model(name, features_only=True, pretrained=False, pad_type="same").eval()
    backbone.load_state_dict(state)
    image = torch.rand(1, 3, 64, 96)
    with torch.inference_mode():
        expected = load_network(BUILTIN_WEIGHTS)[0].encoder(image)
        assert all(torch.equal(a, b) for a, b in zip(backbone(image), expected, strict=True))


def test_weights_survive_a_round_trip_in_equal_bytes(tmp_path):
    network = DepthNetwork("mobilenetv2_050")
    save_network(network, note(), tmp_path / "a.safetensors")
    loaded, written = load_network(tmp_path / "a.safetensors")
    assert written == note()
    save_network(loaded, written, tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_digest_follows_the_weights(tmp_path, estimator):
    save_network(DepthNetwork("mobilenetv2_050"), note(), tmp_path / "other.safetensors")
    assert BuiltinDepth(weights=tmp_path / "other.safetensors").digest != estimator.digest
    assert build_estimator("builtin").digest == estimator.digest


def test_foreign_files_are_refused_in_words(tmp_path):
    from safetensors.torch import save_file

    for opened in (load_network, lambda path: BuiltinDepth(weights=path)):
        with pytest.raises(InputError, match=r"missing.safetensors.*cannot be read"):
            opened(tmp_path / "missing.safetensors")
    (tmp_path / "torn.safetensors").write_bytes(BUILTIN_WEIGHTS.read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read"):
        load_network(tmp_path / "torn.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "plain.safetensors")
    with pytest.raises(InputError, match="not a depth network"):
        load_network(tmp_path / "plain.safetensors")
    from dataclasses import asdict

    save_file({"x": torch.zeros(1)}, tmp_path / "misfit.safetensors", metadata={"depthbox": json.dumps(asdict(note()))})
    with pytest.raises(InputError, match="does not fit"):
        load_network(tmp_path / "misfit.safetensors")
