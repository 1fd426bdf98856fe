"""Solid textures: a colour for every point of space, so that a pattern can run on from the ground over an object.

All patterns come from two tileable volumes (fractal noise and Voronoi cells) of a fixed seed, sampled with wrap-around;
what differs between materials is scale, rotation, offset, warp and palette. The same material on two surfaces gives the
same pattern in world coordinates, which is the hardest camouflage.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

__all__ = [
    "FAMILIES",
    "Material",
    "colour",
    "noise_volume",
    "random_material",
    "random_palette",
    "shifted_palette",
    "volume_lookup",
]

_SIDE = 64
"""Voxels along an edge of the tileable volumes; a power of two, so that wrapping is a bit mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    family: str
    palette: np.ndarray
    """Float "3 3": dark, middle and light linear RGB in [0, 1]."""
    period_m: float
    """Metres after which the volumes repeat; features are 1/6 (cells) to 1/64 (grain) of it."""
    rotation: np.ndarray
    offset: np.ndarray
    warp: float
    """How much noise bends the pattern, in [0, 1]."""
    grain: float
    """Contrast of the fine noise over everything, in [0, 0.5]."""


def _from_noise(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return noise


def _ridged(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return np.sqrt(np.abs(2 * noise - 1))


def _waves(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return 0.5 + 0.5 * np.sin(2 * np.pi * (6 * points[0] + 2 * warp * noise))


def _rings(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    centred = points[:2] - np.floor(points[:2]) - 0.5
    return 0.5 + 0.5 * np.sin(2 * np.pi * (8 * np.hypot(*centred) + 2 * warp * noise))


def _weave(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    bent = 2 * np.pi * (5 * points + warp * noise)
    return 0.5 + 0.25 * (np.sin(bent[0] + 2 * np.sin(bent[1])) + np.sin(bent[2] + 2 * np.cos(bent[0])))


def _checker(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    cells = np.floor(points * 8 + 0.3 * warp * noise).astype(np.int32)
    return 0.15 + 0.7 * (cells.sum(0) & 1) + 0.15 * (noise - 0.5)


def _bricks(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    rows = points[2] * 10
    along = points[:2] * 4 + 0.5 * (np.floor(rows).astype(np.int32) & 1)
    mortar = np.minimum(np.abs(rows - np.round(rows)), 2 * np.abs(along - np.round(along)).min(0)) < 0.08
    tone = np.sin(np.floor(rows) * 12.9898 + np.floor(along[0]) * 78.233 + np.floor(along[1]) * 37.719) * 0.25
    return np.where(mortar, 0.05, 0.55 + tone + 0.2 * (noise - 0.5))


def _cells(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return volume_lookup(_voronoi_volumes()[2], points + 0.05 * warp * (noise - 0.5), nearest=True)


def _spots(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return np.clip(1.6 - 16 * volume_lookup(_voronoi_volumes()[0], points + 0.1 * warp * (noise - 0.5)), 0, 1)


def _cracks(noise: np.ndarray, points: np.ndarray, warp: float) -> np.ndarray:
    return np.clip(18 * volume_lookup(_voronoi_volumes()[1], points + 0.1 * warp * (noise - 0.5)), 0, 1)


FAMILIES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "noise": _from_noise,
    "ridged": _ridged,
    "waves": _waves,
    "rings": _rings,
    "weave": _weave,
    "checker": _checker,
    "bricks": _bricks,
    "cells": _cells,
    "spots": _spots,
    "cracks": _cracks,
}
"""Name -> pattern(noise "P", points "3 P" in periods, warp) -> "P" about 0..1."""


def colour(material: Material, points_m: np.ndarray, footprint_m: np.ndarray) -> np.ndarray:
    """Linear RGB "P 3" in [0, 1] at world points "P 3"; what is finer than the pixel's footprint "P" fades."""
    points = ((points_m @ material.rotation) / material.period_m + material.offset).T.astype(np.float32)
    noise = volume_lookup(noise_volume(), points)
    value = FAMILIES[material.family](noise, points, material.warp)
    value = value + material.grain * (volume_lookup(noise_volume(), points * 3.7 + 0.31) - 0.5)
    sharpness = np.clip(1.5 - 12 * footprint_m / material.period_m, 0, 1)
    value = np.clip(0.5 + (value - 0.5) * sharpness, 0, 1)[:, None].astype(np.float32)
    dark, middle, light = material.palette.astype(np.float32)
    return np.where(value < 0.5, dark + (middle - dark) * 2 * value, middle + (light - middle) * (2 * value - 1))


def random_palette(rng: np.random.Generator, *, narrow: bool = True) -> np.ndarray:
    """Three linear RGB colours from dark to light around one hue (or two, unless narrow)."""
    hue, saturation = rng.random(), rng.beta(1.2, 1.2) * 0.9
    low = rng.uniform(0.03, 0.35)
    values = low + np.array([0.0, 0.5, 1.0]) * rng.uniform(0.15, 0.55)
    hues = hue + rng.normal(0, 0.02 if narrow else 0.15, 3)
    saturations = np.clip(saturation + rng.normal(0, 0.06, 3), 0, 1)
    return np.stack([_hsv_to_rgb(*hsv) for hsv in zip(hues % 1, saturations, values, strict=True)])


def shifted_palette(palette: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Nearly the same colours: a few per cent brighter, darker or tinted."""
    return np.clip(palette * rng.normal(1, 0.06, (1, 3)) * rng.normal(1, 0.08), 0, 1)


def random_material(palette: np.ndarray, rng: np.random.Generator, *, family: str | None = None) -> Material:
    """A material of the palette; its family is drawn unless given, everything else always."""
    names = tuple(FAMILIES)
    drawn = names[int(rng.integers(len(names)))]
    upright = rng.random() < 0.5
    return Material(
        family=family or drawn,
        palette=palette,
        period_m=float(np.exp(rng.uniform(np.log(1.5), np.log(7.0)))),
        rotation=_rotation(rng, upright=upright),
        offset=rng.random(3),
        warp=float(rng.random()),
        grain=float(rng.uniform(0.05, 0.45)),
    )


def volume_lookup(volume: np.ndarray, points: np.ndarray, *, nearest: bool = False) -> np.ndarray:
    """Values "P" of a tileable volume at points "3 P" counted in whole volumes; trilinear, or the nearest voxel's."""
    scaled = points * np.float32(_SIDE)
    if nearest:
        i, j, k = np.floor(scaled).astype(np.int32) & (_SIDE - 1)
        return volume[i, j, k]
    from scipy.ndimage import map_coordinates

    return map_coordinates(volume, scaled, order=1, mode="grid-wrap", prefilter=False)


@cache
def noise_volume() -> np.ndarray:
    """Fractal noise with a 1/f^1.7 amplitude spectrum, tileable, equalised: each value in [0, 1] is as frequent."""
    white = np.random.default_rng(1001).standard_normal((_SIDE,) * 3)
    axis = np.fft.fftfreq(_SIDE) * _SIDE
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(axis, axis, axis, indexing="ij")))
    spectrum = np.fft.fftn(white) * np.where(radius > 2, np.maximum(radius, 1.0) ** -1.7, 0.0)
    field = np.fft.ifftn(spectrum).real
    ranks = np.empty(field.size, np.float32)
    ranks[np.argsort(field, axis=None, kind="stable")] = np.linspace(0, 1, field.size)
    return ranks.reshape(field.shape)


@cache
def _voronoi_volumes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distance to the nearest of 200 points, second minus first distance, and the nearest point's value in [0, 1]."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(1002)
    seeds, values = rng.random((200, 3)), rng.random(200)
    axis = (np.arange(_SIDE) + 0.5) / _SIDE
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    distance, nearest = cKDTree(seeds, boxsize=1.0).query(grid, k=2)
    shape = (_SIDE,) * 3
    first, gap = distance[:, 0], distance[:, 1] - distance[:, 0]
    return tuple(v.reshape(shape).astype(np.float32) for v in (first, gap, values[nearest[:, 0]]))  # type: ignore[return-value]


def _rotation(rng: np.random.Generator, *, upright: bool) -> np.ndarray:
    """A rotation matrix: any, or about the vertical only (bricks and checkers then lie as laid by hand)."""
    from scipy.spatial.transform import Rotation

    turn = Rotation.from_rotvec([0.0, 0.0, rng.uniform(0, 2 * np.pi)])
    tilt = Rotation.from_rotvec(rng.normal(0, 1.0, 3))
    return (turn if upright else turn * tilt).as_matrix()


def _hsv_to_rgb(hue: float, saturation: float, value: float) -> np.ndarray:
    from colorsys import hsv_to_rgb

    return np.asarray(hsv_to_rgb(float(hue), float(saturation), float(value)))
