"""`depthbox export`: the graph says what the model says, for any batch and size, or nothing is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from command_line import depthbox
from hypothesis import given, settings
from hypothesis import strategies as st
from query_network import query_network
from torchvision.ops import batched_nms

from depthbox.core.config import vary
from depthbox.inference import export
from depthbox.inference.check import compared, from_graph
from depthbox.inference.export import exported_inference, least_side, onnx_runner
from depthbox.inference.opened import open_model
from depthbox.inference.predictor import network_of
from depthbox.models.config import InferenceConfig, ModelConfig
from depthbox.models.predict import ImagePredictions, predict
from depthbox.models.segmenter import build
from depthbox.models.suppression import box_overlap, not_suppressed
from depthbox.models.traceable import traceable


@pytest.fixture(scope="module", params=["trained", "queries"])
def model(request: pytest.FixtureRequest) -> Path:
    """A run of each head."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "model.onnx"
    answer = depthbox(
        "export",
        model,
        "--format",
        "onnx",
        "--out",
        out,
        "licence=CC0-1.0",
        "inference.score_threshold=0.01",
        "--json",
    )
    assert answer.status == 0, answer.err
    assert answer.json["mask_iou"] >= 0.999 and answer.json["out"] == str(out)
    return out


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_onnxruntime_says_what_the_model_says_for_every_batch_and_size(exported: Path, model: Path) -> None:
    opened = open_model(str(model))
    inference = exported_inference(InferenceConfig(score_threshold=0.01))
    rng = torch.Generator().manual_seed(0)
    sizes = ((64, 96), (64, 96), (64, 96), (96, 64), (128, 256), (70, 90))
    images = [torch.rand(3, *size, generator=rng) for size in 2 * sizes]
    found = compared(onnx_runner(exported), network_of(opened), inference, images)
    assert found.objects > 20 and found.missing == 0
    assert found.mask_iou >= 0.999 and found.score_difference < 1e-3, found.in_words()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_file_and_its_card_say_what_it_is(exported: Path, model: Path) -> None:
    said = {one.key: one.value for one in onnx.load(exported).metadata_props}
    assert json.loads(said["classes"]) == ["ellipse", "box"] and json.loads(said["category_ids"]) == [3, 7]
    card = exported.with_name("model.onnx.md").read_text()
    opened = open_model(str(model))
    for text in (
        "CC0-1.0",
        opened.digest,
        opened.said["data_digest"],
        "mask_ap",
        f"{opened.said['settings']['schedule.steps']} steps of 4 images",
        "ellipse (3), box (7)",
        "onnxruntime.InferenceSession",
    ):
        assert str(text) in card, text


@pytest.mark.parametrize("head", ["condinst", "depth_guided"])
@pytest.mark.parametrize("stride", [4, 8])
def test_the_traceable_form_is_the_model(head: str, stride: int) -> None:
    torch.manual_seed(1)
    config = ModelConfig(
        backbone="mobilenetv2_035",
        weights="none",
        channels=32,
        head_depth=1,
        mask_width=16,
        mask_head=head,
        mask_feature_stride=stride,
    )
    model = build(config, classes=3).eval()
    torch.nn.init.normal_(model.detector.classify.weight, std=0.3)
    torch.nn.init.normal_(model.detector.box.weight, std=0.1)
    torch.nn.init.normal_(model.controller.conv.weight, std=0.2)
    images, inference = (
        torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0)),
        InferenceConfig(score_threshold=0.01),
    )
    with torch.no_grad():
        graph = from_graph(traceable(model, inference)(images))
    for one, other in zip(predict(model, images, config=inference), graph, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize(("start", "deformable"), [("learned", 0), ("picked", 0), ("learned", 1)])
@pytest.mark.parametrize("mask_nms_iou", [1.0, 0.6])
def test_the_traceable_form_is_the_model_of_queries(start: str, deformable: int, mask_nms_iou: float) -> None:
    """Also where a photo is padded: the graph sees by itself what is padding."""
    model = query_network(**{"query.start": start, "query.deformable": deformable}).eval()
    images = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    valid = torch.ones(3, 64, 96, dtype=torch.bool)
    images[1, :, :, 50:], valid[1, :, 50:] = 0, False
    images[2, :, 40:], valid[2, 40:] = 0, False
    inference = InferenceConfig(mask_nms_iou=mask_nms_iou, min_score=0.02, top=24)
    with torch.no_grad():
        graph = from_graph(traceable(model, inference)(images))
    whole = predict(model, images, config=replace(inference, mask_nms_iou=1.0), valid=valid)
    for one, other, every in zip(predict(model, images, config=inference, valid=valid), graph, whole, strict=True):
        assert_same(one, other)
        assert mask_nms_iou == 1 or len(one.scores) < len(every.scores)


def assert_same(one: ImagePredictions, other: ImagePredictions) -> None:
    assert len(one.scores) == len(other.scores) > 1
    torch.testing.assert_close(one.scores, other.scores)
    torch.testing.assert_close(one.boxes_xyxy, other.boxes_xyxy, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(one.masks, other.masks, rtol=1e-3, atol=1e-4)
    assert torch.equal(one.labels, other.labels)


def test_a_graph_with_picked_queries_has_a_cell_for_each() -> None:
    dynamic, picked = ModelConfig(), vary(ModelConfig(head="query"), {"query.start": "picked"})
    assert [least_side("onnx", model) for model in (dynamic, picked)] == [64, 96]
    assert least_side("onnx", vary(picked, {"query.queries": 300})) == 160 == least_side("pt2", picked)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0.3, 0.6]))
def test_suppression_by_rounds_is_suppression_one_by_one(seed: int, count: int, iou: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, generator=rng) * 40
    boxes = torch.cat((corners, corners + 5 + 20 * torch.rand(count, 2, generator=rng)), 1)
    labels, scores = (
        torch.randint(0, 2, (count,), generator=rng),
        torch.rand(count, generator=rng).sort(descending=True).values,
    )
    kept = not_suppressed(box_overlap(boxes[None]), labels[None], scores[None], iou)[0].nonzero()[:, 0]
    assert kept.tolist() == sorted(batched_nms(boxes, scores, labels, iou).tolist())


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pt2_is_the_same_program(model: Path, tmp_path: Path) -> None:
    words = [
        "export",
        model,
        "--format",
        "pt2",
        "--out",
        tmp_path / "m.pt2",
        "inference.score_threshold=0.01",
        "--json",
    ]
    answer = depthbox(*words)
    assert answer.status == 0, answer.err
    assert answer.json["mask_iou"] >= 0.999
    program = torch.export.load(tmp_path / "m.pt2").module()  # our own file, made a line above
    images = [
        torch.rand(3, *size, generator=torch.Generator().manual_seed(2))
        for size in ((160, 192), (160, 192), (224, 160))
    ]
    found = compared(
        program, network_of(open_model(str(model))), exported_inference(InferenceConfig(score_threshold=0.01)), images
    )
    assert found.objects and not found.missing and found.mask_iou >= 0.999


def test_safetensors_are_enough_to_predict_and_to_export_again(trained: Path, data: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    answer = depthbox("export", run, "--format", "safetensors", "--json")
    assert answer.status == 0, answer.err
    file = run / "export" / "model.safetensors"
    assert answer.json["out"] == str(file) and answer.json["mask_iou"] is None
    first, again = open_model(str(trained)), open_model(str(file))
    assert (first.classes, first.category_ids, first.views, first.inference, first.model) == (
        again.classes,
        again.category_ids,
        again.views,
        again.inference,
        again.model,
    )
    assert first.said["scores"] == again.said["scores"]
    for place, out in ((trained, "a"), (file, "b")):
        assert (
            depthbox(
                "predict", place, data / "val", "--out", tmp_path / out, "overlays=no", "device=cpu", "score=0.01"
            ).status
            == 0
        )
    assert (tmp_path / "a/detections.json").read_text() == (tmp_path / "b/detections.json").read_text()


def test_a_graph_that_differs_is_not_written(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(model, inference, file, said):
        file.write_bytes(b"a graph that is wrong")
        graph = traceable(model, inference)

        def run(images):
            boxes, scores, labels, masks = graph(images)
            return boxes, scores, labels, masks.roll(1, -1)

        return run

    monkeypatch.setitem(export.FORMATS, "pt2", shifted)
    answer = depthbox(
        "export", trained, "--format", "pt2", "--out", tmp_path / "m.pt2", "inference.score_threshold=0.01"
    )
    assert answer.status == 1 and "the exported masks differ from the model's" in answer.fault
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["{run}"], 2, "which format? depthbox export MODEL --format {{onnx|pt2|safetensors}}"),
        (["{run}", "--format", "tflite"], 2, "--format tflite: no such format"),
        (["--format", "onnx"], 2, "which model?"),
        (["{run}", "--format", "onnx", "--out", "{out}/m.pt2"], 2, "the file ends in .onnx"),
        (["{nowhere}", "--format", "onnx"], 1, "there is no such folder"),
        (["{run}", "--format", "pt2", "--out", "{out}/m.pt2", "--images", "{nowhere}"], 1, "no such folder"),
        (
            ["{run}", "--format", "pt2", "--out", "{out}/m.pt2", "inference.score_threshold=0.999"],
            1,
            "finds nothing in the 6 photos",
        ),
    ],
)
def test_bad_words_and_places_are_one_line(
    words: list[str], status: int, said: str, trained: Path, tmp_path: Path
) -> None:
    answer = depthbox(
        "export", *(word.format(run=trained, out=tmp_path, nowhere=tmp_path / "nowhere") for word in words)
    )
    assert (answer.status, said.format() in answer.fault) == (status, True), answer.fault
    assert not list(tmp_path.iterdir())


def test_without_onnx_it_is_said_how_to_get_it(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    answer = depthbox("export", trained, "--format", "onnx", "--out", tmp_path / "m.onnx")
    assert answer.status == 1 and "pip install 'depthbox[export]'" in answer.fault
