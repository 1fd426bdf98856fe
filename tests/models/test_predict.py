"""From dense outputs to detections: photos alone are enough, and each image is judged by itself."""

import pytest
import torch

from depthbox.models.config import InferenceConfig, ModelConfig
from depthbox.models.predict import ImagePredictions, paste, predict
from depthbox.models.segmenter import Segmenter, build

IMAGES = torch.rand(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
EAGER = InferenceConfig(score_threshold=0.01, top=20)


def network(head: str = "depth_guided") -> Segmenter:
    """An untrained network whose scores are spread, so that some locations pass the threshold."""
    torch.manual_seed(1)
    config = ModelConfig(
        backbone="mobilenetv2_035", weights="none", channels=32, head_depth=1, mask_width=16, mask_head=head
    )
    model = build(config, classes=3).eval()
    torch.nn.init.normal_(model.detector.classify.weight, std=0.3)
    torch.nn.init.normal_(model.detector.box.weight, std=0.1)
    torch.nn.init.normal_(model.controller.conv.weight, std=0.2)
    return model


def assert_same(one: ImagePredictions, two: ImagePredictions) -> None:
    assert len(one.scores) == len(two.scores) > 3
    torch.testing.assert_close(one.scores, two.scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(one.boxes_xyxy, two.boxes_xyxy, rtol=1e-3, atol=1e-2)
    torch.testing.assert_close(one.masks, two.masks, rtol=1e-2, atol=1e-3)
    assert torch.equal(one.labels, two.labels)


@pytest.mark.parametrize("head", ["condinst", "depth_guided"])
def test_a_photo_is_all_it_takes(head):
    for found in predict(network(head), IMAGES, config=EAGER):
        n = len(found.scores)
        assert 0 < n <= EAGER.top and found.boxes_xyxy.shape == (n, 4) and found.masks.shape == (n, 16, 24)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        assert (found.masks >= 0).all() and (found.masks <= 1).all() and not found.masks.requires_grad
        assert (
            (found.boxes_xyxy >= 0).all()
            and (found.boxes_xyxy[:, 2] <= 96).all()
            and (found.boxes_xyxy[:, 3] <= 64).all()
        )
        assert set(found.labels.tolist()) <= {0, 1, 2}


def test_neither_order_nor_neighbours_matter():
    model = network()
    together, backwards = predict(model, IMAGES, config=EAGER), predict(model, IMAGES.flip(0), config=EAGER)
    for i, found in enumerate(together):
        (alone,) = predict(model, IMAGES[i : i + 1], config=EAGER)
        assert_same(found, alone)
        assert_same(found, backwards[2 - i])
        assert_same(found, predict(model, torch.stack((IMAGES[i], torch.zeros(3, 64, 96))), config=EAGER)[0])


def test_scores_are_what_the_network_says():
    """sqrt(class * quality), one class a detection, the threshold on the class."""
    model = network()
    (found,) = predict(
        model, IMAGES[:1], config=InferenceConfig(score_threshold=0.02, nms_iou=1.0, top=10**6, before_nms=10**6)
    )
    with torch.no_grad():
        dense = model(IMAGES[:1]).dense
    classes, quality = dense.class_logits[0].sigmoid(), dense.quality_logits[0].sigmoid()
    expected = (classes * quality[:, None]).sqrt()[classes > 0.02]
    torch.testing.assert_close(found.scores, expected.sort(descending=True).values)


def test_overlapping_boxes_of_one_class_are_one_detection():
    from torchvision.ops import box_iou

    for found in predict(network(), IMAGES, config=InferenceConfig(score_threshold=0.01, nms_iou=0.4)):
        overlap = box_iou(found.boxes_xyxy, found.boxes_xyxy) * (found.labels[:, None] == found.labels)
        assert overlap.fill_diagonal_(0).max() <= 0.4


def test_finding_nothing_is_an_answer():
    (found,) = predict(network(), IMAGES[:1], config=InferenceConfig(score_threshold=1.0))
    assert found.boxes_xyxy.shape == (0, 4) and len(found.scores) == len(found.labels) == len(found.masks) == 0
    assert paste(found.masks, (64, 96)).shape == (0, 64, 96)


def test_a_mask_is_pasted_onto_the_pixels_it_was_sampled_from():
    """Training samples pixel 2 of each four; pasting back must not move the mask by half a pixel, which small objects feel."""
    ys, xs = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    x, y, radius = (torch.rand(20, 1, 1, generator=torch.Generator().manual_seed(s)) for s in range(3))
    distance = 4 + 8 * radius - ((ys - 16 - 32 * y).square() + (xs - 16 - 64 * x).square()).sqrt()
    probabilities = distance.sigmoid()
    pasted = paste(probabilities[:, 2::4, 2::4], (64, 96))
    torch.testing.assert_close(pasted[:, 2::4, 2::4], probabilities[:, 2::4, 2::4])
    found, full = pasted > 0.5, distance > 0
    for axis in (xs, ys):
        shift = [(found[i] * axis).sum() / found[i].sum() - (full[i] * axis).sum() / full[i].sum() for i in range(20)]
        assert torch.stack(shift).mean().abs() < 0.1
    assert ((found & full).sum((1, 2)) / (found | full).sum((1, 2))).mean() > 0.93


def test_pasting_cuts_what_was_padded():
    assert paste(torch.rand(2, 16, 24), (61, 90)).shape == (2, 61, 90)
