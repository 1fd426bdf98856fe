"""Cityscapes' official layout, in a small folder made here."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_city import write_tiny_city

from depthbox.core.errors import InputError
from depthbox.data.cityscapes import INSTANCE_CLASSES, read_cityscapes
from depthbox.data.decode import rasterise
from depthbox.experiment import SplitConfig
from depthbox.train.inputs import read_split


@pytest.fixture
def city(tmp_path: Path) -> Path:
    return write_tiny_city(tmp_path)


def read(city: Path, *, masks: bool = True):
    return read_cityscapes(city / "gtFine/train", images=city / "leftImg8bit/train", masks=masks)


def test_instances_groups_and_classes(city):
    data = read(city)
    (record,) = data.records
    assert data.class_names == ("person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
    assert data.category_ids == tuple(INSTANCE_CLASSES) and record.size_hw == (32, 64)
    assert Path(record.path).name == "aachen_000000_000019_leftImg8bit.png"
    by_class = {
        (data.class_names[label], bool(crowd)): box
        for label, crowd, box in zip(record.labels, record.crowd, record.boxes_xyxy.tolist(), strict=True)
    }
    assert by_class == {
        ("person", True): [50, 0, 60, 6],
        ("person", False): [30, 10, 40, 30],
        ("car", False): [6, 4, 20, 12],
        ("bicycle", False): [2, 20, 6, 24],
    }


def test_masks_are_the_pixels_and_boxes_alone_are_possible(city):
    record = read(city).records[0]
    car = record.labels.tolist().index(2)
    shape = rasterise(record.segmentations[car], record.size_hw)
    expected = np.zeros((32, 64), bool)
    expected[4:12, 6:20] = True
    assert np.array_equal(shape.astype(bool), expected)
    assert set(read(city, masks=False).records[0].segmentations) == {None}


def test_a_folder_of_annotations_is_cityscapes(city):
    split = SplitConfig(images="leftImg8bit/train", annotations="gtFine/train")
    assert len(read_split(city, split, "data.train", masks=False).records[0].labels) == 4


def test_what_does_not_belong_together_is_named(city):
    photo = next(city.rglob("*_leftImg8bit.png"))
    Image.new("RGB", (60, 32)).save(photo)
    with pytest.raises(InputError, match="is 64 x 32, its photo 60 x 32"):
        read(city)
    photo.unlink()
    with pytest.raises(InputError, match="there is no photo"):
        read(city)
    label = next(city.rglob("*_instanceIds.png"))
    Image.new("RGB", (64, 32)).save(label)
    with pytest.raises(InputError, match="one channel of 16 bits"):
        read(city)
    label.unlink()
    with pytest.raises(InputError, match="holds no"):
        read(city)


def test_a_photo_that_is_a_link_to_elsewhere_is_refused_and_the_digest_knows_the_masks(city, tmp_path_factory):
    before = read(city).digest
    label = next(city.rglob("*_instanceIds.png"))
    ids = np.asarray(Image.open(label)).copy()
    ids[8, 10] = 7
    Image.fromarray(ids).save(label)
    changed = read(city)
    assert (
        changed.digest != before and changed.records[0].boxes_xyxy.tolist() == read(city).records[0].boxes_xyxy.tolist()
    )
    photo = next(city.rglob("*_leftImg8bit.png"))
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "photo.png"
    photo.rename(elsewhere)
    photo.symlink_to(elsewhere)
    with pytest.raises(InputError, match="leaves the images folder"):
        read(city)
