"""Rendered scenes are exact, repeatable and readable by the tools that read COCO."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from depthbox.data.scene_layout import DEMO, WIDE, Camera, Layout, Part
from depthbox.data.scene_render import render
from depthbox.data.scene_shapes import KINDS
from depthbox.data.scene_textures import FAMILIES, random_material, random_palette
from depthbox.data.scenes import MIN_MASK_PX, render_scene, render_scenes

SIZE_HW = (72, 96)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scenes")
    render_scenes(path, train=12, val=3, size_hw=SIZE_HW, seed=3)
    return path


def content(folder: Path, name: str) -> dict:
    return json.loads((folder / "annotations" / f"{name}.json").read_text())


def test_equal_arguments_give_equal_bytes(folder, tmp_path):
    reports = []
    render_scenes(tmp_path, train=12, val=3, size_hw=SIZE_HW, seed=3, progress=lambda *at: reports.append(at))
    written = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert len(written) == 2 * 15 + 3
    assert all((tmp_path / name).read_bytes() == (folder / name).read_bytes() for name in written)
    assert reports == [(done, 15) for done in range(1, 16)]


def test_a_scene_depends_on_its_own_number_alone(folder, tmp_path):
    render_scenes(tmp_path, train=2, val=1, size_hw=SIZE_HW, seed=3)
    for name in ("train/000001.jpg", "depth/train/000001.png", "val/000000.jpg"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    assert (folder / "val/000000.jpg").read_bytes() != (folder / "train/000000.jpg").read_bytes()
    assert not np.array_equal(
        render_scene("train", 0, seed=4, size_hw=SIZE_HW).image, render_scene("train", 0, seed=3, size_hw=SIZE_HW).image
    )


def test_pycocotools_reads_it_and_boxes_are_tight(folder):
    from pycocotools.coco import COCO

    for split in ("train", "val"):
        coco = COCO(str(folder / "annotations" / f"instances_{split}.json"))
        assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(KINDS)
        assert coco.anns
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
            tight = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            assert annotation["bbox"] == tight
            assert annotation["area"] == mask.sum() >= MIN_MASK_PX
        for image in coco.imgs.values():
            assert Image.open(folder / split / image["file_name"]).size == (image["width"], image["height"])


def test_box_labels_hold_no_mask_and_the_same_boxes(folder):
    full, boxes = content(folder, "instances_train"), content(folder, "boxes_train")
    assert "segmentation" not in (folder / "annotations" / "boxes_train.json").read_text()
    assert [a["bbox"] for a in full["annotations"]] == [a["bbox"] for a in boxes["annotations"]]
    assert all(a["area"] == a["bbox"][2] * a["bbox"][3] for a in boxes["annotations"])
    assert len({a["id"] for a in full["annotations"]}) == len(full["annotations"])


def test_depth_files_are_millimetres_of_the_scene(folder):
    for index in range(3):
        depth = np.asarray(Image.open(folder / "depth" / "train" / f"{index:06d}.png"))
        scene = render_scene("train", index, seed=3, size_hw=SIZE_HW)
        assert depth.dtype == np.uint16
        assert np.abs(depth / 1000 - scene.depth_m).max() <= 0.0005 + 1e-6
        assert (scene.depth_m >= 0).all()
        assert scene.depth_m[scene.instance > 0].min() > 0.3


def test_depth_steps_where_one_object_hides_another():
    """Where the visible mask borders on something that is not the ground below it, depth jumps for most pixels."""
    jumps = []
    for index in range(12):
        scene = render_scene("train", index, seed=5)
        z = np.where(scene.depth_m > 0, scene.depth_m, 100.0)
        upper, lower = scene.instance[:-1], scene.instance[1:]
        top_edge = (upper == 0) & (lower > 0)
        jumps.append((z[:-1] / z[1:])[top_edge] > 1.03)
    assert np.concatenate(jumps).mean() > 0.85


def test_depth_of_the_ground_is_the_formula():
    """z = h / (sin(pitch) + y cos(pitch)) on the plane, y the ray's downward slope in the camera."""
    rng = np.random.default_rng(0)
    palette = random_palette(rng)
    camera = Camera(height_m=1.5, pitch=np.radians(20), roll=0.0, focal_widths=1.0)
    import trimesh

    plane = trimesh.Trimesh([[-99, -99, 0], [99, -99, 0], [99, 99, 0], [-99, 99, 0]], [[0, 1, 2], [0, 2, 3]])
    part = Part(mesh=plane, material=random_material(palette, rng), category_id=0, smooth=False)
    light = {"sun": np.array([0, 0, 1.0]), "sun_rgb": np.ones(3), "ambient_rgb": np.ones(3), "sky_rgb": np.ones((2, 3))}
    scene = render(Layout(mode="camo", camera=camera, parts=(part,), **light), (48, 64), rng)
    y = ((np.arange(48) + 0.5 - 24) / 64)[:, None]
    slope = np.sin(camera.pitch) + y * np.cos(camera.pitch)
    expected = np.where(slope > 1.5 / 60, 1.5 / slope, 0)
    assert np.allclose(scene.depth_m, np.broadcast_to(expected, (48, 64)), rtol=1e-5)
    assert (scene.depth_m > 0).mean() > 0.8
    assert (scene.instance == 0).all()


def test_disparity_is_min_max_of_inverse_depth_with_a_far_sky():
    scene = next(
        s
        for s in (render_scene("w", i, seed=0, style=WIDE, size_hw=SIZE_HW) for i in range(9))
        if (s.depth_m == 0).any()
    )
    disparity = scene.disparity()
    assert disparity.dtype == np.float32
    assert (disparity.min(), disparity.max()) == (0, 1)
    assert (disparity[scene.depth_m == 0] == 0).all()
    assert np.unravel_index(disparity.argmax(), SIZE_HW) == np.unravel_index(
        np.where(scene.depth_m > 0, scene.depth_m, np.inf).argmin(), SIZE_HW
    )


def test_modes_and_categories_vary():
    modes: Counter = Counter()
    categories: Counter = Counter()
    for index in range(30):
        scene = render_scene("train", index, seed=0, size_hw=(24, 32))
        modes[scene.mode] += 1
        categories.update(scene.category_ids)
    assert set(modes) == {"camo", "mixed", "distinct"}
    assert set(categories) == set(range(1, len(KINDS) + 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_pattern_varies_and_fades_with_distance(family):
    from depthbox.data.scene_textures import colour

    rng = np.random.default_rng(1)
    material = random_material(random_palette(rng), rng, family=family)
    points = rng.uniform(-20, 20, (2000, 3)).astype(np.float32)
    near, far = (colour(material, points, np.full(2000, size, np.float32)) for size in (0.001, 5.0))
    assert near.shape == (2000, 3) and near.min() >= 0 and near.max() <= 1
    assert near.std(0).max() > 0.01 and far.std(0).max() < 1e-5


def test_the_styles_are_in_order():
    for style in (DEMO, WIDE):
        assert abs(sum(style.mode_shares) - 1) < 1e-9
        assert style.size_m[0] < style.size_m[1] < style.distance_m[1]
