"""Any change anywhere in a COCO file: valid data or an `InputError`, never anything else."""

import copy
import json

import numpy as np
import pytest
from coco_document import document, write_photos
from hypothesis import given, settings
from hypothesis import strategies as st

from depthbox.core.errors import InputError
from depthbox.data.coco import read_coco
from depthbox.data.decode import rasterise


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 50) | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "size", "counts"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def places(value, place=()):
    yield place
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*place, key))


PLACES = list(places(document()))[1:]


def check_sound(data):
    for record in data.records:
        assert np.isfinite(record.boxes_xyxy).all() and (record.boxes_xyxy[:, :2] < record.boxes_xyxy[:, 2:]).all()
        assert (record.boxes_xyxy >= 0).all() and (record.boxes_xyxy <= np.array(record.size_hw[::-1] * 2)).all()
        assert ((record.labels >= 0) & (record.labels < len(data.class_names))).all()
        for segmentation, crowd in zip(record.segmentations, record.crowd, strict=True):
            if segmentation is not None:
                mask = rasterise(segmentation, record.size_hw)
                assert mask.shape == record.size_hw and (crowd or mask.any())


@settings(max_examples=60, deadline=None)
@given(place=st.sampled_from(PLACES), value=JSON, remove=st.booleans(), masks=st.booleans())
def test_any_json_value_anywhere(tmp_path_factory, photos, place, value, remove, masks):
    said = target = copy.deepcopy(document())
    for step in place[:-1]:
        target = target[step]
    if remove:
        del target[place[-1]]
    else:
        target[place[-1]] = value
    path = tmp_path_factory.getbasetemp() / "fuzz.json"
    path.write_text(json.dumps(said))
    try:
        check_sound(read_coco(path, images=photos, masks=masks))
    except InputError as error:
        assert "\n" not in str(error) and "fuzz.json" in str(error)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_bytes_anywhere(tmp_path_factory, photos, data):
    text = bytearray(json.dumps(document()).encode())
    start = data.draw(st.integers(0, len(text)))
    text[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(text[: data.draw(st.integers(0, len(text)) | st.just(len(text)))])
    try:
        check_sound(read_coco(path, images=photos, masks=True))
    except InputError as error:
        assert "\n" not in str(error)
