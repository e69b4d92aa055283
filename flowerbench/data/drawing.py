"""Pictures of flowers: a place, stems and heads in it, the light and the camera."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from flowerbench.data.blossoms import COLOURS, HEADS, colour_of, petal_colour
from flowerbench.data.petals import Array, Pose, paint_head, petals

SPECIES: tuple[str, ...] = tuple(HEADS)

# Drawn larger than asked for, then reduced: smooth edges at no cost in code.
OVERSAMPLING = 2


def draw(species: str, seed: int, number: int, size: int) -> Image.Image:
    """One RGB picture whose longer side is `size` pixels, a pure function of the arguments."""
    rng = np.random.default_rng([seed, SPECIES.index(species), number])
    long, short = size * OVERSAMPLING, round(size * rng.uniform(0.62, 1.0)) * OVERSAMPLING
    image = _place(rng, *((long, short) if rng.random() < 0.6 else (short, long)))
    _far_away(rng, image, species)
    image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.012) * size * OVERSAMPLING))
    pen = ImageDraw.Draw(image, "RGBA")
    for radius in _radii(rng):
        _plant(rng, image, pen, species, radius * min(image.size))
    if rng.random() < 0.25:
        _blades(rng, image, int(rng.integers(2, 10)), 0.02)
    return _photograph(rng, image)


def _radii(rng: Generator) -> list[float]:
    """Radii of the heads as shares of the shorter side, from far to near."""
    count = int(rng.choice([1, 2, 3, 4], p=[0.55, 0.25, 0.12, 0.08]))
    largest = np.exp(rng.uniform(np.log(0.34), np.log(0.58))) / (1 + 0.12 * (count - 1))
    return [*sorted(float(largest * rng.uniform(0.6, 1)) for _ in range(count - 1)), float(largest)]


def _noise(rng: Generator, size: tuple[int, int], cells: int) -> Array:
    """Smooth noise (height, width, 1) from 0 to 1 with about `cells` bumps along each side."""
    coarse = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)[..., None] / 255


def _place(rng: Generator, width: int, height: int) -> Image.Image:
    kind = str(rng.choice(["grass", "sky", "soil", "bokeh"], p=[0.35, 0.15, 0.2, 0.3]))
    size = (width, height)
    blend = 0.6 * _noise(rng, size, 4) + 0.4 * _noise(rng, size, 24)
    if kind == "grass":
        dark, light = np.array((34, 62, 24)), np.array((112, 150, 62)) * rng.uniform(0.8, 1.15)
    elif kind == "soil":
        dark, light = np.array((58, 42, 30)), np.array((150, 122, 92)) * rng.uniform(0.8, 1.15)
    elif kind == "sky":
        down = np.linspace(0, 1, height)[:, None, None]
        blend = 0.6 * down + 0.4 * _noise(rng, size, 5)
        dark, light = np.array((78, 128, 196)) * rng.uniform(0.6, 1.1), np.array((222, 230, 236))
    else:
        blend = _noise(rng, size, 3)
        dark, light = rng.uniform(10, 90, 3), rng.uniform(70, 190, 3)
    pixels = np.clip(dark + (light - dark) * blend, 0, 255)
    image = Image.fromarray(pixels.astype(np.uint8))
    if kind == "grass":
        _blades(rng, image, int(rng.integers(40, 120)), 0.012)
    elif kind == "soil":
        _pebbles(rng, image)
    elif kind == "sky" and rng.random() < 0.6:
        hill = Image.new("RGB", size, tuple(int(c) for c in colour_of(rng, "green") * 0.8))
        edge = height * (rng.uniform(0.6, 0.95) + 0.1 * _noise(rng, (width, 1), 5)[0, :, 0])
        mask = np.arange(height)[:, None] > edge
        image.paste(hill, mask=Image.fromarray(mask))
    return image


def _pebbles(rng: Generator, image: Image.Image) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(20, 60))):
        x, y, r = (
            rng.uniform(0, image.width),
            rng.uniform(0, image.height),
            rng.uniform(0.004, 0.025) * image.width,
        )
        grey = int(rng.uniform(60, 170))
        pen.ellipse((x - r, y - 0.7 * r, x + r, y + 0.7 * r), fill=(grey, int(grey * 0.92), int(grey * 0.8)))


def _blades(rng: Generator, image: Image.Image, count: int, thickness: float) -> None:
    pen = ImageDraw.Draw(image)
    for _ in range(count):
        x, y = rng.uniform(-0.1, 1.1) * image.width, rng.uniform(0.5, 1.3) * image.height
        tip = (x + rng.normal(0, 0.15) * image.width, y - rng.uniform(0.2, 0.7) * image.height)
        half = thickness * max(image.size) * rng.uniform(0.4, 1)
        tone = tuple(int(c) for c in colour_of(rng, "green", 0.3))
        pen.polygon([(int(x - half), int(y)), (int(tip[0]), int(tip[1])), (int(x + half), int(y))], fill=tone)


def _far_away(rng: Generator, image: Image.Image, species: str) -> None:
    """Discs of light and small heads of any species: what a photo holds beside its subject."""
    pen = ImageDraw.Draw(image, "RGBA")
    names = list(COLOURS)
    for _ in range(int(rng.integers(0, 7))):
        x, y, r = (
            rng.uniform(0, image.width),
            rng.uniform(0, image.height),
            rng.uniform(0.02, 0.12) * image.width,
        )
        tone = tuple(int(c) for c in colour_of(rng, names[int(rng.integers(len(names)))]))
        pen.ellipse((int(x - r), int(y - r), int(x + r), int(y + r)), fill=(*tone, int(rng.uniform(40, 150))))
    for _ in range(int(rng.integers(0, 2))):
        other = SPECIES[int(rng.integers(len(SPECIES)))]
        pose = Pose(
            x=rng.uniform(0, image.width),
            y=rng.uniform(0, image.height),
            radius=rng.uniform(0.03, 0.08) * min(image.size),
            tilt=rng.uniform(0.2, 1.4),
            roll=rng.normal(0, 0.3),
        )
        paint_head(pen, HEADS[other](rng, petal_colour(rng, other)), pose)


def _plant(rng: Generator, image: Image.Image, pen: ImageDraw.ImageDraw, species: str, radius: float) -> None:
    tilt = rng.uniform(0.0, 1.0) if species != "tulip" else rng.uniform(0.75, 1.6)
    pose = Pose(
        x=rng.uniform(0.24, 0.76) * image.width,
        y=rng.uniform(0.25, 0.68) * image.height,
        radius=radius,
        tilt=tilt,
        roll=rng.normal(0, 0.3),
    )
    _stem(rng, image, pen, species, pose)
    paint_head(pen, HEADS[species](rng, petal_colour(rng, species)), pose)


def _stem(rng: Generator, image: Image.Image, pen: ImageDraw.ImageDraw, species: str, pose: Pose) -> None:
    """A bent stem from the head to below the picture, and the leaves of the species along it."""
    green = colour_of(rng, "green", 0.15)
    neck, _ = pose.project(np.array((0.0, 0.0, -1.2)))
    head = np.array((pose.x, pose.y))
    foot = np.array((pose.x + rng.normal(0, 0.5) * pose.radius, image.height + pose.radius))
    t = np.linspace(0, 1, 12)[:, None]
    line = (1 - t) ** 2 * head + 2 * t * (1 - t) * neck + t**2 * foot
    thick = {"sunflower": 0.13, "tulip": 0.11, "rose": 0.09}.get(species, 0.06) * pose.radius
    for share, light in ((1.0, 0.75), (0.5, 1.1)):
        tone = tuple(int(c) for c in np.clip(green * light, 0, 255))
        pen.line([(int(x), int(y)) for x, y in line], fill=tone, width=max(1, round(thick * share)))
    length, width, blunt = {
        "daisy": (0.7, 0.12, 1.4),
        "dandelion": (1.2, 0.14, 1.6),
        "rose": (0.7, 0.24, 0.9),
        "sunflower": (1.1, 0.4, 0.7),
        "tulip": (1.9, 0.2, 0.8),
    }[species]
    for _ in range(int(rng.integers(0, 5))):
        x, y = line[int(rng.integers(3, 11))]
        side = rng.choice((-1.0, 1.0))
        angle = np.pi / 2 - side * rng.uniform(0.4, 1.4)
        flat = petals(angle, length * rng.uniform(0.7, 1.2), width, blunt=blunt)[0, :, :2] * pose.radius
        leaf = np.stack([x + flat[:, 0], y - flat[:, 1]], axis=-1)
        shade = green * rng.uniform(0.7, 1.15)
        for shrink, light in ((1.0, 0.7), (0.86, 1.0)):
            outline = leaf.mean(axis=0) + (leaf - leaf.mean(axis=0)) * shrink
            tone = tuple(int(c) for c in np.clip(shade * light, 0, 255))
            pen.polygon([(int(px), int(py)) for px, py in outline], fill=tone)
        rib = tuple(int(c) for c in np.clip(shade * 1.25, 0, 255))
        pen.line([(int(x), int(y)), (int(leaf[6, 0]), int(leaf[6, 1]))], fill=rib, width=max(1, round(thick / 4)))


def _photograph(rng: Generator, image: Image.Image) -> Image.Image:
    """Light from one side, a colour cast, contrast, blur and sensor noise; reduced to the size asked for."""
    image = image.resize((image.width // OVERSAMPLING, image.height // OVERSAMPLING), Image.Resampling.BOX)
    if rng.random() < 0.3:
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.008) * max(image.size)))
    pixels = np.asarray(image, dtype=np.float64)
    y, x = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j]
    towards = rng.uniform(0, 2 * np.pi)
    light = 1 + rng.uniform(0, 0.3) * (x * np.cos(towards) + y * np.sin(towards)) - rng.uniform(0, 0.15) * (x**2 + y**2)
    cast = rng.uniform(0.8, 1.12) * rng.uniform(0.9, 1.1, 3)
    contrast = rng.uniform(0.85, 1.15)
    pixels = (pixels * light[..., None] * cast - 110) * contrast + 110
    pixels += rng.normal(0, rng.uniform(0, 6), pixels.shape)
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
