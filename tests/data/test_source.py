"""From annotations to batches: the same pixels on any number of workers, and no image that cannot be read stops a step."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from photo_packs import VIEWS, assert_same, extent, joined, pack, source_of, write_photos
from tiny_data import write_tiny_data

from depthbox.core.errors import InputError
from depthbox.data.coco import read_coco
from depthbox.data.config import ViewsConfig
from depthbox.data.geometry import draw_geometry
from depthbox.data.pack import unpack
from depthbox.data.plan import Plan
from depthbox.data.source import Packed, Source


@pytest.mark.parametrize("world_size", [2, 4])
def test_the_shares_of_workers_are_the_batch_of_one(tmp_path, world_size):
    source = replace(source_of(write_photos(tmp_path)), teacher_from=0)
    for step in range(4):
        whole = pack(source, step, source.plan.share(0, 1))
        parts = [pack(source, step, source.plan.share(rank, world_size)) for rank in range(world_size)]
        mine = joined(parts)
        assert_same(
            replace(mine, outcome=replace(mine.outcome, inferences=0, hits=0)),
            replace(whole, outcome=replace(whole.outcome, inferences=0, hits=0)),
        )
        assert whole.outcome.inferences == whole.outcome.hits == 2


def test_a_step_is_the_same_whenever_it_is_made(tmp_path):
    source = source_of(write_photos(tmp_path))
    again = pickle.loads(pickle.dumps(source))
    later = pack(again, 5, range(4))
    assert_same(pack(source, 5, range(4)), later)
    assert later.weak.tobytes() != pack(again, 6, range(4)).weak.tobytes()


def test_views_are_padded_to_the_largest_of_the_global_batch(tmp_path):
    source = source_of(write_photos(tmp_path))
    for step in range(16):
        batch, packed = unpack(pack(source, step, range(4))), pack(source, step, range(4))
        records = [source.data.records[i] for i in source.plan.indices(step)]
        drawn = [draw_geometry(VIEWS, r.size_hw, seed=source.plan.seed, step=step, slot=0).size_hw for r in records]
        assert list(packed.sizes_hw) == drawn
        height, width = batch.views.weak.shape[-2:]
        assert height % 32 == width % 32 == 0
        assert height - max(h for h, _ in packed.sizes_hw) < 32 and width - max(w for _, w in packed.sizes_hw) < 32
        assert batch.views.valid.sum((1, 2)).tolist() == [h * w for h, w in packed.sizes_hw]
        padding = ~batch.views.valid
        assert (
            not batch.views.weak.permute(0, 2, 3, 1)[padding].any()
            and not batch.views.strong.permute(0, 2, 3, 1)[padding].any()
        )
        assert (
            batch.views.disparity[:, 0][padding].isnan().all()
            and not batch.views.disparity[:, 0][~padding].isnan().any()
        )
        assert batch.views.weak.max() <= 1 and batch.views.weak.shape == batch.views.strong.shape


def test_boxes_masks_and_disparity_lie_on_the_red_rectangle(tmp_path):
    source = source_of(write_photos(tmp_path))
    flips = set()
    for step in range(8):
        batch = unpack(pack(source, step, range(4)))
        for photo, depth, objects in zip(batch.views.weak, batch.views.disparity, batch.instances, strict=True):
            red = photo[0] > 0.5
            assert len(objects.boxes_xyxy) == len(objects.labels) == len(objects.masks) == int(red.any())
            for box, mask in zip(objects.boxes_xyxy.tolist(), objects.masks, strict=True):
                assert box == pytest.approx(extent(red.numpy()), abs=1.01)
                assert (mask != red).sum() < 0.15 * red.sum() and mask.shape == red.shape
                assert ((depth[0] > 0.5) != red).sum() < 0.35 * red.sum()
                flips.add(bool(box[0] + box[2] > (photo.sum(0) > 0).any(0).sum()))
    assert flips == {True, False}, "seen flipped and not"


def test_crowds_and_empty_photos_supervise_nothing(tmp_path):
    source = source_of(write_photos(tmp_path, empty=2), batch_size=6)
    batch = unpack(pack(source, 0, range(6)))
    numbers = {image: len(objects.boxes_xyxy) for image, objects in zip(batch.image_ids, batch.instances, strict=True)}
    assert numbers == {1: 1, 2: 1, 3: 0, 4: 1, 5: 1, 6: 1}
    empty = batch.instances[batch.image_ids.index(3)]
    assert (
        empty.boxes_xyxy.shape == (0, 4)
        and empty.masks.shape == (0, *batch.views.weak.shape[-2:])
        and empty.labels.dtype == torch.int64
    )


def test_unknown_disparity_travels(tmp_path):
    packed = pack(source_of(write_photos(tmp_path)), 0, range(4), holes=True)
    depth = unpack(packed).views.disparity
    for one, (height, width) in zip(depth, packed.sizes_hw, strict=True):
        inside = one[0, :height, :width]
        corners = inside[0, 0].isnan(), inside[0, -1].isnan()
        assert corners in ((True, False), (False, True)) and 0 < inside.isnan().sum() < 0.1 * inside.numel()


@pytest.mark.parametrize("holes", [False, True])
def test_disparity_is_not_shifted_against_the_photo(tmp_path, holes):
    source, shifts = source_of(write_photos(tmp_path)), []
    rows = torch.arange(200.0)[:, None]
    for step in range(8):
        views = unpack(pack(source, step, range(4), holes=holes)).views
        for photo, depth in zip(views.weak, views.disparity, strict=True):
            red, near = photo[0] > 0.5, depth[0] > 0.5
            if red.any():
                y = rows[: len(red)]
                shifts.append((near * y).sum() / near.sum() - (red * y).sum() / red.sum())
    assert torch.stack(shifts).mean().abs() < 0.2


def test_a_run_without_depth_or_a_strong_view_carries_neither(tmp_path):
    source = source_of(write_photos(tmp_path), masks=False, views=replace(VIEWS, jitter=0.0, grey=0.0, blur=0.0))
    packed = source.pack(source.decode([0] * 4, range(4)))
    assert packed.disparity is None and packed.strong is None and packed.masks is None
    assert packed.outcome.inferences == packed.outcome.hits == 0
    batch = unpack(packed)
    assert batch.views.strong is batch.views.weak and batch.views.disparity is None and batch.instances[0].masks is None


@pytest.mark.parametrize("alone", ["jitter", "grey", "blur", "erase"])
def test_any_change_alone_makes_a_strong_view(tmp_path, alone):
    plain = replace(VIEWS, jitter=0.0, grey=0.0, blur=0.0, erase=0.0)
    source = source_of(write_photos(tmp_path), views=replace(plain, **{alone: 1.0}))
    batch = unpack(source.pack(source.decode([0] * 4, range(4))))
    different = (batch.views.strong != batch.views.weak).any(1)
    assert different.any() and not different[~batch.views.valid].any()


def test_an_unreadable_photo_gets_a_stand_in_and_is_named(tmp_path):
    source = source_of(write_photos(tmp_path), batch_size=6)
    whole = pack(source, 0, range(6))
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    (tmp_path / "2.png").write_bytes(b"")
    packed = pack(source, 0, range(6))
    slots = {int(index): slot for slot, index in enumerate(source.plan.indices(0))}
    expected = list(whole.outcome.indices)
    expected[slots[1]], expected[slots[2]] = 3, 4
    assert list(packed.outcome.indices) == expected and packed.weak.shape == whole.weak.shape
    assert sorted({(index, Path(path).name) for index, path, _ in packed.outcome.bad}) == [(1, "1.png"), (2, "2.png")]
    assert {reason for index, _, reason in packed.outcome.bad if index == 2} == {"the file is empty (0 bytes)"}
    for slot, index in enumerate(packed.outcome.indices):
        if index == whole.outcome.indices[slot]:
            assert packed.weak[slot].tobytes() == whole.weak[slot].tobytes(), "the others are untouched"
        assert all(side <= limit for side, limit in zip(packed.sizes_hw[slot], packed.weak.shape[-2:], strict=True))
        assert packed.image_ids[slot] == index + 1


def test_a_stand_in_that_is_too_large_is_made_to_fit(tmp_path):
    """Alone in its batch, a wide photo's stand-in is a tall one."""
    source = source_of(write_photos(tmp_path), batch_size=1, views=replace(VIEWS, scale=(1.0, 1.0)))
    step = next(step for step in range(6) if source.plan.indices(step)[0] == 3)
    (tmp_path / "3.png").write_bytes(b"not a photo")
    packed = pack(source, step, [0])
    assert packed.outcome.indices == (5,) and packed.weak.shape[-2:] == (64, 96)
    ((height, width),) = packed.sizes_hw
    assert height <= 64 and width <= 96 and height / width == pytest.approx(100 / 52, rel=0.05)
    assert packed.boxes[0][0] == pytest.approx(extent(packed.weak[0, 0] > 127), abs=1.01)


def test_too_many_unreadable_photos_end_the_run_in_words(tmp_path):
    source = source_of(write_photos(tmp_path))
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(
        InputError, match=r"\.png: the file is empty.*nor can 3 more that would stand in.*data validate"
    ):
        source.decode([0], [0])


def packs_of(annotations: Path, images: Path, folder: Path, *, steps: int, short_side: int) -> list[Packed]:
    data = read_coco(annotations, images=images, masks=False)
    plan = Plan(images=len(data.records), batch_size=2, seed=0)
    views = ViewsConfig(short_side=short_side, max_side=2 * short_side)
    source = Source(data=data, plan=plan, views=views, masks=False, guard_folder=str(folder))
    return [pack(source, step, range(2)) for step in range(steps)]


def test_a_box_supervised_batch_is_the_same_with_and_without_masks_in_the_file(tmp_path):
    folder = write_tiny_data(tmp_path)
    with_masks, without = (
        packs_of(folder / f"{kind}_train.json", folder / "train", tmp_path / "guard", steps=3, short_side=64)
        for kind in ("masks", "boxes")
    )
    assert_same(tuple(with_masks), tuple(without))
    assert all(p.masks is None and unpack(p).instances[0].masks is None for p in with_masks)


def test_penn_fudan_boxes_are_the_same_with_and_without_masks_in_the_file(shared, tmp_path):
    folder = shared / "data" / "pennfudan"
    if not folder.is_dir():
        pytest.skip("the Penn-Fudan photos are absent")
    with_masks, without = (
        packs_of(folder / "annotations" / f"{kind}_train.json", folder / "images", tmp_path, steps=2, short_side=96)
        for kind in ("instances", "boxes")
    )
    assert_same(tuple(with_masks), tuple(without))
    assert sum(len(b) for p in with_masks for b in p.boxes) >= 4


def test_a_teacher_sees_the_same_photos_larger_once_it_looks(tmp_path):
    source = replace(source_of(write_photos(tmp_path)), teacher_from=2)
    assert pack(source, 1, range(4)).teacher is None and unpack(pack(source, 1, range(4))).views.teacher is None
    packed = pack(source, 2, range(4))
    seen = unpack(packed).views.teacher
    assert {min(size) for size in packed.teacher_sizes_hw} <= set(range(40, 59)), (
        "short side 48 times 1.2, or less for a long photo"
    )
    for i, ((height, width), (high, wide)) in enumerate(zip(packed.sizes_hw, packed.teacher_sizes_hw, strict=True)):
        assert (high, wide) >= (height, width)
        assert seen.scale_xy[i].tolist() == pytest.approx([wide / width, high / height])
        larger = seen.images[i : i + 1, :, :high, :wide]
        shrunk = torch.nn.functional.interpolate(larger, size=(height, width), mode="bilinear", antialias=True)[0]
        assert (shrunk - torch.from_numpy(packed.weak[i, :, :height, :width]) / 255).abs().mean() < 0.03, (
            "the same flip"
        )


def test_a_teacher_needs_no_view_of_its_own_where_the_size_is_fixed(tmp_path):
    views = replace(VIEWS, scale=(1.0, 1.0))
    assert pack(replace(source_of(write_photos(tmp_path), views=views), teacher_from=0), 5, range(4)).teacher is None
