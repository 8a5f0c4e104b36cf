"""How each class of product is drawn: flat, upright and centred on a clear canvas of 192 x 192 pixels.

The camera crops to the parcel, so that size is not to be seen; scene.py turns, tilts and lights the drawing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sextant_examples.parcels.suppliers import Colour, Supplier

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

CANVAS = 192
PLAIN = 0.72  # share of the look-alike classes that travels in packaging that does not tell them apart

_VIVID: tuple[Colour, ...] = (
    (214, 60, 60),
    (240, 180, 40),
    (60, 150, 210),
    (90, 180, 90),
    (180, 90, 190),
    (240, 130, 60),
)
_COVERS: tuple[Colour, ...] = (
    (128, 32, 40),
    (30, 58, 104),
    (36, 92, 66),
    (222, 206, 172),
    (62, 54, 70),
    (208, 118, 44),
)
_GLASS: tuple[Colour, ...] = ((44, 92, 58), (120, 70, 34), (196, 214, 218), (52, 70, 128))
_POLY: tuple[Colour, ...] = ((206, 208, 212), (72, 74, 80), (232, 226, 210), (120, 136, 158))
_GLAZE: tuple[Colour, ...] = ((238, 236, 230), (52, 96, 140), (180, 66, 54), (70, 72, 76), (120, 160, 130))


def draw_product(label: str, supplier: Supplier, rng: np.random.Generator) -> Image:
    """Return the product in its supplier's packaging, RGBA; clear where the belt shows."""
    from PIL import Image, ImageDraw

    image = Image.new("RGBA", (CANVAS, CANVAS), (0, 0, 0, 0))
    _DRAW[label](ImageDraw.Draw(image), supplier, rng)
    return image


def shade(colour: Colour, factor: float) -> Colour:
    """Return the colour made darker (factor < 1) or lighter."""
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


def _pick(colours: tuple[Colour, ...], rng: np.random.Generator) -> Colour:
    return colours[int(rng.integers(len(colours)))]


def _near(colour: Colour, rng: np.random.Generator) -> Colour:
    return shade(colour, float(rng.uniform(0.88, 1.12)))


def _mark(draw: ImageDraw, supplier: Supplier, x: float, y: float, size: float) -> None:
    """Draw the supplier's logo with its centre at (x, y)."""
    left, top, right, bottom = x - size, y - size, x + size, y + size
    colour = supplier.accent
    if supplier.mark == "leaf":
        draw.chord((left, top, right, bottom), 200, 20, fill=colour)
        draw.line((left, bottom, right, top), fill=shade(colour, 1.5), width=2)
    elif supplier.mark == "ring":
        draw.ellipse((left, top, right, bottom), outline=colour, width=max(3, int(size / 3)))
    elif supplier.mark == "chevron":
        draw.line((left, y, x, top, right, y), fill=colour, width=max(3, int(size / 2.5)), joint="curve")
        draw.line((left, bottom, x, y, right, bottom), fill=colour, width=max(3, int(size / 2.5)), joint="curve")
    elif supplier.mark == "bar":
        draw.rectangle((left, y - size / 3, right, y + size / 3), fill=colour)
    else:
        draw.rectangle((left, top, x - 1, y - 1), fill=colour)
        draw.rectangle((x + 1, y + 1, right, bottom), fill=colour)


def _box(draw: ImageDraw, colour: Colour, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Draw a closed box seen from above one edge; return the rectangle of its top face."""
    half_width, half_height = rng.uniform(52, 72), rng.uniform(42, 60)
    depth = rng.uniform(8, 24)
    left, right = 96 - half_width, 96 + half_width
    top, bottom = 92 - half_height, 92 + half_height - depth / 2
    draw.polygon(
        ((left, bottom), (right, bottom), (right - depth * 0.3, bottom + depth), (left + depth * 0.3, bottom + depth)),
        fill=shade(colour, 0.62),
    )
    draw.rectangle((left, top, right, bottom), fill=colour, outline=shade(colour, 0.75))
    return left, top, right, bottom


def _carton(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    """Draw the supplier's own shipping carton: nothing on it tells what is inside."""
    colour = _near(supplier.carton, rng)
    left, top, right, bottom = _box(draw, colour, rng)
    middle = (top + bottom) / 2
    draw.rectangle((left, middle - 6, right, middle + 6), fill=supplier.tape)
    draw.line((left, middle, right, middle), fill=shade(supplier.tape, 0.8))
    _mark(draw, supplier, left + 22, top + 18, 11)
    if rng.random() < 0.7:
        _sticker(draw, right - 44, bottom - 30, rng)


def _sticker(draw: ImageDraw, x: float, y: float, rng: np.random.Generator) -> None:
    draw.rectangle((x, y, x + 38, y + 24), fill=(246, 246, 242))
    position = x + 4
    while position < x + 32:
        width = float(rng.integers(1, 4))
        draw.rectangle((position, y + 4, position + width - 1, y + 15), fill=(28, 28, 30))
        position += width + float(rng.integers(1, 4))
    draw.line((x + 4, y + 19, x + 26, y + 19), fill=(90, 90, 94), width=2)


def _toy_box(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    if rng.random() < PLAIN:
        _carton(draw, supplier, rng)
        return
    ground = _pick(_VIVID, rng)
    left, top, right, bottom = _box(draw, ground, rng)
    for _ in range(7):
        x, y, size = rng.uniform(left + 10, right - 10), rng.uniform(top + 10, bottom - 10), rng.uniform(5, 11)
        figure = (x - size, y - size, x + size, y + size)
        if rng.random() < 0.5:
            draw.ellipse(figure, fill=_pick(_VIVID, rng))
        else:
            draw.regular_polygon(
                (x, y, size), int(rng.integers(3, 7)), rotation=int(rng.integers(90)), fill=_pick(_VIVID, rng)
            )
    draw.rectangle((left, bottom - 14, right, bottom), fill=(248, 240, 214))
    _mark(draw, supplier, 96, bottom - 7, 6)


def _electronics(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    if rng.random() < PLAIN:
        _carton(draw, supplier, rng)
        return
    ground = _near((44, 46, 54) if rng.random() < 0.6 else (232, 234, 238), rng)
    left, top, right, bottom = _box(draw, ground, rng)
    wide = (right - left) / 3
    screen = (left + 12, top + 14, left + 12 + 1.7 * wide, bottom - 14)
    draw.rounded_rectangle(screen, 6, fill=(18, 24, 34), outline=(120, 130, 146), width=2)
    draw.polygon(
        ((screen[0] + 6, screen[3] - 6), (screen[2] - 8, screen[1] + 6), (screen[2] - 8, screen[3] - 6)),
        fill=(70, 130, 190),
    )
    for row in range(3):
        y = top + 22 + 11 * row
        draw.line((right - wide + 10, y, right - 10, y), fill=(150, 156, 166), width=3)
    _mark(draw, supplier, right - 18, bottom - 16, 8)


def _cylinder(draw: ImageDraw, colour: Colour, half: float, top: float, bottom: float) -> None:
    """Draw an upright cylinder on its side light: bright a third from the left, dark at both edges."""
    for x in range(int(96 - half), int(96 + half) + 1):
        place = (x - 96 + half) / (2 * half)
        light = 0.55 + 0.65 * math.exp(-(((place - 0.35) / 0.28) ** 2))
        arc = half * 0.22 * math.sin(math.pi * place)
        draw.line((x, top - arc, x, bottom + arc), fill=shade(colour, light))


def _sleeve(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    """Draw a long thing rolled in the supplier's corrugated sleeve; its ends do not show."""
    colour = _near(supplier.carton, rng)
    half, top, bottom = rng.uniform(19, 27), rng.uniform(16, 26), rng.uniform(166, 176)
    _cylinder(draw, colour, half, top, bottom)
    for y in np.arange(top + 6, bottom - 4, 7):
        draw.arc((96 - half, y - 5, 96 + half, y + 5), 10, 170, fill=shade(colour, 0.72))
    for y in (top + 20, bottom - 20):
        draw.rectangle((96 - half, y - 5, 96 + half, y + 5), fill=supplier.tape)
    _mark(draw, supplier, 96, rng.uniform(80, 112), half * 0.5)


def _bottle(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    if rng.random() < PLAIN:
        _sleeve(draw, supplier, rng)
        return
    glass, half, shoulder = _near(_pick(_GLASS, rng), rng), rng.uniform(23, 31), rng.uniform(64, 78)
    _cylinder(draw, glass, half * 0.36, 24, shoulder)
    draw.chord((96 - half, shoulder - 18, 96 + half, shoulder + 26), 180, 360, fill=shade(glass, 0.9))
    _cylinder(draw, glass, half, shoulder, 172)
    _cylinder(draw, supplier.accent, half * 0.42, 16, 34)
    _cylinder(draw, (240, 234, 220), half, shoulder + 24, 142)
    _mark(draw, supplier, 96, (shoulder + 166) / 2, half * 0.45)


def _tube(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    if rng.random() < PLAIN:
        _sleeve(draw, supplier, rng)
        return
    board, half = _near((214, 200, 172), rng), rng.uniform(13, 19)
    _cylinder(draw, board, half, 14, 178)
    for y in range(20, 176, 22):
        draw.line((96 - half, y + 10, 96 + half, y - 6), fill=shade(board, 0.7), width=2)
    for top in (10, 166):
        _cylinder(draw, supplier.accent, half + 1.5, top, top + 16)


def _book(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    cover, half = _near(_pick(_COVERS, rng), rng), rng.uniform(46, 58)
    left, right, top, bottom = 96 - half, 96 + half, rng.uniform(24, 34), rng.uniform(154, 166)
    draw.rectangle((left + 5, top + 5, right + 6, bottom + 7), fill=(238, 232, 214), outline=(176, 168, 148))
    for offset in (2, 4, 6):
        draw.line((left + 5, bottom + offset, right + 5, bottom + offset), fill=(190, 182, 162))
    draw.rectangle((left, top, right, bottom), fill=cover)
    draw.rectangle((left, top, left + 9, bottom), fill=shade(cover, 0.7))
    ink = (240, 232, 206) if sum(cover) < 380 else (60, 44, 36)
    for row, width in enumerate((0.62, 0.42)):
        y = top + 22 + 14 * row
        draw.rectangle((left + 20, y, left + 20 + (2 * half - 30) * width, y + 6), fill=ink)
    if rng.random() < 0.6:
        x, y, size = 100, (top + bottom) / 2 + 16, rng.uniform(14, 26)
        draw.ellipse((x - size, y - size, x + size, y + size), fill=_pick(_VIVID, rng))
    _mark(draw, supplier, right - 14, bottom - 14, 6)


def _bag(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    colour = _near(_pick(_POLY, rng), rng)
    angles = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    bulge = 1 + rng.normal(0, 0.035, angles.size)
    power = 0.42  # a superellipse: a cushion rather than a disc
    xs = 96 + 66 * bulge * np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** power
    ys = 98 + 56 * bulge * np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** power
    draw.polygon(list(zip(xs.tolist(), ys.tolist(), strict=True)), fill=colour, outline=shade(colour, 0.7))
    for _ in range(12):
        x, y, turn = rng.uniform(44, 148), rng.uniform(54, 142), rng.uniform(0, math.pi)
        reach = rng.uniform(10, 26)
        ends = (x, y, x + reach * math.cos(turn), y + reach * math.sin(turn))
        draw.line(ends, fill=shade(colour, float(rng.choice([0.78, 1.2]))), width=int(rng.integers(2, 5)))
    draw.rectangle((38, 46, 154, 56), fill=shade(colour, 0.84))
    if rng.random() < 0.6:
        _sticker(draw, rng.uniform(60, 90), rng.uniform(86, 108), rng)
    _mark(draw, supplier, rng.uniform(60, 130), 74, 10)


def _mug(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    glaze, half = _near(_pick(_GLAZE, rng), rng), rng.uniform(40, 50)
    draw.ellipse((96 + half - 20, 70, 96 + half + 34, 136), outline=shade(glaze, 0.8), width=12)
    _cylinder(draw, glaze, half, 54, 146)
    draw.ellipse((96 - half, 40, 96 + half, 68), fill=shade(glaze, 1.05), outline=shade(glaze, 0.75), width=3)
    draw.ellipse((96 - half + 7, 44, 96 + half - 7, 64), fill=shade(glaze, 0.45))
    if rng.random() < 0.7:
        _mark(draw, supplier, 92, 104, 16)


def _shoes(draw: ImageDraw, supplier: Supplier, rng: np.random.Generator) -> None:
    leather, sole = _near(_pick(_COVERS + _VIVID, rng), rng), (226, 222, 212)
    for side, lift in ((-1, 0.0), (1, float(rng.uniform(-10, 10)))):
        x = 96 + side * 30
        for colour, grow in ((sole, 4), (leather, 0)):
            draw.ellipse((x - 24 - grow, 22 + lift - grow, x + 24 + grow, 100 + lift + grow), fill=colour)
            draw.ellipse((x - 20 - grow, 96 + lift - grow, x + 20 + grow, 168 + lift + grow), fill=colour)
            draw.rectangle((x - 18 - grow, 66 + lift, x + 18 + grow, 140 + lift), fill=colour)
        draw.ellipse((x - 13, 104 + lift, x + 13, 158 + lift), fill=shade(leather, 0.4))
        for y in (64, 76, 88):
            draw.line((x - 10, y + lift, x + 10, y + 4 + lift), fill=(244, 240, 232), width=4)
        draw.line((x + side * 17, 60 + lift, x + side * 15, 92 + lift), fill=supplier.accent, width=5)


_DRAW: dict[str, Callable[[ImageDraw, Supplier, np.random.Generator], None]] = {
    "bag": _bag,
    "book": _book,
    "bottle": _bottle,
    "electronics": _electronics,
    "mug": _mug,
    "shoes": _shoes,
    "toy-box": _toy_box,
    "tube": _tube,
}
