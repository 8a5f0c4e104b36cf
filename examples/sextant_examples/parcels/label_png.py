"""The label as a picture of one bit a dot, for laser printers and screens."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sextant_examples.parcels.code128 import widths
from sextant_examples.parcels.label_layout import DPI, HEIGHT, WIDTH, Barcode, Box, Element, Text

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

BLACK, WHITE = 0, 255
STRONG = 38  # dots; from this size on letters are drawn bolder, to be read from an arm's length


def draw_label(elements: Iterable[Element]) -> bytes:
    """Return a PNG of WIDTH x HEIGHT dots that prints at 4 x 6 inch."""
    from PIL import Image, ImageDraw

    page = Image.new("L", (WIDTH, HEIGHT), WHITE)
    draw = ImageDraw.Draw(page)
    for element in elements:
        if isinstance(element, Text):
            _draw_text(draw, element)
        elif isinstance(element, Box):
            _draw_box(draw, element)
        else:
            _draw_barcode(draw, element)
    file = io.BytesIO()
    page.convert("1", dither=Image.Dither.NONE).save(file, "PNG", dpi=(DPI, DPI), optimize=True)
    return file.getvalue()


def _draw_text(draw: ImageDraw, text: Text) -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(text.size)
    colour = WHITE if text.inverse else BLACK
    draw.text((text.x, text.y), _ascii(text.text), fill=colour, font=font, stroke_width=1 if text.size >= STRONG else 0)


def _ascii(text: str) -> str:
    """Return the text in the letters of Pillow's own font, which is on every machine: accents fall, others are `?`."""
    plain = (letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))
    return "".join(plain).encode("ascii", "replace").decode("ascii")


def _draw_box(draw: ImageDraw, box: Box) -> None:
    corners = (box.x, box.y, box.x + box.width - 1, box.y + box.height - 1)
    if 2 * box.line >= min(box.width, box.height):
        draw.rectangle(corners, fill=BLACK)
    else:
        draw.rectangle(corners, outline=BLACK, width=box.line)


def _draw_barcode(draw: ImageDraw, barcode: Barcode) -> None:
    x = barcode.x
    for place, width in enumerate(widths(barcode.data)):
        end = x + width * barcode.module
        if place % 2 == 0:
            draw.rectangle((x, barcode.y, end - 1, barcode.y + barcode.height - 1), fill=BLACK)
        x = end
