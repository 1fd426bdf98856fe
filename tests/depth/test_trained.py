"""A run on video as `depth.source=run:FOLDER`: maps of the photo's aspect, a digest of the weights, words where there is no such model."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from depthbox.core.config import flatten
from depthbox.core.errors import InputError
from depthbox.depth.estimator import build_estimator, checked
from depthbox.depth.quality import evaluate_depth
from depthbox.depth.trained import SDE_NOTE, TrainedDepth
from depthbox.models.config import SdeModelConfig
from depthbox.models.sde_net import build_sde

SMALL = SdeModelConfig(backbone="test_efficientnet", weights="none", pose_backbone="test_efficientnet", pose_weights="none", width=8)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    note = {
        "model": json.dumps(flatten(SMALL)),
        SDE_NOTE: json.dumps({"short_side": 64, "nearest": 0.1, "farthest": 100}),
    }
    network = build_sde(SMALL)
    torch.nn.init.normal_(network.decoder.heads[-1].weight, std=0.02)  # untrained, it sees no relief at all
    save_file(network.state_dict(), tmp_path / "model.safetensors", metadata=note)
    return tmp_path


def photo(*size_hw: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (*size_hw, 3), dtype=np.uint8)


@pytest.mark.parametrize("size_hw", [(64, 96), (100, 75), (90, 700), (20, 20)])
def test_a_map_has_the_photo_s_aspect(folder: Path, size_hw: tuple[int, int]):
    estimator = build_estimator(f"run:{folder}")
    assert estimator is not None and estimator.cached and estimator.name == f"run:{folder}"
    image = photo(*size_hw)
    (found,) = estimator.disparity([image], [""])
    checked(found, image, path="", estimator="")
    assert found.min() == 0 and found.max() == 1


def test_a_mirror_image_has_the_mirrored_map(folder: Path):
    image, depth = photo(64, 96), TrainedDepth(folder)
    found = depth.inverse_depth(image)
    assert np.ptp(found) > 0
    np.testing.assert_allclose(depth.inverse_depth(image[:, ::-1].copy()), found[:, ::-1], rtol=1e-4)


def test_the_digest_is_that_of_the_weights(folder: Path):
    before = TrainedDepth(folder).digest
    assert TrainedDepth(folder / "model.safetensors").digest == before
    note = {
        "model": json.dumps(flatten(SMALL)),
        SDE_NOTE: json.dumps({"short_side": 96, "nearest": 0.1, "farthest": 100}),
    }
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata=note)
    assert TrainedDepth(folder).digest != before


def test_median_scaling_meets_the_depth_that_was_predicted(folder: Path, tmp_path: Path):
    """Disparity has lost where zero is; the network's own inverse depth is right up to a factor."""
    from PIL import Image

    image = photo(64, 96)
    inverse = TrainedDepth(folder).inverse_depth(image)
    Image.fromarray(image).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", 7 / inverse)
    scores = evaluate_depth(
        TrainedDepth(folder), [str(tmp_path / "a.png")], [str(tmp_path / "a.npy")], kind="depth_m", alignment="median"
    )
    assert scores["estimator"]["abs_rel"] < 1e-3 and scores["estimator"]["spearman"] > 0.999


def test_words_where_there_is_no_depth_network(folder: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no trained model"):
        TrainedDepth(tmp_path / "nothing")
    (tmp_path / "running" / "checkpoints").mkdir(parents=True)
    with pytest.raises(InputError, match="the run has not finished"):
        TrainedDepth(tmp_path / "running")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"classes": "[]"})
    with pytest.raises(InputError, match="the model of another method"):
        TrainedDepth(tmp_path / "other.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"{}")
    with pytest.raises(InputError, match="cannot be read"):
        TrainedDepth(tmp_path / "bad.safetensors")
