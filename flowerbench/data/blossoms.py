"""What the heads of five species are made of."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from flowerbench.data.petals import Array, Faces, petals

GOLDEN_ANGLE = np.pi * (3 - 5**0.5)

COLOURS = {
    "white": (240, 238, 228),
    "cream": (245, 228, 170),
    "yellow": (246, 202, 36),
    "orange": (240, 140, 40),
    "pink": (236, 138, 168),
    "red": (200, 36, 44),
    "purple": (158, 84, 178),
    "brown": (92, 56, 32),
    "green": (88, 136, 58),
}

# Species share their colours, so that colour alone does not name the flower.
PALETTES = {
    "daisy": {"white": 0.5, "pink": 0.16, "yellow": 0.14, "purple": 0.14, "red": 0.06},
    "dandelion": {"yellow": 0.62, "orange": 0.08, "white": 0.3},
    "rose": {"red": 0.34, "pink": 0.3, "white": 0.12, "yellow": 0.12, "orange": 0.12},
    "sunflower": {"yellow": 0.6, "orange": 0.22, "cream": 0.08, "red": 0.1},
    "tulip": {"red": 0.22, "yellow": 0.16, "pink": 0.2, "white": 0.06, "purple": 0.26, "orange": 0.1},
}


def colour_of(rng: Generator, name: str, spread: float = 0.1) -> Array:
    """A shade near a colour of the table, (3,) from 0 to 255."""
    shade = np.array(COLOURS[name]) * rng.uniform(1 - spread, 1 + spread, 3) * rng.uniform(1 - spread, 1 + spread)
    return np.clip(shade, 0, 255)


def petal_colour(rng: Generator, species: str) -> Array:
    """A colour that the species may have, (3,) from 0 to 255."""
    palette = PALETTES[species]
    return colour_of(rng, str(rng.choice(list(palette), p=list(palette.values()))))


def _shades(rng: Generator, colour: Array, count: int) -> Array:
    return colour * rng.uniform(0.88, 1.06, (count, 1))


def _ring(
    rng: Generator,
    count: int,
    colour: Array,
    length: float,
    width: float,
    *,
    rise: float,
    curl: float = 0.0,
    inner: float = 0.0,
    height: float = 0.0,
    blunt: float = 1.0,
) -> Faces:
    angle = rng.uniform(0, 2 * np.pi) + (np.arange(count) + rng.normal(0, 0.12, count)) * 2 * np.pi / count
    length_of_each, rise_of_each = length * rng.uniform(0.88, 1.06, count), rise + rng.normal(0, 0.07, count)
    outlines = petals(
        angle, length_of_each, width, rise=rise_of_each, curl=curl, inner=inner, height=height, blunt=blunt
    )
    return Faces(outlines, _shades(rng, colour, count))


def _disc(rng: Generator, colour: Array, radius: float, seeds: int, dome: float) -> list[Faces]:
    around = np.linspace(0, 2 * np.pi, 25)[:-1]
    rim = np.stack([radius * np.cos(around), radius * np.sin(around), np.full(24, 0.06)], axis=-1)
    far = np.sqrt((np.arange(seeds) + 0.5) / seeds)
    angle = np.arange(seeds) * GOLDEN_ANGLE
    middles = radius * 0.94 * np.stack([far * np.cos(angle), far * np.sin(angle), dome * (1 - far**2)], axis=-1)
    middles[:, 2] += 0.1
    diamond = np.array([(1, 0, 0), (0, 1, 0), (-1, 0, 0), (0, -1, 0)]) * radius * 1.2 / np.sqrt(seeds)
    shades = 0.72 + 0.5 * rng.random(seeds) * (0.5 + 0.5 * far)
    return [
        Faces(rim[None], colour[None] * 0.7, petals=False),
        Faces(middles[:, None] + diamond, colour * shades[:, None], petals=False),
    ]


def _daisy(rng: Generator, colour: Array) -> list[Faces]:
    count, rise, curl = int(rng.integers(11, 23)), rng.uniform(-0.15, 0.5), rng.uniform(-0.5, 0.1)
    middle = colour_of(rng, str(rng.choice(["yellow", "orange", "brown"], p=[0.65, 0.23, 0.12])))
    radius, width = rng.uniform(0.2, 0.34), rng.uniform(1.6, 2.3) / count
    ring = _ring(rng, count, colour, 0.88, width, rise=rise, curl=curl, inner=0.12, blunt=1.7)
    return [ring, *_disc(rng, middle, radius, 60, 0.5)]


def _dandelion(rng: Generator, colour: Array) -> list[Faces]:
    pale = colour.min() > 120
    if pale:
        return _clock(rng, colour)
    openness = rng.uniform(0.75, 1.25)
    faces = [_ring(rng, 9, colour_of(rng, "green"), 0.5, 0.1, rise=-0.1, curl=1.0, height=-0.16)]
    for layer in range(5):
        length, rise = 1 - 0.15 * layer, (0.1 + 0.3 * layer) * openness
        shade = colour * (1 - 0.06 * (layer % 2))
        faces.append(_ring(rng, 22 - 3 * layer, shade, length, 0.075, rise=rise, blunt=1.5, height=0.05 * layer))
    return faces


def _clock(rng: Generator, colour: Array) -> list[Faces]:
    """The ball of seeds that a dandelion turns into."""
    count = 76
    high = 1 - 2 * (np.arange(count) + 0.5) / count
    angle, flat = np.arange(count) * GOLDEN_ANGLE, np.sqrt(1 - high**2)
    ends = np.stack([flat * np.cos(angle), flat * np.sin(angle), high], axis=-1) * rng.uniform(0.86, 1, (count, 1))
    # Wind takes some of the seeds.
    ends = ends[rng.random(count) > rng.uniform(0, 0.3)][:, None]
    u = np.cross(ends, (0.31, 0.52, 0.79))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    v = np.cross(ends, u)
    stalks = np.concatenate(
        [ends * r + w * u for r, w in ((0.1, 0.012), (1, 0.012), (1, -0.012), (0.1, -0.012))], axis=1
    )
    corner = np.arange(10)
    spike = np.where(corner % 2, 0.22, 0.07)[:, None]
    stars = ends + spike * (np.cos(corner * np.pi / 5)[:, None] * u + np.sin(corner * np.pi / 5)[:, None] * v)
    return [
        Faces(stalks, _shades(rng, colour * 0.88, len(ends)), petals=False, alpha=170),
        Faces(stars, _shades(rng, colour * 1.04, len(ends)), petals=False, alpha=120),
        *_disc(rng, colour_of(rng, "brown"), 0.14, 12, 1.0),
    ]


def _rose(rng: Generator, colour: Array) -> list[Faces]:
    count, openness = int(rng.integers(15, 26)), rng.uniform(0.7, 1.15)
    angle, f = rng.uniform(0, 2 * np.pi) + np.arange(count) * GOLDEN_ANGLE, np.linspace(0.0, 1.0, count)
    length, width = (
        (1.1 - 0.72 * f) * rng.uniform(0.93, 1.05, count),
        rng.uniform(0.55, 0.8, count) + 0.25 * f,
    )
    rise = (0.25 + 0.9 * f) / openness
    outlines = petals(angle, length, width, rise=rise, curl=0.35, height=0.42 * f, blunt=2.2, wrap=True)
    sepals = _ring(rng, 5, colour_of(rng, "green"), 0.8, 0.14, rise=rng.uniform(-0.6, 0.5), height=-0.08)
    return [sepals, Faces(outlines, _shades(rng, colour, count) * (1.02 - 0.24 * f[:, None]))]


def _sunflower(rng: Generator, colour: Array) -> list[Faces]:
    count, rise, curl = int(rng.integers(13, 21)), rng.uniform(-0.1, 0.45), rng.uniform(-0.4, 0.3)
    radius = rng.uniform(0.4, 0.56)
    middle = colour_of(rng, str(rng.choice(["brown", "orange", "green"], p=[0.76, 0.12, 0.12])))
    return [
        _ring(rng, 11, colour_of(rng, "green"), 0.75, 0.13, rise=-0.2, inner=0.15, height=-0.1),
        _ring(rng, count, colour * 0.86, 0.72, 0.13, rise=rise, curl=curl, inner=0.3),
        _ring(rng, count, colour, 0.66, 0.13, rise=rise, curl=curl, inner=0.3, height=0.03),
        *_disc(rng, middle, radius, 130, 0.25),
    ]


def _tulip(rng: Generator, colour: Array) -> list[Faces]:
    rise, curl, blunt = rng.uniform(0.25, 0.6), rng.uniform(0.75, 1.45), rng.uniform(0.9, 1.5)
    six, outer = np.arange(6), np.arange(6)[:, None] % 2
    angle = rng.uniform(0, 2 * np.pi) + six * np.pi / 3
    outlines = petals(angle, 1.55 - 0.08 * (six % 2), 0.62, rise=rise, curl=curl, height=-0.35, blunt=blunt, wrap=True)
    middle = colour_of(rng, str(rng.choice(["yellow", "brown", "green"])))
    return [
        Faces(outlines, _shades(rng, colour, 6) * (0.88 + 0.12 * outer)),
        *_disc(rng, middle, 0.16, 8, 1.0),
    ]


HEADS: dict[str, Callable[[Generator, Array], list[Faces]]] = {
    "daisy": _daisy,
    "dandelion": _dandelion,
    "rose": _rose,
    "sunflower": _sunflower,
    "tulip": _tulip,
}
