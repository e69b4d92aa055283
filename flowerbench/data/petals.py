"""Petals in space: their outlines, how they look from any side, and painting them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageDraw

Array = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Faces:
    """Pieces of a head: outlines (n, points, 3) in head radii, z along its axis; colours (n, 3) to 255.

    Petals get a dark edge and a light middle; `alpha` below 255 lets what is behind shine through.
    """

    outlines: Array
    colours: Array
    petals: bool = True
    alpha: int = 255


@dataclass(frozen=True)
class Pose:
    """Where a head is and how it is seen: centre and radius in pixels, angles in radians.

    `tilt` 0 looks into the head from above, pi/2 sees it from the side; `roll` turns the picture of it.
    """

    x: float
    y: float
    radius: float
    tilt: float
    roll: float

    def project(self, points: Array) -> tuple[Array, Array]:
        """Points (..., 3) in head radii to pixels (..., 2) and their nearness to the viewer (...)."""
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        up = y * np.cos(self.tilt) + z * np.sin(self.tilt)
        near = z * np.cos(self.tilt) - y * np.sin(self.tilt)
        zoom = self.radius / (1 - 0.18 * near)
        across = x * np.cos(self.roll) - up * np.sin(self.roll)
        up = x * np.sin(self.roll) + up * np.cos(self.roll)
        return np.stack([self.x + zoom * across, self.y - zoom * up], axis=-1), near


def petals(
    angle: Array | float,
    length: Array | float,
    width: Array | float,
    *,
    rise: Array | float = 0.0,
    curl: float = 0.0,
    inner: float = 0.0,
    height: Array | float = 0.0,
    blunt: float = 1.0,
    wrap: bool = False,
) -> Array:
    """The outlines (n, 14, 3) of petals that leave the axis at `inner` towards `angle` (n,).

    Their slope is `rise` + `curl` * t along the way. `width` is half the breadth: in head radii, or in
    radians round the axis for petals that wrap it as in a cup. A large `blunt` puts the broadest place near
    a round tip.
    """
    angle, length, width, rise, height = (np.atleast_1d(v)[:, None] for v in (angle, length, width, rise, height))
    t = np.sin(np.pi / 2 * np.linspace(0, 1, 7))
    slope = rise + curl * t
    steps = np.diff(t, prepend=0.0) * length
    out = inner + np.cumsum(np.cos(slope) * steps, axis=1)
    high = height + np.cumsum(np.sin(slope) * steps, axis=1)
    side = width * np.sin(np.pi * t**blunt) ** (0.6 if blunt > 1 else 1.0)
    side = np.broadcast_to(side, out.shape)
    out, high, side = (np.hstack([v, w[:, ::-1]]) for v, w in ((out, out), (high, high), (side, -side)))
    if wrap:
        return np.stack([out * np.cos(angle + side), out * np.sin(angle + side), high], axis=-1)
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([out * c - side * s, out * s + side * c, high], axis=-1)


def paint_head(pen: ImageDraw.ImageDraw, head: list[Faces], pose: Pose) -> None:
    """Paint the faces from far to near (painter's algorithm); `pen` draws in mode RGBA."""
    strokes: list[tuple[float, list[tuple[list[int], tuple[int, ...]]]]] = []
    for faces in head:
        flat, near = pose.project(faces.outlines)
        middle, depth = flat.mean(axis=1, keepdims=True), near.mean(axis=1)
        colours = faces.colours * (0.9 + 0.14 * np.clip(depth, -1, 1)[:, None])
        layers = []
        for shrink, light in ((1.0, 0.7), (0.88, 1.0), (0.5, 1.1)) if faces.petals else ((1.0, 1.0),):
            outlines = np.rint(middle + (flat - middle) * shrink).astype(int).reshape(len(flat), -1)
            tones = np.clip(colours * light, 0, 255).astype(int).tolist()
            layers.append([(o, (*t, faces.alpha)) for o, t in zip(outlines.tolist(), tones, strict=True)])
        strokes += zip(depth.tolist(), zip(*layers, strict=True), strict=True)
    for _, layers_of_one in sorted(strokes, key=lambda stroke: stroke[0]):
        for outline, tone in layers_of_one:
            pen.polygon(outline, fill=tone)
