import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from depthbox.core.errors import InputError
from depthbox.depth.estimator import build_estimator, checked
from depthbox.depth.pretrained import PretrainedDepth

torch.set_num_threads(1)

BACKBONE = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
NECK = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}


def _depth_anything(kind="relative"):
    from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation, Dinov2Config

    backbone = Dinov2Config(**BACKBONE, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True)
    options = {"depth_estimation_type": kind, "max_depth": 20, "reassemble_hidden_size": 16, "head_hidden_size": 8}
    return DepthAnythingForDepthEstimation(DepthAnythingConfig(backbone_config=backbone, **options, **NECK))


def _dpt():
    from transformers import DPTConfig, DPTForDepthEstimation

    layers = {"num_hidden_layers": 4, "backbone_out_indices": [0, 1, 2, 3], "intermediate_size": 32}
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "image_size": 32, "patch_size": 16}
    return DPTForDepthEstimation(DPTConfig(**layers, **sizes, **NECK, is_hybrid=False))


def _dpt_on_dinov2():
    from transformers import Dinov2Config, DPTConfig, DPTForDepthEstimation

    sizes = {"image_size": 64, "patch_size": 16}
    backbone = Dinov2Config(**BACKBONE | sizes, out_indices=[1, 2, 3, 4], reshape_hidden_states=False)
    return DPTForDepthEstimation(
        DPTConfig(backbone_config=backbone, add_projection=True, **NECK | {"fusion_hidden_size": 256})
    )


def _saved(network, folder: Path) -> Path:
    """Random weights, with the last convolution made positive: the ReLU after it would leave nothing to see."""
    with torch.no_grad():
        for name, values in network.named_parameters():
            if name.startswith("head."):
                values.mul_(8)
            if name.startswith("head.") and len(values) == 1:
                values.abs_()
    network.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("networks")
    made = {"da": _depth_anything(), "dpt": _dpt(), "metric": _depth_anything("metric"), "dinov2": _dpt_on_dinov2()}
    from transformers import DPTImageProcessor

    DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True).save_pretrained(
        root / "da"
    )
    return {name: _saved(network, root / name) for name, network in made.items()}


@pytest.fixture
def copy(folders, tmp_path):
    return Path(shutil.copytree(folders["da"], tmp_path / "copy"))


def _photos():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size_hw, 3), dtype=np.uint8) for size_hw in [(48, 64), (70, 50), (64, 64)]]


def _raw(folder, image):
    """The network's own output, without any code of depthbox, at the size it was made."""
    estimator = PretrainedDepth(str(folder))
    processor, network = estimator._loaded
    with torch.inference_mode():
        pixels = processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        return network(**pixels).predicted_depth[0].numpy()


@pytest.mark.parametrize("name", ["da", "dpt", "metric", "dinov2"])
def test_photos_of_any_size_give_checked_maps_of_their_size(folders, name):
    estimator = build_estimator(f"hf:{folders[name]}")
    assert estimator.cached
    for image, values in zip(_photos(), estimator.disparity(_photos(), ["a", "b", "c"]), strict=True):
        assert checked(values, image, path="a", estimator=estimator.name).shape == image.shape[:2]
        assert (values.min(), values.max()) == (0, 1)


@pytest.mark.parametrize(("name", "sign"), [("da", 1), ("dpt", 1), ("metric", -1), ("dinov2", -1)])
def test_nearest_is_one_whatever_the_network_means(folders, name, sign):
    side = {"dpt": 32, "dinov2": 64}.get(name, 56)  # nothing is resized, so pixels can be compared
    image = np.random.default_rng(1).integers(0, 255, (side, side, 3), dtype=np.uint8)
    raw = _raw(folders[name], image)
    (disparity,) = PretrainedDepth(str(folders[name])).disparity([image], ["a"])
    assert raw.shape == disparity.shape
    assert sign * spearmanr(disparity.ravel(), raw.ravel()).statistic > 0.99


def test_a_map_does_not_depend_on_its_neighbours(folders):
    estimator = PretrainedDepth(str(folders["da"]))
    together = estimator.disparity(_photos(), ["a", "b", "c"])
    alone = [estimator.disparity([image], ["a"])[0] for image in _photos()]
    assert all(np.array_equal(a, b) for a, b in zip(together, alone, strict=True))


def test_the_digest_covers_weights_configuration_and_input_size(copy):
    first = PretrainedDepth(str(copy)).digest
    assert PretrainedDepth(str(copy)).digest == first
    digests = {first}
    for change in (_change_input_size, _change_weights, _change_configuration):
        change(copy)
        digests.add(PretrainedDepth(str(copy)).digest)
    assert len(digests) == 4


def _change_input_size(folder):
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"height": 28, "width": 28}}))


def _change_weights(folder):
    data = bytearray((folder / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (folder / "model.safetensors").write_bytes(bytes(data))


def _change_configuration(folder):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depth_estimation_type": "metric"}))


def test_a_network_is_not_loaded_before_the_first_photo(copy):
    assert "_loaded" not in vars(PretrainedDepth(str(copy)))


# What is refused ------------------------------------------------------------------------------------------------------


class _Payload:
    def __init__(self, witness):
        self.witness = witness

    def __reduce__(self):
        return (Path.touch, (self.witness,))


def test_pickled_weights_are_refused_and_nothing_is_executed(copy, tmp_path):
    witness = tmp_path / "executed"
    (copy / "model.safetensors").unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload(witness)))
    with pytest.raises(InputError, match=r"pickle \(pytorch_model\.bin\).*nothing was executed"):
        build_estimator(f"hf:{copy}")
    assert not witness.exists()


def test_a_pickle_under_a_safe_name_is_refused_and_nothing_is_executed(copy, tmp_path):
    witness = tmp_path / "executed"
    (copy / "model.safetensors").write_bytes(pickle.dumps(_Payload(witness)))
    with pytest.raises(InputError, match="no safetensors file"):
        build_estimator(f"hf:{copy}")
    assert not witness.exists()


def test_a_pickle_beside_safetensors_is_left_alone(copy, tmp_path):
    witness = tmp_path / "executed"
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(_Payload(witness)))
    build_estimator(f"hf:{copy}").disparity(_photos()[:1], ["a"])
    assert not witness.exists()


def test_an_index_may_not_point_elsewhere(copy):
    index = copy / "model.safetensors.index.json"
    for target, said in [("../evil.bin", "it points to"), ("model-00002.safetensors", "is missing")]:
        index.write_text(json.dumps({"weight_map": {"head.conv1.weight": target}}))
        with pytest.raises(InputError, match=said):
            build_estimator(f"hf:{copy}")


def test_code_in_a_model_folder_is_not_run(copy, tmp_path):
    witness = tmp_path / "executed"
    code = f"import pathlib; pathlib.Path({str(witness)!r}).touch()\n"
    (copy / "modeling_evil.py").write_text(code)
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModelForDepthEstimation": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
    (copy / "config.json").write_text(json.dumps(config))
    build_estimator(f"hf:{copy}").disparity(_photos()[:1], ["a"])
    assert not witness.exists()


def test_truncated_weights_are_refused(copy):
    path = copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="truncated"):
        build_estimator(f"hf:{copy}")


def test_weights_of_another_network_are_refused(copy, folders):
    shutil.copy(folders["dpt"] / "model.safetensors", copy / "model.safetensors")
    with pytest.raises(InputError, match="lack"):
        build_estimator(f"hf:{copy}").disparity(_photos()[:1], ["a"])


def test_an_unknown_model_type_is_refused_because_its_sign_is_unknown(copy):
    for content, said in [('{"model_type": "bert"}', "bert"), ("{", "JSON"), ("[]", "no JSON object")]:
        (copy / "config.json").write_text(content)
        with pytest.raises(InputError, match=said):
            build_estimator(f"hf:{copy}")


@pytest.mark.parametrize("where", ["./nowhere", "/nowhere/at/all", "a/b/c"])
def test_a_folder_that_is_not_there_is_said(where):
    with pytest.raises(InputError, match="does not exist"):
        build_estimator(f"hf:{where}")


def test_an_empty_folder_is_said(tmp_path):
    with pytest.raises(InputError, match="no config.json"):
        build_estimator(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text('{"model_type": "dpt"}')
    with pytest.raises(InputError, match="no model.safetensors"):
        build_estimator(f"hf:{tmp_path}")


def test_a_hub_name_offline_is_one_clear_error(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"neither on this machine nor to be had.*hf download someone/some-depth"):
        build_estimator("hf:someone/some-depth")


def test_a_hub_name_that_was_downloaded_needs_no_connection(monkeypatch, tmp_path, copy):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    kept = tmp_path / "models--someone--some-depth"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("0" * 40)
    shutil.copytree(copy, kept / "snapshots" / ("0" * 40))
    assert build_estimator("hf:someone/some-depth").digest == PretrainedDepth(str(copy)).digest
