"""Pictures as grey or RGB, in bounded memory.

Imported with the first picture, because Pillow is.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, PngImagePlugin
from PIL.JpegImagePlugin import JpegImageFile

from sextant_serving.errors import BadPicture

MAX_DECODING_BYTES = 1 << 27  # 128 MiB: the most pixels that are accepted, twice
MAX_SIDE = 1 << 15  # a row takes 8 bytes besides its pixels, and strips have to be thin
STRIP_PIXELS = 1 << 18  # a copy of a strip takes 1 MiB, or 2 MiB in integers

PngImagePlugin.MAX_TEXT_MEMORY = 1 << 23  # characters, of up to 4 bytes; Pillow would keep 64 million of a small file


def draft(picture: Image.Image, mode: str, size: tuple[int, int]) -> None:
    """Let a large JPEG be decoded at a fraction of its size; raises BadPicture if decoding would take too much.

    A picture takes 4 bytes a pixel, and as much again while it is turned or converted. A JPEG in several scans, which
    its header does not tell, is kept as 2 bytes for each pixel and channel of the file until it is decoded.
    """
    if max(picture.size) > MAX_SIDE:
        raise BadPicture(f"more than {MAX_SIDE} pixels on one side")
    is_jpeg = isinstance(picture, JpegImageFile)
    kept = 2 * len(picture.getbands()) * picture.width * picture.height if is_jpeg else 0
    picture.draft(mode, size)
    decoded = 4 * picture.width * picture.height
    if decoded + max(decoded, kept) > MAX_DECODING_BYTES:
        raise BadPicture(f"more than {MAX_DECODING_BYTES} bytes while it is decoded")


def to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """Convert to 8-bit grey or RGB: 16-bit values keep their upper byte, transparency lies on white."""
    if not (picture.mode.startswith("I") or picture.has_transparency_data):
        return picture if picture.mode == mode else picture.convert(mode)
    rows = max(1, STRIP_PIXELS // picture.width)
    if rows >= picture.height:
        return _strip_to_mode(picture, mode)
    # Each pixel becomes what it does whatever lies around it, so only a strip at a time needs the copies in between.
    converted = Image.new(mode, picture.size)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        converted.paste(_strip_to_mode(strip, mode), (0, top))
    return converted


def _strip_to_mode(picture: Image.Image, mode: str) -> Image.Image:
    if picture.mode.startswith("I"):
        picture = Image.fromarray((np.asarray(picture).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if picture.has_transparency_data:
        paper = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(paper, picture.convert("RGBA"))
    return picture if picture.mode == mode else picture.convert(mode)
