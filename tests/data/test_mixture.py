"""A step of several kinds of images: so many of each, on any number of workers; what an image may not teach is not in its batch."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from photo_packs import VIEWS, assert_same, joined, pack, source_of, write_photos

from depthbox.core.errors import InputError, UsageError
from depthbox.data.bare import bare_records
from depthbox.data.mixture import MixedPlan, Part, counts_a_step
from depthbox.data.pack import unpack
from depthbox.data.plan import Plan
from depthbox.data.source import Source


def mixed(members: dict[str, list[int]], counts: dict[str, int], *, seed: int = 3) -> MixedPlan:
    parts = [
        Part(
            word=word,
            members=np.array(members[word]),
            plan=Plan(images=len(members[word]), batch_size=count, seed=seed, part=word),
        )
        for word, count in counts.items()
    ]
    return MixedPlan(parts=tuple(parts), seed=seed)


def worded(folder: Path, words: list[str], counts: dict[str, int]) -> Source:
    """The six photos with these words; those of one word make one part."""
    source = source_of(write_photos(folder))
    records = tuple(replace(r, supervision=word) for r, word in zip(source.data.records, words, strict=True))
    members = {word: [i for i, one in enumerate(words) if one == word] for word in counts}
    return replace(source, data=replace(source.data, records=records), plan=mixed(members, counts))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3), st.integers(0, 9))
def test_every_step_and_every_rank_has_its_share_of_every_part(world_size, masks, boxes, none, seed):
    counts = {
        word: n * world_size for word, n in {"masks": masks, "boxes": boxes, "none": none}.items() if n
    }  # a rank's count, times the ranks
    members = {"masks": [1, 4, 5, 30], "boxes": [0, 2], "none": [3, *range(6, 30)]}
    plan = mixed(members, counts, seed=seed)
    assert plan.batch_size == sum(counts.values()) and plan.images == sum(len(members[word]) for word in counts)
    for step in range(6):
        drawn = plan.indices(step)
        for rank in range(world_size):
            mine = [int(i) for i in drawn[plan.share(rank, world_size)]]
            for word, count in counts.items():
                assert sum(i in members[word] for i in mine) == count // world_size
    slots = [slot for rank in range(world_size) for slot in plan.share(rank, world_size)]
    assert slots == list(range(plan.batch_size))


def test_every_image_of_a_part_once_a_pass_and_any_step_can_be_asked_first():
    members = {"masks": [2, 7, 9], "none": [0, 1, 3, 4, 5, 6, 8]}
    plan = mixed(members, {"masks": 2, "none": 6})
    steps = [plan.indices(step) for step in range(21)]
    for word, count in (("masks", 2), ("none", 6)):
        drawn = [int(i) for step in steps for i in step if i in members[word]]
        size = len(members[word])
        assert len(drawn) == 21 * count
        for start in range(0, len(drawn), size):
            assert sorted(drawn[start : start + size]) == members[word]
    again = mixed(members, {"masks": 2, "none": 6})
    assert all(np.array_equal(again.indices(step), steps[step]) for step in reversed(range(21)))
    other = mixed(members, {"masks": 2, "none": 6}, seed=4)
    assert any(not np.array_equal(other.indices(step), steps[step]) for step in range(4))


def test_parts_are_drawn_apart():
    plan = mixed({"masks": list(range(8)), "none": list(range(8, 16))}, {"masks": 8, "none": 8})
    drawn = plan.indices(0)
    assert [int(i) + 8 for i in drawn if i < 8] != [int(i) for i in drawn if i >= 8]


def test_shares_that_do_not_divide_are_refused():
    with pytest.raises(
        UsageError, match=r"3 images of a step are without labels, which does not divide among workers=2"
    ):
        mixed({"masks": [0], "none": [1]}, {"masks": 2, "none": 3}).share(0, 2)


@pytest.mark.parametrize(
    ("labelled", "boxed", "expected"),
    [(1.0, 0.0, (8, 0, 0)), (0.5, 0.0, (4, 0, 4)), (0.25, 0.25, (2, 2, 4)), (0.0, 1.0, (0, 8, 0)), (0.125, 0.5, (1, 4, 3))],
)  # fmt: skip
def test_shares_are_whole_images(labelled, boxed, expected):
    assert counts_a_step(batch_size=8, labelled_share=labelled, boxed_share=boxed) == expected
    assert counts_a_step(batch_size=6, labelled_share=1 / 3, boxed_share=0.5) == (2, 3, 1)
    assert counts_a_step(batch_size=3, labelled_share=0.3333) == (1, 2)
    assert counts_a_step(batch_size=7, labelled_share=0.1429) == (1, 6)


@pytest.mark.parametrize(
    ("labelled", "boxed", "expected"),
    [
        (0.3, 0.0, r"data\.labelled_share=0\.3: with batch_size=4 allowed are 0, 0\.25, 0\.5, 0\.75, 1"),
        (-0.5, 0.0, r"data\.labelled_share=-0\.5"),
        (1.25, 0.0, r"data\.labelled_share=1\.25"),
        (0.5, float("nan"), r"data\.boxed_share=nan"),
        (0.75, 0.5, r"more than 1 together"),
    ],
)
def test_shares_that_are_no_whole_images_are_refused(labelled, boxed, expected):
    with pytest.raises(UsageError, match=expected):
        counts_a_step(batch_size=4, labelled_share=labelled, boxed_share=boxed)


WORDS = ["masks", "none", "none", "boxes", "masks", "none"]
COUNTS = {"masks": 2, "boxes": 2, "none": 4}


def test_an_image_brings_what_its_word_allows_and_no_more(tmp_path):
    source = worded(tmp_path, WORDS, COUNTS)
    plain = source_of(write_photos(tmp_path))
    seen = set()
    for step in range(4):
        batch = unpack(pack(source, step, range(8)))
        assert sorted(batch.supervision) == ["boxes"] * 2 + ["masks"] * 2 + ["none"] * 4
        height, width = batch.views.weak.shape[-2:]
        for image, word, objects, truth in zip(
            batch.image_ids, batch.supervision, batch.instances, batch.truth, strict=True
        ):
            assert word == WORDS[image - 1]
            seen.add(image)
            if word == "masks":
                assert len(objects.boxes_xyxy) == 1 and objects.masks.shape == (1, height, width) and truth is None
            elif word == "boxes":
                assert len(objects.boxes_xyxy) == 1 and objects.masks is None and truth is None
            else:
                assert objects.boxes_xyxy.shape == (0, 4) and objects.labels.shape == (0,)
                assert objects.masks.shape == (0, height, width)
                if image == 3:  # has no object in the file: perhaps nobody looked
                    assert truth is None
                else:
                    (box,) = truth.boxes_xyxy.tolist()
                    ys, xs = truth.masks[0].nonzero(as_tuple=True)
                    assert [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1] == pytest.approx(
                        box, abs=1.01
                    )
    assert seen == {1, 2, 3, 4, 5, 6}
    assert unpack(pack(plain, 0, range(4))).supervision == () and unpack(pack(plain, 0, range(4))).truth == []


def test_a_mixed_batch_travels_to_a_device(tmp_path):
    batch = unpack(pack(worded(tmp_path, WORDS, COUNTS), 0, range(8))).to(torch.device("meta"))
    known = [truth for truth in batch.truth if truth is not None]
    assert known and all(truth.masks.is_meta for truth in known) and batch.views.weak.is_meta
    assert len(batch.supervision) == 8


def test_truth_without_every_mask_has_boxes_alone(tmp_path):
    source = worded(tmp_path, WORDS, COUNTS)
    records = list(source.data.records)
    records[1] = replace(records[1], segmentations=(None,))
    source = replace(source, data=replace(source.data, records=tuple(records)))
    batch = unpack(pack(source, 0, range(8)))
    truth = batch.truth[batch.image_ids.index(2)]
    assert truth.masks is None and len(truth.boxes_xyxy) == 1


@pytest.mark.parametrize("world_size", [1, 2])
def test_the_shares_of_workers_are_the_batch_of_one(tmp_path, world_size):
    source = replace(worded(tmp_path, WORDS, COUNTS), teacher_from=0)
    for step in range(3):
        whole = pack(source, step, source.plan.share(0, 1))
        mine = joined([pack(source, step, source.plan.share(rank, world_size)) for rank in range(world_size)])
        assert_same(
            replace(mine, outcome=replace(mine.outcome, inferences=0, hits=0)),
            replace(whole, outcome=replace(whole.outcome, inferences=0, hits=0)),
        )


@pytest.mark.parametrize("broken", [1, 4])
def test_a_stand_in_is_labelled_alike(tmp_path, broken):
    """Photo 2 has no label, photo 5 has masks."""
    source = worded(tmp_path, WORDS, COUNTS)
    (tmp_path / f"{broken}.png").write_bytes(b"not a photo")
    packed = pack(source, 0, range(8))
    assert {index for index, _, _ in packed.outcome.bad} == {broken}
    assert packed.supervision == tuple(WORDS[image - 1] for image in packed.image_ids)
    assert sorted(packed.supervision) == ["boxes"] * 2 + ["masks"] * 2 + ["none"] * 4
    assert broken + 1 not in packed.image_ids


def test_a_part_without_a_readable_photo_ends_the_run_in_words(tmp_path):
    source = worded(tmp_path, WORDS, COUNTS)
    for one in (0, 4):
        (tmp_path / f"{one}.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"\.png: the file is empty.*nor can 1 more that would stand in"):
        pack(source, 0, range(8))


def test_photos_without_annotations_become_records_by_their_headers(tmp_path):
    write_photos(tmp_path)
    (tmp_path / "6.png").write_bytes(b"not a photo")
    photos = [str(tmp_path / f"{i}.png") for i in range(7)]
    records = bare_records(photos, known={photos[1]}, first_id=100)
    assert [r.image_id for r in records] == [100, 101, 102, 103, 104, 105]
    assert [r.size_hw for r in records] == [(60, 90), (64, 64), (50, 100), (70, 80), (100, 52), (1, 1)]
    assert {r.supervision for r in records} == {"none"} and not any(len(r.labels) for r in records)


def test_a_turned_photo_is_as_it_is_shown(tmp_path):
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(tmp_path / "turned.jpg", exif=exif)
    (record,) = bare_records([str(tmp_path / "turned.jpg")], known=(), first_id=1)
    assert record.size_hw == (30, 20)


def test_bare_photos_join_the_stream_and_a_broken_one_is_set_aside(tmp_path):
    source = source_of(write_photos(tmp_path))
    (tmp_path / "bare").mkdir()
    for i in range(3):
        (tmp_path / "bare" / f"{i}.png").write_bytes((tmp_path / f"{i}.png").read_bytes())
    (tmp_path / "bare" / "broken.png").write_bytes(b"\x89PNG but no more")
    bare = bare_records([str(p) for p in sorted((tmp_path / "bare").iterdir())], known=(), first_id=7)
    labelled = tuple(replace(r, supervision="masks") for r in source.data.records)
    plan = mixed({"masks": list(range(6)), "none": [6, 7, 8, 9]}, {"masks": 2, "none": 4})
    source = replace(source, data=replace(source.data, records=labelled + bare), plan=plan)
    packed = pack(source, 0, range(6))
    assert [Path(path).name for _, path, _ in packed.outcome.bad] == ["broken.png"]
    batch = unpack(packed)
    assert set(batch.image_ids[i] for i, word in enumerate(batch.supervision) if word == "none") == {7, 8, 9}
    assert all(truth is None for truth in batch.truth) and packed.weak.shape[-1] <= 128
    assert VIEWS.max_side * VIEWS.scale[1] <= 96


@pytest.mark.parametrize("name", ["line\nbreak.png", "link.png"])
def test_odd_names_and_links_out_of_the_folder_are_refused(tmp_path, name):
    write_photos(tmp_path)
    place = tmp_path / "bare"
    place.mkdir()
    path = place / name
    if name == "link.png":
        path.symlink_to(tmp_path / "0.png")
    else:
        path.write_bytes((tmp_path / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"control characters|link that leaves its folder"):
        bare_records([str(path)], known=(), first_id=1)
