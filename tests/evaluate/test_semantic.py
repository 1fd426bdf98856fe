"""mIoU and its kin: the published implementation's numbers, what IGNORE and absent classes do, windows, ranks, the photo's own size."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_values import golden_values
from PIL import Image
from tiny_semantic import CLASSES, write_tiny_semantic
from torch import Tensor
from two_ranks import found_by_rank, found_by_two

from depthbox.core.errors import UsageError
from depthbox.data.label_table import read_table
from depthbox.data.semantic import SemanticData, read_semantic
from depthbox.evaluate import semantic
from depthbox.evaluate.semantic import confusion, evaluate_semantic, likeliest, semantic_scores, sliding


def test_the_published_numbers(shared: Path):
    golden = golden_values(shared, "losses_metric", folder="self_supervised_depth")
    truth = torch.where(golden["ce_labels"] == 250, 255, golden["ce_labels"]).numpy()
    matrix = confusion(golden["pred"].numpy(), truth, 5)
    assert np.array_equal(matrix, golden["confusion"].numpy())
    found = semantic_scores(matrix, list("abcde"))
    names = {"miou": "miou", "mean_accuracy": "macc", "pixel_accuracy": "oacc", "weighted_iou": "fwiou"}
    assert {name: found[name] for name in names} == pytest.approx(
        {n: float(golden[g]) for n, g in names.items()}, abs=1e-5
    )
    assert [found[f"iou/{c}"] for c in "abcde"] == pytest.approx(golden["class_iou"].tolist(), abs=1e-5)


def test_a_class_that_is_nowhere_is_no_part_of_the_mean_and_one_that_is_only_predicted_is_zero():
    truth = np.array([0, 0, 0, 1, 255])
    absent = semantic_scores(confusion(np.array([0, 0, 1, 1, 2]), truth, 3), ["a", "b", "c"])
    assert np.isnan(absent["iou/c"]) and absent["miou"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    predicted = semantic_scores(confusion(np.array([0, 0, 2, 1, 2]), truth, 3), ["a", "b", "c"])
    assert predicted["iou/c"] == 0 and predicted["miou"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert predicted["mean_accuracy"] == pytest.approx((2 / 3 + 1) / 2)


def test_nothing_labelled_is_not_a_number():
    found = semantic_scores(confusion(np.array([0]), np.array([255]), 2), ["a", "b"])
    assert all(np.isnan(value) for value in found.values())


def by_place(images: Tensor) -> Tensor:
    """Logits that say what the first two channels hold, at stride 4."""
    return torch.nn.functional.avg_pool2d(images[:, :2], 4)


def test_windows_see_every_pixel_and_change_nothing_for_a_network_that_looks_at_one_place():
    images = torch.nn.functional.interpolate(torch.rand(2, 3, 24, 40), scale_factor=4, mode="nearest")
    seen: list[tuple[int, ...]] = []

    def network(part: Tensor) -> Tensor:
        seen.append(tuple(part.shape[-2:]))
        return part[:, :2]

    whole = sliding(network, images, window=64, stride=32)
    torch.testing.assert_close(whole, images[:, :2])
    assert set(seen) == {(64, 64)} and len(seen) == 2 * 4
    assert sliding(network, images[..., :32, :32], window=64).shape == (2, 2, 32, 32)
    with pytest.raises(UsageError, match="multiple of 32"):
        sliding(network, images, window=50)


@pytest.fixture
def data(tmp_path: Path) -> SemanticData:
    return read_tiny(write_tiny_semantic(tmp_path / "data", photos=5, size_hw=(50, 70)))


def read_tiny(folder: Path) -> SemanticData:
    return read_semantic(
        folder, images="photos", labels="labels", table=read_table("table.json", folder), needs_all=True
    )


def of_colour(images: Tensor) -> Tensor:
    """The tiny data's truth can be read off its colours."""
    return torch.stack([images[:, c] for c in range(len(CLASSES))], 1)


def test_a_perfect_network_is_scored_at_the_size_of_the_photo(data: SemanticData):
    assert evaluate_semantic(of_colour, data, short_side=None).values["miou"] == 1
    half = evaluate_semantic(of_colour, data, short_side=25).values["miou"]
    assert 0.8 < half < 1
    assert evaluate_semantic(of_colour, data, short_side=None, window=32).values["miou"] == 1


def test_a_photo_that_cannot_be_read_is_named_and_not_scored(data: SemanticData):
    Path(data.records[2].path).write_bytes(b"nothing")
    found = evaluate_semantic(of_colour, data, short_side=None)
    assert found.values["miou"] == 1 and data.records[2].path in found.note and "1 of 5" in found.note


def test_a_map_with_an_id_that_no_table_knows_is_said_and_not_scored(data: SemanticData):
    path = data.records[1].label_path
    Image.fromarray(np.full((50, 70), 99, np.uint8)).save(path)
    found = evaluate_semantic(of_colour, data, short_side=None)
    assert found.values["miou"] == 1 and f"1 of 5 photos were not scored, such as {path}: id 99" in found.note


def scores_of(folder: Path) -> dict[str, float]:
    return evaluate_semantic(by_place, read_tiny(folder), short_side=32).values


def test_two_ranks_get_the_scores_of_one(data: SemanticData, tmp_path: Path):
    alone = scores_of(tmp_path / "data")
    assert 0.3 < alone["miou"] < 1
    assert found_by_two(__file__, lambda _: scores_of(tmp_path / "data"), tmp_path) == [pytest.approx(alone)] * 2


if __name__ == "__main__":
    place = Path(sys.argv[1])
    found_by_rank(lambda _: scores_of(place / "data"), 0, place)


@pytest.mark.parametrize("numbers", [1 << 24, 5000, 1])
@pytest.mark.parametrize(("seen", "full"), [((12, 20), (48, 77)), ((48, 64), (48, 64)), ((40, 30), (17, 11))])
def test_bands_of_rows_are_the_whole_photo(numbers: int, seen: tuple, full: tuple, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(semantic, "BAND", numbers)
    logits = torch.randn(5, *seen, generator=torch.Generator().manual_seed(0))
    whole = torch.nn.functional.interpolate(logits[None], size=full, mode="bilinear", align_corners=False)
    assert torch.equal(likeliest(logits, full).long(), whole[0].argmax(0))
