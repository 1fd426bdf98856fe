"""What stands where in a rendered scene, seen by which camera, made of what: drawn from one random stream."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from depthbox.data.scene_shapes import KINDS, SMOOTH, standing_body
from depthbox.data.scene_textures import FAMILIES, Material, random_material, random_palette, shifted_palette

if TYPE_CHECKING:
    import trimesh

__all__ = ["DEMO", "WIDE", "Camera", "Layout", "Part", "SceneStyle", "random_layout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStyle:
    """The ranges a scene is drawn from; every pair is (lowest, highest)."""

    objects: tuple[int, int]
    camera_height_m: tuple[float, float]
    pitch_deg: tuple[float, float]
    """Downwards."""
    field_of_view_deg: tuple[float, float]
    """Horizontal."""
    distance_m: tuple[float, float]
    size_m: tuple[float, float]
    wall_share: float
    mode_shares: tuple[float, float, float]
    """camo, mixed, distinct."""


DEMO = SceneStyle(
    objects=(3, 8),
    camera_height_m=(1.0, 2.4),
    pitch_deg=(6.0, 22.0),
    field_of_view_deg=(46.0, 60.0),
    distance_m=(2.6, 11.0),
    size_m=(0.8, 1.8),
    wall_share=0.6,
    mode_shares=(0.55, 0.30, 0.15),
)
"""What `depthbox demo` segments: objects large enough to learn in minutes, most of them camouflaged."""

WIDE = SceneStyle(
    objects=(2, 10),
    camera_height_m=(0.6, 3.4),
    pitch_deg=(0.0, 35.0),
    field_of_view_deg=(38.0, 75.0),
    distance_m=(1.8, 22.0),
    size_m=(0.5, 2.6),
    wall_share=0.55,
    mode_shares=(0.45, 0.30, 0.25),
)
"""What the built-in depth network learns from: as wide as the renderer goes."""

_MODES = ("camo", "mixed", "distinct")


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Right-handed world, z up, metres; the camera stands at (0, 0, height) and looks along +y."""

    height_m: float
    pitch: float
    roll: float
    focal_widths: float
    """Focal length / image width."""

    @property
    def to_world(self) -> np.ndarray:
        """Float64 "3 3": columns are the camera's right, down and forward axes in the world."""
        right, down, forward = np.array([1.0, 0, 0]), np.array([0, 0, -1.0]), np.array([0, 1.0, 0])
        sin, cos = np.sin(self.pitch), np.cos(self.pitch)
        down, forward = cos * down - sin * forward, sin * down + cos * forward
        sin, cos = np.sin(self.roll), np.cos(self.roll)
        return np.stack([cos * right + sin * down, cos * down - sin * right, forward], axis=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One mesh of the scene with its material; `category_id` 0 is ground or wall."""

    mesh: "trimesh.Trimesh"
    material: Material
    category_id: int
    smooth: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    mode: str
    camera: Camera
    parts: tuple[Part, ...]
    sun: np.ndarray
    """Unit vector towards the sun."""
    sun_rgb: np.ndarray
    ambient_rgb: np.ndarray
    sky_rgb: np.ndarray
    """Float "2 3": horizon and zenith, linear."""


def random_layout(style: SceneStyle, rng: np.random.Generator) -> Layout:
    mode = _MODES[int(rng.choice(3, p=style.mode_shares))]
    camera = Camera(
        height_m=rng.uniform(*style.camera_height_m),
        pitch=np.radians(rng.uniform(*style.pitch_deg)),
        roll=np.radians(rng.normal(0, 1.0)),
        focal_widths=0.5 / np.tan(np.radians(rng.uniform(*style.field_of_view_deg)) / 2),
    )
    palette = random_palette(rng, narrow=mode != "distinct")
    ground = random_material(palette, rng)
    parts = [Part(mesh=_ground(), material=ground, category_id=0, smooth=False)]
    wall_m = np.inf
    if rng.random() < style.wall_share:
        wall_m = float(np.exp(rng.uniform(np.log(5.0), np.log(style.distance_m[1] * 1.5))))
        parts.append(_wall(wall_m, mode, ground, rng))
    parts += _objects(style, camera, parts, (mode, wall_m), rng)
    return Layout(mode=mode, camera=camera, parts=tuple(parts), **_light(palette, rng))


def _ground() -> "trimesh.Trimesh":
    import trimesh

    corners = np.array([[-400.0, -400, 0], [400, -400, 0], [400, 400, 0], [-400, 400, 0]])
    return trimesh.Trimesh(corners, [[0, 1, 2], [0, 2, 3]], process=False)


def _wall(distance_m: float, mode: str, ground: Material, rng: np.random.Generator) -> Part:
    from trimesh import creation
    from trimesh.transformations import rotation_matrix

    height = rng.uniform(1.5, 9.0) if rng.random() < 0.7 else 30.0
    mesh = creation.box(extents=[120.0, 0.5, height]).apply_translation([0, distance_m + 0.25, height / 2])
    mesh.apply_transform(rotation_matrix(np.radians(rng.normal(0, 14)), [0, 0, 1], [0, distance_m, 0]))
    own = random_palette(rng) if mode == "distinct" else shifted_palette(ground.palette, rng)
    family = ground.family if rng.random() < 0.3 else None
    return Part(mesh=mesh, material=random_material(own, rng, family=family), category_id=0, smooth=False)


def _objects(
    style: SceneStyle, camera: Camera, background: list[Part], scene: tuple[str, float], rng: np.random.Generator
) -> list[Part]:
    """Bodies on the ground that do not touch each other or the wall, most of them inside the view."""
    mode, wall_m = scene
    placed: list[tuple[np.ndarray, float]] = []
    parts = []
    names = tuple(KINDS)
    for _ in range(int(rng.integers(style.objects[0], style.objects[1] + 1))):
        kind = names[int(rng.integers(len(names)))]
        body = standing_body(kind, float(np.exp(rng.uniform(*np.log(style.size_m)))), rng)
        material = _object_material(mode, background, rng)
        radius = float(np.linalg.norm(body.extents[:2]) / 2)
        for _ in range(12):
            distance = np.exp(rng.uniform(*np.log(style.distance_m)))
            across = rng.uniform(-0.46, 0.46) / camera.focal_widths
            centre = distance * np.array([across, 1.0])
            apart = all(np.linalg.norm(centre - other) > 0.8 * (radius + extent) for other, extent in placed)
            if apart and radius + 1.0 < distance < 0.75 * wall_m - radius:
                placed.append((centre, radius))
                body.apply_translation([*centre, 0.0])
                parts.append(
                    Part(mesh=body, material=material, category_id=names.index(kind) + 1, smooth=kind in SMOOTH)
                )
                break
    return parts


def _object_material(mode: str, background: list[Part], rng: np.random.Generator) -> Material:
    """camo: the background's palette, 80 % its family, 40 % its very material; mixed: 40 % of objects like that."""
    behind = background[int(rng.integers(len(background)))].material
    own = random_material(random_palette(rng, narrow=rng.random() < 0.6), rng)
    alike, closeness = rng.random(), rng.random()
    if mode == "distinct" or (mode == "mixed" and alike > 0.4):
        return own
    if closeness < 0.4:
        return behind
    family = behind.family if closeness < 0.8 else tuple(FAMILIES)[int(rng.integers(len(FAMILIES)))]
    return random_material(shifted_palette(behind.palette, rng), rng, family=family)


def _light(palette: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(18, 80))
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    strength = rng.uniform(0.5, 1.6) if rng.random() < 0.75 else rng.uniform(0.0, 0.15)
    exposure = rng.uniform(0.8, 1.5)
    warm = np.array([1.0, rng.uniform(0.85, 1.0), rng.uniform(0.7, 1.0)])
    ambient = exposure * rng.uniform(0.25, 0.7) * np.array([rng.uniform(0.8, 1.0), rng.uniform(0.9, 1.0), 1.0])
    grey = np.full(3, rng.uniform(0.2, 0.9))
    blue = np.array([0.25, 0.45, 0.85]) * rng.uniform(0.4, 1.1)
    tint = palette.mean(0) * rng.uniform(0.5, 1.6)
    zenith = (grey, blue, tint)[int(rng.choice(3, p=(0.45, 0.4, 0.15)))]
    horizon = 0.5 * zenith + 0.5 * grey
    return {
        "sun": sun,
        "sun_rgb": exposure * strength * warm,
        "ambient_rgb": ambient,
        "sky_rgb": np.clip(np.stack([horizon, zenith]), 0, 1),
    }
