"""The bodies of the rendered scenes: unit meshes by category, placed on the ground plane."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import trimesh

__all__ = ["KINDS", "SMOOTH", "standing_body"]

SMOOTH = frozenset({"sphere", "torus", "capsule"})
"""Kinds shaded with interpolated normals; the others keep their facets (a cylinder has 48 of them)."""


def _box(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.box(extents=np.exp(rng.uniform(-0.45, 0.45, 3)))


def _sphere(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.icosphere(subdivisions=3, radius=0.55)


def _cylinder(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.cylinder(radius=rng.uniform(0.3, 0.55), height=rng.uniform(0.6, 1.6), sections=48)


def _cone(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.cone(radius=rng.uniform(0.4, 0.65), height=rng.uniform(0.9, 1.8), sections=48)


def _torus(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.torus(0.5, rng.uniform(0.13, 0.22), major_sections=48, minor_sections=20)


def _capsule(rng: np.random.Generator) -> "trimesh.Trimesh":
    from trimesh import creation

    return creation.capsule(height=rng.uniform(0.5, 1.0), radius=rng.uniform(0.25, 0.4), count=[24, 24])


def _crystal(rng: np.random.Generator) -> "trimesh.Trimesh":
    """The convex hull of a dozen jittered points: sharp facets, no two alike."""
    import trimesh

    points = rng.normal(size=(12, 3))
    points *= rng.uniform(0.75, 1.0, (12, 1)) * 0.6 / np.linalg.norm(points, axis=1, keepdims=True)
    return trimesh.convex.convex_hull(points * [1.0, 1.0, rng.uniform(0.8, 1.6)])


def _table(rng: np.random.Generator) -> "trimesh.Trimesh":
    """A top on four legs, half of the time with a back (a chair): thin parts with background between them."""
    import trimesh
    from trimesh import creation

    width, depth, height = rng.uniform(0.7, 1.2), rng.uniform(0.7, 1.0), rng.uniform(0.5, 0.9)
    leg, top = rng.uniform(0.08, 0.14), rng.uniform(0.08, 0.14)
    parts = [creation.box(extents=[width, depth, top]).apply_translation([0, 0, height])]
    for x in (-1, 1):
        for y in (-1, 1):
            place = [x * (width - leg) / 2, y * (depth - leg) / 2, height / 2]
            parts.append(creation.box(extents=[leg, leg, height]).apply_translation(place))
    if rng.random() < 0.5:
        back = creation.box(extents=[width, leg, height])
        parts.append(back.apply_translation([0, (depth - leg) / 2, 1.5 * height]))
    return trimesh.util.concatenate(parts)  # type: ignore[return-value]


KINDS: dict[str, Callable[[np.random.Generator], "trimesh.Trimesh"]] = {
    "box": _box,
    "sphere": _sphere,
    "cylinder": _cylinder,
    "cone": _cone,
    "torus": _torus,
    "capsule": _capsule,
    "crystal": _crystal,
    "table": _table,
}
"""Category name -> a body about one metre across; category ids count from 1 in this order."""

_LYING = {"box": 0.2, "cylinder": 0.25, "cone": 0.1, "torus": 0.6, "capsule": 0.6, "crystal": 0.5, "table": 0.05}
"""How often a body lies on its side instead of standing."""


def standing_body(kind: str, size_m: float, rng: np.random.Generator) -> "trimesh.Trimesh":
    """A body of the kind, about `size_m` across, turned at random, its lowest point on the ground at the origin."""
    from trimesh.transformations import rotation_matrix

    body = KINDS[kind](rng)
    lying, angle, turn = rng.random() < _LYING.get(kind, 0.0), rng.uniform(70, 110), rng.uniform(0, 2 * np.pi)
    if kind == "torus":
        angle = rng.uniform(0, 90)
    if lying:
        body.apply_transform(rotation_matrix(np.radians(angle), [1, 0, 0]))
    body.apply_transform(rotation_matrix(turn, [0, 0, 1]))
    body.apply_scale(size_m)
    low, high = body.bounds
    body.apply_translation([*(-(low + high)[:2] / 2), -low[2]])
    return body
