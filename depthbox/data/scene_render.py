"""Layout -> photo, exact depth and instance ids, by rays through pixel centres (embree through embreex)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from depthbox.data.scene_layout import Layout
from depthbox.data.scene_textures import Material, colour, noise_volume, volume_lookup

__all__ = ["FAR_M", "Scene", "render"]

FAR_M = 65.535
"""The farthest depth that 16-bit millimetres hold; beyond it, and in the sky, depth is 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A rendered view. Depth and ids are hard (one ray a pixel); the photo averages four rays a pixel."""

    image: np.ndarray
    """Uint8 "H W 3", sRGB."""
    depth_m: np.ndarray
    """Float32 "H W", z-depth in metres, 0 = sky or farther than FAR_M."""
    instance: np.ndarray
    """Int32 "H W": 0 background, else 1 + index into `category_ids`."""
    category_ids: tuple[int, ...]
    mode: str
    focal_px: float

    def disparity(self) -> np.ndarray:
        """Float32 "H W" in [0, 1]: min-max of 1/z with the far at 1/z = 0, and 1 at the nearest pixel."""
        inverse = np.divide(1.0, self.depth_m, out=np.zeros_like(self.depth_m), where=self.depth_m > 0)
        low, high = inverse.min(), inverse.max()
        return (inverse - low) / max(high - low, np.float32(1e-8))


def render(layout: Layout, size_hw: tuple[int, int], rng: np.random.Generator) -> Scene:
    """The scene at `size_hw`; `rng` draws the sensor noise."""
    tracer = _Tracer(layout)
    centre = _rays(layout, size_hw, 1)
    face = tracer.first_hit(centre)
    depth = np.where(face >= 0, tracer.plane_depth(face, centre), 0.0)
    depth = np.where(depth > FAR_M, 0.0, depth).astype(np.float32)
    part = np.where(face >= 0, tracer.part_of_face[face], -1)
    is_object = np.array([p.category_id > 0 for p in layout.parts] + [False])
    first = sum(not p.category_id for p in layout.parts)
    height, width = size_hw
    photo = _shade(layout, tracer, _rays(layout, size_hw, 2), layout.camera.focal_widths * width * 2)
    photo = photo.reshape(height, 2, width, 2, 3).mean((1, 3))
    photo += np.float32(rng.uniform(0, 0.01)) * rng.standard_normal(photo.shape, dtype=np.float32)
    return Scene(
        image=np.round(255 * _srgb(photo)).astype(np.uint8),
        depth_m=depth.reshape(size_hw),
        instance=np.where(is_object[part], part - first + 1, 0).astype(np.int32).reshape(size_hw),
        category_ids=tuple(p.category_id for p in layout.parts if p.category_id),
        mode=layout.mode,
        focal_px=layout.camera.focal_widths * width,
    )


def _rays(layout: Layout, size_hw: tuple[int, int], per_side: int) -> np.ndarray:
    """Float32 "P 3": one direction a sample with forward component 1, so that a hit's distance is its z-depth."""
    height, width = (size_hw[0] * per_side, size_hw[1] * per_side)
    focal = layout.camera.focal_widths * width
    x, y = np.meshgrid((np.arange(width) + 0.5 - width / 2) / focal, (np.arange(height) + 0.5 - height / 2) / focal)
    local = np.stack([x, y, np.ones_like(x)], -1).reshape(-1, 3)
    return np.ascontiguousarray(local @ layout.camera.to_world.T, dtype=np.float32)


class _Tracer:
    """All meshes of a layout in one embree scene, with the tables that lead from a hit face to its part."""

    def __init__(self, layout: Layout) -> None:
        from embreex.mesh_construction import TriangleMesh
        from embreex.rtcore_scene import EmbreeScene

        meshes = [part.mesh for part in layout.parts]
        starts = np.cumsum([0] + [len(m.vertices) for m in meshes])
        vertices = np.concatenate([m.vertices for m in meshes])
        faces = np.concatenate([m.faces + start for m, start in zip(meshes, starts, strict=False)])
        self.part_of_face = np.repeat(np.arange(len(meshes)), [len(m.faces) for m in meshes])
        self.eye = np.array([0.0, 0.0, layout.camera.height_m])
        self._corner = vertices[faces[:, 0]]
        self._normal = np.concatenate([m.face_normals for m in meshes])
        corners = [m.vertex_normals[m.faces] if p.smooth else np.repeat(m.face_normals[:, None], 3, 1)
                   for p, m in zip(layout.parts, meshes, strict=True)]  # fmt: skip
        self._corner_normals = np.concatenate(corners).astype(np.float32)
        self._scene = EmbreeScene()
        TriangleMesh(self._scene, vertices.astype(np.float32), faces.astype(np.int32))

    def hits(self, rays: np.ndarray) -> dict[str, Any]:
        origins = np.broadcast_to(self.eye.astype(np.float32), rays.shape).copy()
        return self._scene.run(origins, rays, output=1)

    def first_hit(self, rays: np.ndarray) -> np.ndarray:
        """Int "P": the face hit first, -1 for the sky."""
        return self.hits(rays)["primID"]

    def plane_depth(self, face: np.ndarray, rays: np.ndarray) -> np.ndarray:
        """Float64 "P": exact z-depth of each ray on its face's plane (embree's own distance is single precision)."""
        normal, rays = self._normal[face], rays.astype(np.float64)
        towards = np.einsum("pc,pc->p", normal, rays)
        offset = np.einsum("pc,pc->p", normal, self._corner[face] - self.eye)
        return np.divide(offset, towards, out=np.zeros_like(offset), where=np.abs(towards) > 1e-12)

    def normals(self, hits: dict[str, Any], rays: np.ndarray) -> np.ndarray:
        """Float32 "P 3": unit shading normals on the viewer's side."""
        u, v = hits["u"][:, None], hits["v"][:, None]
        a, b, c = np.moveaxis(self._corner_normals[hits["primID"]], 1, 0)
        normal = (1 - u - v) * a + u * b + v * c
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
        return np.where(np.einsum("pc,pc->p", normal, rays)[:, None] > 0, -normal, normal)

    def in_shadow(self, points: np.ndarray, sun: np.ndarray) -> np.ndarray:
        towards = np.broadcast_to(sun.astype(np.float32), points.shape).copy()
        return self._scene.run(points.astype(np.float32), towards, query="OCCLUDED") >= 0


def _shade(layout: Layout, tracer: _Tracer, rays: np.ndarray, focal_px: float) -> np.ndarray:
    """Linear RGB "P 3": solid texture under one sun with hard shadows, plus an ambient that is darker from below."""
    hits = tracer.hits(rays)
    hit = hits["primID"] >= 0
    photo = np.empty(rays.shape, np.float32)
    photo[~hit] = _sky(layout, rays[~hit])
    hits = {key: value[hit] for key, value in hits.items()}
    rays, distance = rays[hit], hits["tfar"][:, None]
    points = tracer.eye.astype(np.float32) + distance * rays
    normal = tracer.normals(hits, rays)
    lit = np.clip(normal @ layout.sun.astype(np.float32), 0, None)
    facing = np.nonzero(lit)[0]
    outside = points[facing] + (2e-3 + 1e-4 * distance[facing]) * normal[facing]
    lit[facing[tracer.in_shadow(outside, layout.sun)]] = 0.0
    sun_rgb, ambient_rgb = layout.sun_rgb.astype(np.float32), layout.ambient_rgb.astype(np.float32)
    light = lit[:, None] * sun_rgb + (0.75 + 0.25 * normal[:, 2:]) * ambient_rgb
    grazing = np.clip(np.abs(np.einsum("pc,pc->p", normal, rays)), 0.05, 1.0)
    footprint = distance[:, 0] / focal_px / grazing
    albedo = _albedo(layout, tracer.part_of_face[hits["primID"]], points, footprint)
    photo[hit] = albedo * light
    return photo


def _albedo(layout: Layout, part: np.ndarray, points: np.ndarray, footprint: np.ndarray) -> np.ndarray:
    shared: dict[int, tuple[Material, list[int]]] = {}
    for index, piece in enumerate(layout.parts):
        shared.setdefault(id(piece.material), (piece.material, []))[1].append(index)
    albedo = np.zeros(points.shape, np.float32)
    for material, indices in shared.values():
        where = np.isin(np.arange(len(layout.parts)), indices)[part]
        if where.any():
            albedo[where] = colour(material, points[where], footprint[where])
    return albedo


def _sky(layout: Layout, rays: np.ndarray) -> np.ndarray:
    """A gradient from horizon to zenith with soft clouds."""
    up = rays[:, 2:] / np.linalg.norm(rays, axis=1, keepdims=True)
    horizon, zenith = layout.sky_rgb.astype(np.float32)
    clouds = volume_lookup(noise_volume(), (0.2 * rays / np.maximum(np.abs(up) + 0.3, 0.3)).T)[:, None]
    return (horizon + (zenith - horizon) * np.sqrt(np.clip(up, 0, 1))) * (0.85 + 0.3 * clouds)


def _srgb(linear: np.ndarray) -> np.ndarray:
    linear = np.clip(linear, 0, 1)
    return np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
