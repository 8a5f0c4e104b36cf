"""What lies around the product: the belt, what gets in the way, the light and the camera."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sextant_examples.parcels.products import CANVAS, shade

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

_SKIN = ((232, 190, 160), (198, 140, 104), (128, 84, 58), (40, 90, 150), (236, 196, 60))  # the last two wear gloves


def belt(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return an empty stretch of conveyor, shape (CANVAS, CANVAS, 3), 0 to 255."""
    rows, columns = np.mgrid[0:CANVAS, 0:CANVAS].astype(np.float32)
    kind = int(rng.integers(4))
    across = rows if rng.random() < 0.5 else columns
    phase = float(rng.uniform(0, 40))
    if kind == 0:  # dark rubber with a weave
        base, texture = np.array([52, 54, 58]), 6 * np.sin((rows + columns) / 2.2) * np.sin((rows - columns) / 2.2)
    elif kind == 1:  # steel rollers
        base, texture = np.array([138, 142, 148]), 46 * np.sin((across + phase) * math.pi / 17)
    elif kind == 2:  # green belt with seams
        base, texture = np.array([60, 96, 84]), np.where((across + phase) % 56 < 3, -26.0, 0.0)
    else:  # packing table
        base, texture = np.array([176, 148, 112]), 9 * np.sin((across + 6 * np.sin(columns / 31)) / 5.0)
    grain = 4 * rng.standard_normal((CANVAS, CANVAS), dtype=np.float32)
    ground = base * float(rng.uniform(0.85, 1.15)) + (texture + grain)[..., None]
    return np.asarray(ground, dtype=np.float32)


def place(product: Image, rng: np.random.Generator) -> Image:
    """Return the product turned, tilted, shifted and scaled as it may lie on the belt, RGBA."""
    from PIL import Image

    turned = product.rotate(
        float(rng.uniform(0, 360)), Image.Resampling.BILINEAR, translate=tuple(rng.integers(-10, 11, 2).tolist())
    )
    zoom = float(rng.uniform(0.92, 1.25))
    reach = CANVAS / 2 * zoom
    tilt = rng.uniform(-0.12, 0.12, 2) / CANVAS
    # Output (x, y) is read at ((a x + b y + c) / (g x + h y + 1), ...); the centre stays near the centre.
    start = CANVAS / 2 - reach
    return turned.transform(
        (CANVAS, CANVAS),
        Image.Transform.PERSPECTIVE,
        (zoom, 0.0, start, 0.0, zoom, start, float(tilt[0]), float(tilt[1])),
        Image.Resampling.BILINEAR,
    )


def shadow(product: Image, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how much light the product's shadow leaves, shape (CANVAS, CANVAS, 1), 0 to 1."""
    from PIL import ImageChops, ImageFilter

    soft = product.getchannel("A").filter(ImageFilter.BoxBlur(6))
    moved = ImageChops.offset(soft, int(rng.integers(-8, 9)), int(rng.integers(-8, 9)))
    return np.asarray(1 - 0.55 / 255 * np.asarray(moved)[..., None], dtype=np.float32)


def get_in_the_way(scene: Image, rng: np.random.Generator) -> None:
    """Draw over the scene what may hide part of the product: tape, a hand, the next parcel."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(scene)
    if rng.random() < 0.25:
        start, end = rng.uniform(0, CANVAS, 2), rng.uniform(0, CANVAS, 2)
        colour = (206, 182, 132) if rng.random() < 0.6 else (200, 40, 44)
        draw.line((*start.tolist(), *end.tolist()), fill=colour, width=int(rng.integers(6, 13)))
    if rng.random() < 0.15:
        _hand(draw, rng)
    if rng.random() < 0.2:
        depth, along = rng.uniform(12, 34), rng.uniform(-60, 100)
        colour = shade((182, 146, 104), float(rng.uniform(0.7, 1.2)))
        sides = (
            (along, -9, along + 150, depth),
            (along, CANVAS - depth, along + 150, CANVAS + 9),
            (-9, along, depth, along + 150),
            (CANVAS - depth, along, CANVAS + 9, along + 150),
        )
        draw.rectangle(sides[int(rng.integers(4))], fill=colour, outline=shade(colour, 0.6), width=3)


def _hand(draw: ImageDraw, rng: np.random.Generator) -> None:
    """Draw a hand that reaches in from an edge."""
    skin = _SKIN[int(rng.integers(len(_SKIN)))]
    angle = rng.uniform(0, 2 * math.pi)
    inward = np.array([-math.cos(angle), -math.sin(angle)])
    aside = np.array([-inward[1], inward[0]])
    palm = np.array([96.0, 96.0]) - inward * rng.uniform(84, 100)
    draw.line((*(palm - inward * 50).tolist(), *palm.tolist()), fill=shade(skin, 0.85), width=34)
    draw.ellipse((*(palm - 22).tolist(), *(palm + 22).tolist()), fill=skin)
    for finger in (-1.4, -0.5, 0.4, 1.3):
        root = palm + aside * finger * 12 + inward * 8
        tip = root + inward * (32 - 4 * abs(finger))
        draw.line((*root.tolist(), *tip.tolist()), fill=skin, width=9)
        draw.ellipse((*(tip - 4.5).tolist(), *(tip + 4.5).tolist()), fill=skin)


def expose(light: NDArray[np.float32], rng: np.random.Generator, *, level: float) -> NDArray[np.uint8]:
    """Return what the sensor makes of the scene: uneven light of a colour, then noise; same shape, 0 to 255.

    `level` is the mean light, 1 for a lit hall; a darker hall has more noise.
    """
    size = light.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32) / size - 0.5
    angle = rng.uniform(0, 2 * math.pi)
    slope = 1 + float(rng.uniform(0, 0.35)) * (math.cos(angle) * columns + math.sin(angle) * rows)
    corners = 1 - float(rng.uniform(0, 0.5)) * (rows**2 + columns**2)
    warmth = float(rng.uniform(-0.07, 0.07))
    tint = np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32)
    seen = light * (slope * corners)[..., None] * tint * (level * float(rng.uniform(0.75, 1.2)))
    noise = rng.standard_normal(light.shape, dtype=np.float32) * (float(rng.uniform(1, 5)) / math.sqrt(level))
    return np.asarray(np.clip(seen + noise, 0, 255), dtype=np.uint8)
