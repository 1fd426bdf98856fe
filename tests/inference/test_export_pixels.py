"""`depthbox export` of a class for every pixel: the graph labels as the model does, for any batch and size, or nothing is written."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from command_line import depthbox

from depthbox.inference import export
from depthbox.inference.check_pixels import compared_pixels
from depthbox.inference.export import onnx_runner
from depthbox.inference.opened import open_model
from depthbox.inference.predictor import network_of
from depthbox.models.config import DenseModelConfig, InferenceConfig
from depthbox.models.dense_head import build_dense
from depthbox.models.traceable import traceable


def batches(*sizes: tuple[int, int]) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(number, 3, *size, generator=rng) for number, size in enumerate(sizes, start=1)]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_onnxruntime_labels_as_the_model_does_for_every_batch_and_size(pixels: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.onnx"
    answer = depthbox("export", pixels, "--format", "onnx", "--out", out, "licence=CC0-1.0", "--json")
    assert answer.status == 0, answer.err
    assert answer.json["mask_iou"] >= 0.999 and "mean IoU of the label maps" in answer.json["agreement"]
    opened = open_model(str(pixels))
    found = compared_pixels(onnx_runner(out), network_of(opened), batches((64, 96), (96, 64), (128, 256)))
    assert found.mask_iou >= 0.999 and found.logit_difference < 1e-3, found.in_words()
    graph = onnx.load(out)
    assert [one.name for one in graph.graph.output] == ["logits"]
    said = {one.key: json.loads(one.value) for one in graph.metadata_props if one.key in ("classes", "category_ids")}
    assert said == {"classes": ["red", "green", "blue"], "category_ids": [10, 20, 30]}
    card = out.with_name("model.onnx.md").read_text()
    for text in ("Semantic segmentation (red, green, blue)", "CC0-1.0", "miou", "red (10), green (20)", '(logits,) = session.run(None, {"images"'):  # fmt: skip
        assert text in card, text
    assert "boxes" not in card and "COCO" not in card


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pt2_is_the_same_program(pixels: Path, tmp_path: Path) -> None:
    answer = depthbox("export", pixels, "--format", "pt2", "--out", tmp_path / "m.pt2", "--json")
    assert answer.status == 0, answer.err
    program = torch.export.load(tmp_path / "m.pt2").module()  # our own file, made a line above
    found = compared_pixels(program, network_of(open_model(str(pixels))), batches((160, 192), (224, 160)))
    assert min(found.mask_iou, answer.json["mask_iou"]) >= 0.999


@pytest.mark.parametrize("settings", [{}, {"context": "aspp", "dilated": True, "backbone": "mobilenetv2_035"}])
def test_the_traceable_form_is_the_model_without_what_only_depth_needs(settings: dict) -> None:
    own = {"backbone": "test_efficientnet", "weights": "none", "width": 8, "pose_weights": "none"}
    config = DenseModelConfig(multi_task=True, **{**own, "pose_backbone": "test_efficientnet", **settings})
    model = build_dense(config, classes=4).eval()
    graph = traceable(model, InferenceConfig())
    (images,) = batches((64, 96))
    with torch.no_grad():
        torch.testing.assert_close(graph(images)[0], model.class_logits(images))
    assert hasattr(model, "pose_backbone") and not any("pose" in name for name, _ in graph.named_parameters())


def test_a_graph_that_labels_otherwise_is_not_written(
    pixels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shifted(model, inference, file, said):
        file.write_bytes(b"a graph that is wrong")
        return lambda images: (traceable(model, inference)(images)[0].roll(2, -1),)

    monkeypatch.setitem(export.FORMATS, "pt2", shifted)
    answer = depthbox("export", pixels, "--format", "pt2", "--out", tmp_path / "m.pt2")
    assert answer.status == 1 and "the exported masks differ from the model's: mean IoU" in answer.fault
    assert not list(tmp_path.iterdir())


def test_settings_of_objects_are_refused(pixels: Path, tmp_path: Path) -> None:
    answer = depthbox("export", pixels, "--format", "onnx", "--out", tmp_path / "m.onnx", "inference.top=5")
    assert answer.status == 2 and "inference.top= has no effect" in answer.fault
    assert not list(tmp_path.iterdir())


def test_agreement_counts_every_class_alike() -> None:
    """A small class that is lost is no rounding: two classes of three agree."""
    model = build_dense(DenseModelConfig(backbone="test_efficientnet", weights="none", width=8), classes=3).eval()
    wanted = torch.zeros(1, 3, 32, 32)
    wanted[:, 0] = 1
    wanted[:, 1, 16:] = 2
    wanted[:, 2, 31, 28:] = 3
    model.class_logits = lambda images: wanted
    lost = wanted.clone()
    lost[:, 2] = 0
    found = compared_pixels(lambda images: (lost,), model, [torch.zeros(1, 3, 32, 32)])
    assert not found.holds and found.mask_iou == pytest.approx((1 + 508 / 512 + 0) / 3)
    assert found.pixels == pytest.approx(1 - 4 / 1024) and found.logit_difference == 3
    assert compared_pixels(lambda images: (wanted,), model, [torch.zeros(1, 3, 32, 32)]).holds
