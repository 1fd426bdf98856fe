"""Which images a run learns from: `data.train.labelled`, `data.train.boxed`, `data.unlabelled.images`, their shares of a step, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_data import tiny_experiment, write_tiny_data

from depthbox.core.errors import InputError, UsageError
from depthbox.data.local import local_batches
from depthbox.data.mixture import MixedPlan
from depthbox.data.pack import unpack
from depthbox.data.plan import Plan
from depthbox.supervision.config import BoxDepthConfig, FullConfig
from depthbox.train.labels import sees_masks, training_data
from depthbox.train.launch import run
from depthbox.train.prepare import prepare
from depthbox.train.stop import Interrupted


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image ids 1..6; three photos nobody has annotated."""
    folder = write_tiny_data(tmp_path_factory.mktemp("tiny"))
    (folder / "split.txt").write_text("2\n5\n")
    (folder / "all.txt").write_text("".join(f"{number}\n" for number in range(1, 7)))
    (folder / "semi.json").write_text(json.dumps({"two": [2, 5], "three": [1, 2, 5], "others": [1, 3], "note": "-"}))
    write_tiny_data(folder / "more", images=3, size_hw=(72, 90))
    shutil.copytree(folder / "more" / "val", folder / "bare")
    return folder


@pytest.fixture
def every_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fully supervised method takes what it is given: an image without labels is an empty one to it."""
    monkeypatch.setattr(FullConfig, "learns_from", ("masks", "boxes", "none"))


def words_of(tiny: Path, out: Path, method: str = "full", **settings) -> tuple[dict[int, str], dict[str, int]]:
    """Image id -> word, and word -> images a step."""
    experiment = tiny_experiment(tiny, out, method, **settings)
    data, plan = training_data(experiment, tiny)
    assert isinstance(plan, MixedPlan)
    assert [data.records[i].supervision for part in plan.parts for i in part.members] == [
        part.word for part in plan.parts for _ in part.members
    ]
    words = {record.image_id: record.supervision for record in data.records}
    return words, {part.word: part.plan.batch_size for part in plan.parts}


def test_nothing_said_is_the_plan_as_ever(tiny, tmp_path):
    data, plan = training_data(tiny_experiment(tiny, tmp_path), tiny)
    assert isinstance(plan, Plan) and {record.supervision for record in data.records} == {""}


@pytest.mark.parametrize("method", ["full", "box_depth"])
@pytest.mark.parametrize("named", ["split.txt", "semi.json:two"])
def test_a_method_of_labels_alone_sees_the_labelled_images_alone(tiny, tmp_path, method, named):
    words, counts = words_of(tiny, tmp_path, method, **{"data.train.labelled": named})
    word = {"full": "masks", "box_depth": "boxes"}[method]
    assert words == {2: word, 5: word} and counts == {word: 2}


def test_the_images_that_no_list_names_are_unlabelled(tiny, tmp_path, every_word):
    settings = {"data.train.labelled": "semi.json:two", "data.labelled_share": 0.5, "batch_size": 4}
    words, counts = words_of(tiny, tmp_path, **settings)
    assert words == {1: "none", 2: "masks", 3: "none", 4: "none", 5: "masks", 6: "none"}
    assert counts == {"masks": 2, "none": 2}
    mixed = settings | {"data.labelled_share": 0.25, "data.train.boxed": "semi.json:others", "data.boxed_share": 0.25}
    words, counts = words_of(tiny, tmp_path, **mixed)
    assert words == {1: "boxes", 2: "masks", 3: "boxes", 4: "none", 5: "masks", 6: "none"}
    assert counts == {"masks": 1, "boxes": 1, "none": 2}
    words, counts = words_of(tiny, tmp_path, **mixed | {"data.labelled_share": 0.5, "data.boxed_share": 0.5})
    assert set(words) == {1, 2, 3, 5} and counts == {"masks": 2, "boxes": 2}
    boxed = {"data.train.boxed": "semi.json:others", "data.boxed_share": 0.5, "data.labelled_share": 0.5}
    assert words_of(tiny, tmp_path, **boxed)[0] == {n: "boxes" if n in (1, 3) else "masks" for n in range(1, 7)}


def test_a_folder_of_photos_without_annotations(tiny, tmp_path, every_word):
    settings = {"data.unlabelled.images": "bare", "data.labelled_share": 0.5}
    words, counts = words_of(tiny, tmp_path, **settings)
    assert words == dict.fromkeys(range(1, 7), "masks") | {7: "none", 8: "none", 9: "none"}
    assert counts == {"masks": 1, "none": 1}
    words, _ = words_of(tiny, tmp_path, **settings | {"data.train.labelled": "split.txt"})
    assert [n for n, word in words.items() if word == "masks"] == [2, 5] and len(words) == 9
    # Photos that the annotations list are not taken twice, by whatever path.
    words, _ = words_of(tiny, tmp_path, **settings | {"data.unlabelled.images": "bare/../train/*.png", "data.train.labelled": "split.txt"})  # fmt: skip
    assert sorted(words) == [1, 2, 3, 4, 5, 6]


def test_annotations_may_list_the_labelled_images_alone(tiny, tmp_path, every_word):
    said = json.loads((tiny / "masks_train.json").read_text())
    said["images"] = said["images"][:2]
    said["annotations"] = said["annotations"][:2]
    (tiny / "few.json").write_text(json.dumps(said))
    settings = {
        "data.train.annotations": "few.json",
        "data.unlabelled.images": "train",
        "data.labelled_share": 0.5,
    }
    words, _ = words_of(tiny, tmp_path, **settings)
    assert words == {1: "masks", 2: "masks", 3: "none", 4: "none", 5: "none", 6: "none"}


HALF = {"data.labelled_share": 0.5}
FEW = {"data.train.labelled": "semi.json:two"}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"data.labelled_share": 0.5}, r"leaves 1 images of a step without labels.*data\.train\.labelled=FILE.*data\.unlabelled\.images=DIR"),
        ({"data.unlabelled.images": "bare"}, r"data\.unlabelled\.images has no effect while"),
        (FEW | {"data.train.boxed": "semi.json:others"}, r"data\.train\.boxed=FILE names images and data\.boxed_share says"),
        (FEW | {"data.boxed_share": 0.5, "data.labelled_share": 0.5}, r"give both, or neither"),
        (FEW | {"data.labelled_share": 0.0}, r"data\.labelled_share=0: a step needs labelled images"),
        (FEW | {"data.labelled_share": 0.4}, r"batch_size=2 allowed are 0, 0\.5, 1"),
        (FEW | HALF | {"workers": 2}, r"1 images of a step are with masks, which does not divide among workers=2"),
        (FEW | {"workers": 4, "batch_size": 4}, r"names 2 labelled images for workers=4 \| next: label more of them, or take workers=2"),
        (FEW | HALF | {"data.train.boxed": "semi.json:three", "data.boxed_share": 0.5}, r"semi\.json:three: 2 images are in data\.train\.labelled too: 2, 5"),
        ({"data.train.labelled": "semi.json:four"}, r"semi\.json: has no list 'four' \| next: it has two, three, others"),
        (HALF | {"data.train.labelled": "all.txt"}, r"there are no images without labels, and a step needs 1"),
        (HALF | {"data.unlabelled.images": "nowhere"}, r"nowhere: there is no such folder"),
        (HALF | {"data.unlabelled.images": "train"}, r"train: all of its 6 photos are labelled in masks_train\.json \| next: give a folder of other photos"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(tiny, tmp_path, every_word, settings, expected):
    with pytest.raises((UsageError, InputError), match=expected) as caught:
        training_data(tiny_experiment(tiny, tmp_path, "full", **settings), tiny)
    assert "\n" not in str(caught.value)


def test_where_some_have_boxes_alone_labelled_images_have_masks(tiny, tmp_path):
    boxed = {
        "data.train.annotations": "masks_train.json",
        "data.train.boxed": "semi.json:others",
        "data.boxed_share": 0.5,
        "data.labelled_share": 0.5,
    }
    words, counts = words_of(tiny, tmp_path, "box_depth", **boxed)
    assert words == {n: "boxes" if n in (1, 3) else "masks" for n in range(1, 7)} and counts == {"masks": 1, "boxes": 1}
    experiment = tiny_experiment(tiny, tmp_path, "box_depth", **boxed)
    assert sees_masks(experiment) and not sees_masks(tiny_experiment(tiny, tmp_path))
    with pytest.raises(InputError, match="is labelled, and 1 of its objects have no mask"):
        words_of(tiny, tmp_path, "box_depth", **boxed | {"data.train.annotations": "boxes_train.json"})
    three = (
        boxed
        | FEW
        | {
            "data.train.annotations": "masks_train.json",
            "data.labelled_share": 0.25,
            "data.boxed_share": 0.25,
            "batch_size": 4,
            "model.head": "query",
        }
    )
    _, counts = words_of(tiny, tmp_path, "pl_dc", **three)
    assert counts == {"masks": 1, "boxes": 1, "none": 2}


@pytest.mark.parametrize("method", ["full", "box_depth"])
def test_a_method_is_given_nothing_it_cannot_learn_from(tiny, tmp_path, method):
    with pytest.raises(UsageError, match=r"learns from labelled images alone .*set data\.labelled_share=1"):
        training_data(tiny_experiment(tiny, tmp_path, method, **FEW | HALF), tiny)
    with pytest.raises(UsageError, match=r"data\.train\.boxed: this method learns from masks, not from boxes"):
        boxed = {"data.train.boxed": "semi.json:others", "data.boxed_share": 0.5}
        training_data(tiny_experiment(tiny, tmp_path, "full", **FEW | HALF | boxed), tiny)
    assert BoxDepthConfig.learns_from == ("boxes", "masks") and FullConfig.learns_from == ("masks",)


def test_masks_are_needed_of_the_labelled_images_alone(tiny, tmp_path, every_word):
    said = json.loads((tiny / "masks_train.json").read_text())
    for one in said["annotations"]:
        if one["image_id"] != 2:
            del one["segmentation"]
    (tiny / "partly.json").write_text(json.dumps(said))
    settings = {"data.train.annotations": "partly.json", "data.labelled_share": 0.5}
    with pytest.raises(InputError, match=r"image 5: is labelled, and 1 of its objects have no mask: annotations 5"):
        training_data(tiny_experiment(tiny, tmp_path, "full", **settings | FEW), tiny)
    for one in (crowded := json.loads((tiny / "masks_train.json").read_text()))["annotations"]:
        one["iscrowd"] = int(one["image_id"] in (2, 5))
    (tiny / "crowds.json").write_text(json.dumps(crowded))
    with pytest.raises(InputError, match="no image has a labelled object outside crowds"):
        training_data(tiny_experiment(tiny, tmp_path, "full", **FEW | {"data.train.annotations": "crowds.json"}), tiny)
    (tiny / "one.txt").write_text("2\n")
    words, _ = words_of(tiny, tmp_path, **settings | {"data.train.labelled": "one.txt"})
    assert words[2] == "masks" and words[5] == "none"


def test_labelled_images_without_an_object_are_refused_and_missing_classes_named(tiny, tmp_path, caplog):
    said = json.loads((tiny / "masks_train.json").read_text())
    said["annotations"] = [one for one in said["annotations"] if one["image_id"] not in (2, 5)]
    (tiny / "empty.json").write_text(json.dumps(said))
    with pytest.raises(InputError, match="no image has a labelled object"):
        training_data(tiny_experiment(tiny, tmp_path, "full", **FEW | {"data.train.annotations": "empty.json"}), tiny)
    (tiny / "one.txt").write_text("2\n")
    with caplog.at_level("WARNING", logger="depthbox"):
        training_data(tiny_experiment(tiny, tmp_path, "full", **{"data.train.labelled": "one.txt"}), tiny)
    assert "no labelled image has an object of these classes: box" in caplog.text


def test_the_digest_of_the_data_knows_the_words(tiny, tmp_path, every_word):
    shares = {"data.labelled_share": 0.5}
    digests = {
        training_data(tiny_experiment(tiny, tmp_path, "full", **settings), tiny)[0].digest
        for settings in (
            {},
            FEW,
            FEW | shares,
            {"data.train.labelled": "semi.json:three"},
            shares | {"data.unlabelled.images": "bare"},
        )
    }
    assert len(digests) == 5
    same = [
        training_data(tiny_experiment(tiny, tmp_path, "full", **{"data.train.labelled": named}), tiny)[0].digest
        for named in ("split.txt", "semi.json:two")
    ]
    assert same[0] == same[1]


MIXED = {
    "data.train.labelled": "semi.json:two",
    "data.unlabelled.images": "bare",
    "data.labelled_share": 0.5,
    "batch_size": 4,
    "data.processes": 0,
}


def test_both_streams_reach_the_method_and_one_that_is_killed_goes_on_to_the_same_bits(
    tiny, tmp_path, every_word, monkeypatch
):
    from depthbox.train.context import RunContext

    result = run(tiny_experiment(tiny, tmp_path / "whole", "full", **MIXED))
    assert result.counters["rows_in"] == 9
    asked = iter([False, False, True] + [False] * 9)
    monkeypatch.setattr(RunContext, "stop_requested", lambda self: next(asked))
    with pytest.raises(Interrupted):
        run(tiny_experiment(tiny, tmp_path / "cut", "full", **MIXED))
    run(tiny_experiment(tiny, tmp_path / "cut", "full", **MIXED))
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all((one[name] == two[name]).all() for name in one)


def test_a_broken_photo_of_either_stream_is_set_aside_by_name(tiny, tmp_path, every_word):
    broken = tmp_path / "data"
    shutil.copytree(tiny, broken)
    (broken / "train" / "001.png").write_bytes(b"not a picture")  # id 2, labelled
    (broken / "bare" / "000.png").write_bytes(b"")
    result = run(tiny_experiment(broken, tmp_path / "run", "full", **MIXED | {"data.quarantine_share": 0.3}))
    assert result.counters["rows_quarantined"] == 2 and result.counters["rows_in"] == 9
    rows = json.loads((tmp_path / "run" / "result.json").read_text())["quarantined"]
    assert sorted(Path(row["path"]).parent.name for row in rows) == ["bare", "train"]
    with pytest.raises(InputError, match=r"of 9 images cannot be read, more than data\.quarantine_share=0\.1"):
        run(tiny_experiment(broken, tmp_path / "stops", "full", **MIXED | {"data.quarantine_share": 0.1}))


def test_b12_a_photo_to_be_scored_is_in_neither_stream(tiny, tmp_path, every_word):
    with pytest.raises(
        InputError, match=r"masks_val\.json: 6 of its photos are also trained on: .*val/000\.png.*remove them"
    ):
        prepare(tiny_experiment(tiny, tmp_path, "full", **MIXED | {"data.unlabelled.images": "val"}))
    copies = tmp_path / "data"
    shutil.copytree(tiny, copies)
    shutil.copy(copies / "val" / "003.png", copies / "bare" / "other.png")
    with pytest.raises(InputError, match=r"1 of its photos are also trained on: .*val/003\.png = .*bare/other\.png"):
        prepare(tiny_experiment(copies, tmp_path, "full", **MIXED))
    shutil.copy(copies / "val" / "003.png", copies / "train" / "001.png")
    with pytest.raises(InputError, match=r"val/003\.png = .*train/001\.png"):
        prepare(tiny_experiment(copies, tmp_path, "full", **{"data.train.labelled": "semi.json:two"}))
    prepare(tiny_experiment(copies, tmp_path, "full", **{"data.train.labelled": "semi.json:others"}))


def test_b12_is_a_warning_where_every_image_is_labelled(tiny, tmp_path, caplog):
    own = {"data.val.images": "train", "data.val.annotations": "masks_train.json"}
    with caplog.at_level("WARNING", logger="depthbox"):
        prepare(tiny_experiment(tiny, tmp_path, "box_depth", **own))
    assert "6 photos of" in caplog.text and "are also in" in caplog.text


def test_a_data_process_brings_the_same_packs(tiny, tmp_path, every_word):
    job = prepare(tiny_experiment(tiny, tmp_path, "full", **MIXED))
    here, there = (list(local_batches(job.source, None, range(3), processes=n)) for n in (0, 1))
    for one, two in zip(here, there, strict=True):
        assert one.image_ids == two.image_ids and one.weak.tobytes() == two.weak.tobytes()
        assert one.supervision == two.supervision == ("masks", "none", "masks", "none")
        batch = unpack(one)
        assert [len(objects.labels) for objects in batch.instances] == [1, 0, 1, 0]
