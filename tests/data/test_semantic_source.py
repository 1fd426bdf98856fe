"""A pack of semantic data: photo, classes, disparity and neighbours show the same pixels, on every world size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_semantic import RENDERED, tiny_source, write_labelled_video, write_tiny_semantic

from depthbox.core.errors import InputError, UsageError
from depthbox.core.shapes import IGNORE
from depthbox.data.config import SemanticViewsConfig
from depthbox.data.intrinsics import Intrinsics
from depthbox.data.pack import unpack
from depthbox.data.semantic_source import SemanticSource
from depthbox.data.semantic_views import Crop, moved_camera
from depthbox.data.source import Packed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tiny_semantic(tmp_path, photos=4, seed=7, images="rendered", labels="rendered_labels")
    (tmp_path / "two.txt").write_text("p_01\nphotos/p_04.png\n")
    return write_tiny_semantic(tmp_path)


def packed(source: SemanticSource, step: int = 0, slots: tuple[int, ...] = (0, 1, 2, 3)) -> Packed:
    return source.pack(source.decode([step] * len(slots), list(slots)))


def by_colour(photos: torch.Tensor) -> torch.Tensor:
    """The truth of the tiny data can be read off its photos."""
    return photos.argmax(1)


def test_classes_lie_under_their_pixels_through_flip_and_crop(folder: Path):
    flips, tops = set(), set()
    source = tiny_source(folder, **{"data.views.crop": 32})
    for step in range(4):
        batch = unpack(packed(source, step))
        assert batch.semantic is not None and batch.views.weak.shape == (4, 3, 32, 32) and batch.views.valid.all()
        known = batch.semantic != IGNORE
        assert torch.equal(by_colour(batch.views.weak)[known], batch.semantic[known]) and known.float().mean() > 0.95
        flips.add(batch.views.weak[0].sum().item())
        tops.add(int((~known).sum()))
    assert len(flips) == 4 and len(tops) > 1


def test_a_scaled_view_keeps_classes_whole_and_pads_with_ignore(folder: Path):
    batch = unpack(packed(tiny_source(folder, **{"data.views.scale": "0.7,0.7"})))
    assert batch.semantic is not None and batch.semantic.shape == (4, 64, 64)
    assert (batch.semantic[:, 34:] == IGNORE).all() and not batch.views.valid[:, 34:].any()
    inside = batch.semantic[:, :34, :45]
    assert set(inside.unique().tolist()) <= {0, 1, 2, IGNORE}
    known = inside != IGNORE
    agree = (by_colour(batch.views.weak[..., :34, :45]) == inside)[known].float().mean()
    assert agree > 0.9


def test_words_and_what_an_unlabelled_photo_shows(folder: Path):
    source = tiny_source(
        folder, **{"data.train.labelled": "two.txt", "data.labelled_share": 0.25, "data.source_share": 0.5}, **RENDERED
    )
    batch = unpack(packed(source))
    assert tuple(batch.supervision) == ("labels", "none", "source", "source") and batch.semantic is not None
    assert (batch.semantic[1] == IGNORE).all() and all((batch.semantic[i] != IGNORE).any() for i in (0, 2, 3))
    names = {Path(r.path).name for r in source.data.records if r.supervision == "labels"}
    assert names == {"p_01.png", "p_04.png"}
    assert batch.image_ids[2] >= 6, "images of the source are counted on behind the target's"


def test_what_an_unlabelled_photo_is_known_to_hold_is_kept_apart(folder: Path):
    source = tiny_source(folder, **{"data.train.labelled": "two.txt", "data.labelled_share": 0.5})
    batch = unpack(packed(source))
    truth, semantic = batch.semantic_truth, batch.semantic
    assert truth is not None and semantic is not None
    known = truth != IGNORE
    assert torch.equal(by_colour(batch.views.weak)[known], truth[known]) and known.float().mean() > 0.7
    seen = semantic != IGNORE
    assert (
        torch.equal(truth[seen], semantic[seen])
        and not seen[[i for i, w in enumerate(batch.supervision) if w == "none"]].any()
    )
    for file in (folder / "labels").glob("p_0[0235].png"):  # the unlabelled ones
        file.write_bytes(b"damaged")
    damaged = unpack(packed(source))
    assert damaged.semantic_truth is not None and torch.equal(damaged.semantic_truth, damaged.semantic)
    assert torch.equal(damaged.views.weak, batch.views.weak), "the photo is whole"


def test_a_rank_s_share_is_what_the_whole_batch_has(folder: Path):
    source = tiny_source(folder, **{"data.views.crop": 32, "data.views.scale": "0.8,1.5", "data.views.jitter": 0.3})
    whole, part = packed(source, 3), packed(source, 3, (2, 3))
    for name in ("weak", "strong", "semantic"):
        assert np.array_equal(getattr(whole, name)[2:], getattr(part, name))


def test_disparity_moves_with_the_photo(folder: Path):
    source = tiny_source(folder, **{"data.views.crop": 32})
    rows = source.decode([0] * 4, [0, 1, 2, 3])
    reds = np.empty(4, object)
    reds[:] = [(image[..., 0] / 255).astype(np.float16) for image in rows["image"]]
    batch = unpack(source.pack({**rows, "disparity": reds}))
    assert batch.views.disparity is not None
    torch.testing.assert_close(batch.views.disparity[:, 0], batch.views.weak[:, 0], atol=1e-3, rtol=0)


def test_a_damaged_label_map_makes_another_photo_stand_in_and_is_named(folder: Path):
    source = tiny_source(folder)
    bad = source.data.records[int(source.plan.indices(0)[1])]
    Path(bad.label_path).write_bytes(b"")
    pack = packed(source)
    assert [path for _, path, _ in pack.outcome.bad] == [bad.label_path]
    assert bad.image_id not in pack.image_ids and pack.semantic is not None and len(pack.semantic) == 4


def test_an_id_of_no_table_that_the_first_look_missed_sets_its_photo_aside(folder: Path):
    source = tiny_source(folder)
    path = source.data.records[int(source.plan.indices(0)[0])].label_path
    Image.fromarray(np.full((48, 64), 99, np.uint8)).save(path)
    ((_, bad, reason),) = packed(source).outcome.bad
    assert bad == path and "id 99 not in the table" in reason


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_labelled_video(tmp_path / "video")


def video_source(video: Path, **settings: object) -> SemanticSource:
    named = {"data.train.images": "seq_[01]/frame_*.png", "data.train.labels": "seq_[01]/semantic_*.png", "data.gap": 1}
    return replace(tiny_source(video, **named, **{"data.views.short_side": 64}, **settings), frames_hw=(64, 96))


def test_neighbours_show_the_same_crop_with_its_camera(video: Path):
    source = video_source(video, **{"data.views.crop": 32, "data.views.flip": 1.0})
    alike, alone = 0, 0
    for step in range(3):
        pack = packed(source, step)
        assert pack.frames is not None and np.array_equal(pack.frames.plain[:, 0], pack.weak)
        for frames, camera in zip(pack.frames.plain, pack.frames.intrinsics, strict=True):
            if np.isnan(camera).any():
                alone += 1
                assert np.array_equal(frames[1], frames[0]) and np.array_equal(frames[2], frames[0])
                continue
            assert not np.array_equal(frames[1], frames[0])
            # The far wall moves one pixel a frame: to the left in the video, to the right in its mirror image.
            matches = np.array_equal(frames[1, :, :8, :-1], frames[0, :, :8, 1:])
            alike += bool(matches)
            assert camera[0] == pytest.approx(48 / 96 * 96 / 32)
    assert alone > 0 and alike > 0


def test_a_crop_moves_the_principal_point():
    camera, crop = (
        Intrinsics(fx=1.0, fy=2.0, u0=0.5, v0=0.5),
        Crop(size_hw=(64, 128), top=0, left=64, view_hw=(32, 32), flip=False),
    )
    assert moved_camera(camera, crop) == (4.0, 4.0, 0.0, 1.0)
    assert moved_camera(camera, replace(crop, flip=True)) == (4.0, 4.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"data.views.crop": 40}, "multiples of 32"),
        ({"data.labelled_share": 0.3}, "allowed are 0, 0.25"),
        ({"data.source_share": 0.5, "data.labelled_share": 0.5}, "data.source.images= and data.source.labels="),
        ({"data.pairing": "geometry"}, "there are none"),
        ({"data.classes": "shared"}, "needs a source domain"),
        ({"data.gap": 1, "data.views.crop": 64}, "a view is not padded"),
        ({"data.views.scale": "2,1"}, "least <= most"),
        ({"data.table": ""}, "data.table= is needed: camvid, cityscapes"),
    ],
)
def test_settings_that_make_no_sense(folder: Path, settings: dict[str, object], match: str):
    with pytest.raises(UsageError, match=match):
        tiny_source(folder, **settings)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"data.train.labelled": "bad.txt"}, "1 of 1 images are not in"),
        ({"data.train.labelled": "bare.txt"}, "names 1 photos without a label map: p_00.png"),
        ({"data.labelled_share": 0.5}, "there are no images without labels"),
        ({"data.val.images": "photos", "data.val.labels": "labels"}, "6 of its photos are also trained on"),
        ({"data.gap": 1}, r"no intrinsics.json in it or above it"),
        ({"data.gap": 9}, "no photo has a frame 9 before"),
    ],
)
def test_data_that_does_not_fit(folder: Path, settings: dict[str, object], match: str):
    (folder / "bad.txt").write_text("nobody\n")
    (folder / "bare.txt").write_text("p_00\n")
    if "bare.txt" in settings.values():
        (folder / "labels" / "p_00.png").unlink()
    with pytest.raises(InputError, match=match):
        tiny_source(folder, **settings)


def test_digits_name_a_photo_before_they_are_its_place(tmp_path: Path):
    write_tiny_semantic(tmp_path)
    for file in [*tmp_path.glob("*/p_*.png")]:
        file.rename(file.with_name(f"{int(file.stem[2:]) + 1:05d}.png"))
    (tmp_path / "one.txt").write_text("00003\n")
    source = tiny_source(tmp_path, **{"data.train.labelled": "one.txt", "data.labelled_share": 0.5})
    (labelled,) = [r for r in source.data.records if r.supervision == "labels"]
    assert Path(labelled.path).name == "00003.png"


def test_views_defaults_are_the_published_strong_view():
    views = SemanticViewsConfig()
    assert (views.jitter, views.blur, views.scale) == (0.25, 0.5, (1.0, 1.0))
