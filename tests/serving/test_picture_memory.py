"""What decoding takes of the memory, whatever a small file unfolds to."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sextant_plan.schema import ImageInput
from sextant_serving.errors import BadPicture
from sextant_serving.picture_modes import MAX_DECODING_BYTES
from sextant_serving.preprocessing import decode_image

SIDE = 4096  # the most pixels that are accepted
BESIDES = 16 << 20  # strips, the file, and what the library keeps for itself
TURNED = Image.Exif()
TURNED[0x0112] = 6  # by a quarter
SPECS = [ImageInput(height=64, width=64, channels=1), ImageInput(height=64, width=64, channels=3)]

DECODE = """
import pathlib, sys
from sextant_plan.schema import ImageInput
from sextant_serving.errors import BadPicture
from sextant_serving.preprocessing import decode_image

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) << 10

small, large = (pathlib.Path(path).read_bytes() for path in sys.argv[1:])
specs = [ImageInput(height=64, width=64, channels=channels) for channels in (1, 3)]
decode_image(small, specs[0])  # loads the library
before = peak()
for spec in specs:
    try:
        decode_image(large, spec)
    except BadPicture as error:
        print(error, file=sys.stderr)
print(peak() - before)
"""


def written(path: Path, picture: Image.Image, kind: str = "PNG", **options: object) -> Path:
    """Return the file after writing the picture."""
    picture.save(path, kind, **options)
    return path


def palette_with_transparency() -> Image.Image:
    """Return a picture of one transparent colour."""
    picture = Image.new("P", (SIDE, SIDE))
    picture.putpalette([200, 10, 10])
    picture.info["transparency"] = b"\x80"
    return picture


def png(width: int, height: int, chunks: bytes = b"") -> bytes:
    """Return a grey PNG file with more chunks before its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes((width + 1) * height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunks + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def chunk(name: bytes, data: bytes) -> bytes:
    """Return one piece of a PNG file."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def texts() -> bytes:
    """Return a PNG file of 60 KB with 63 million letters, one in a million of which takes 4 bytes, so that all do."""
    text = zlib.compress("\U0001f600".encode() + b"a" * ((1 << 20) - 4))
    return png(8, 8, b"".join(chunk(b"iTXt", b"%d\0\1\0\0\0" % number + text) for number in range(63)))


def large_picture(kind: str, path: Path) -> Path:
    """Write a small file of the most pixels that are accepted, or of another kind of excess."""
    size = (SIDE, SIDE)
    match kind:
        case "RGB" | "RGBA" | "LA" | "L":
            return written(path, Image.new(kind, size), compress_level=1)
        case "16-bit grey":
            return written(path, Image.fromarray(np.zeros(size, np.uint16)), compress_level=1)
        case "palette with transparency":
            return written(path, palette_with_transparency(), compress_level=1)
        case "RGB with a transparent colour":
            return written(path, Image.new("RGB", size), transparency=(1, 2, 3), compress_level=1)
        case "turned":
            return written(path, Image.new("RGBA", size), exif=TURNED, compress_level=1)
        case "JPEG in several scans":
            return written(path, Image.new("RGB", size), "JPEG", progressive=True, subsampling=0)
        case "CMYK in several scans":
            return written(path, Image.new("CMYK", size), "JPEG", progressive=True)
        case "rows of a pixel":
            path.write_bytes(png(1, 1 << 24))
        case "text":
            path.write_bytes(texts())
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "RGB",
        "RGBA",
        "LA",
        "L",
        "16-bit grey",
        "palette with transparency",
        "RGB with a transparent colour",
        "turned",
        "JPEG in several scans",
        "CMYK in several scans",
        "rows of a pixel",
        "text",
    ],
)
def test_decoding_keeps_to_its_memory(kind: str, tmp_path: Path) -> None:
    """A process that decodes the largest picture to grey and to colour, or refuses it, grows by no more than the limit.

    The peak is read from /proc: what `getrusage` tells of a process counts its parent's memory as well.
    """
    small = written(tmp_path / "small", Image.new("RGBA", (8, 8)))
    large = large_picture(kind, tmp_path / "large")
    command = [sys.executable, "-c", DECODE, str(small), str(large)]
    grown = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert grown <= MAX_DECODING_BYTES + BESIDES


@pytest.mark.parametrize("options", [{}, {"progressive": True, "subsampling": 0}], ids=["plain", "several scans"])
@pytest.mark.parametrize("side", [64, 512])
def test_a_cameras_picture_is_taken(options: dict[str, object], side: int) -> None:
    """Twelve million pixels, as JPEG in one scan and in several, upright and turned."""
    for exif in (Image.Exif(), TURNED):
        file = io.BytesIO()
        Image.new("RGB", (4000, 3000), (10, 200, 10)).save(file, "JPEG", exif=exif, **options)
        spec = ImageInput(height=side, width=side, channels=3)
        assert np.abs(decode_image(file.getvalue(), spec).astype(int) - [10, 200, 10]).max() <= 3


def whole(picture: Image.Image, mode: str) -> Image.Image:
    """Return what a picture of 16 bits, or one with transparency, is in `mode`, converted in one piece."""
    if picture.mode.startswith("I"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert(mode)
    paper = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(paper, picture.convert("RGBA")).convert(mode)


@pytest.mark.parametrize("kind", ["RGBA", "LA", "I;16", "P", "RGB"])
@pytest.mark.parametrize("size", [(1000, 800), (300, 5000), (16000, 40)])
@pytest.mark.parametrize("spec", SPECS, ids=["grey model", "colour model"])
def test_a_large_picture_is_converted_as_one_piece(kind: str, size: tuple[int, int], spec: ImageInput) -> None:
    """Bit for bit: no seam shows where strips meet."""
    generator, (width, height) = np.random.default_rng(5), size
    options: dict[str, object] = {}
    if kind == "I;16":
        picture = Image.fromarray(generator.integers(0, 1 << 16, (height, width), dtype=np.uint16))
    elif kind == "P":
        picture = Image.fromarray(generator.integers(0, 256, (height, width), dtype=np.uint8)).convert("P")
        picture.putpalette(generator.integers(0, 256, 768, dtype=np.uint8).tobytes())
        options["transparency"] = generator.integers(0, 256, 256, dtype=np.uint8).tobytes()
    else:
        channels = len(Image.new(kind, (1, 1)).getbands())
        picture = Image.frombytes(kind, size, generator.bytes(width * height * channels))
        if kind == "RGB":
            options["transparency"] = picture.getpixel((5, 5))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=0, **options)
    mode = "L" if spec.channels == 1 else "RGB"
    with Image.open(file) as read:
        expected = whole(read, mode).resize((spec.width, spec.height), Image.Resampling.BILINEAR)
    found = decode_image(file.getvalue(), spec)
    np.testing.assert_array_equal(found, np.asarray(expected).reshape(found.shape))


def test_what_would_take_too_much_is_refused_before_it_is_decoded() -> None:
    """The limit is named: a side of more than 32768 pixels, or more than 128 MiB."""
    with pytest.raises(BadPicture, match="32768 pixels on one side"):
        decode_image(png(1, 40000), SPECS[0])
    cmyk = io.BytesIO()
    Image.new("CMYK", (4096, 4096)).save(cmyk, "JPEG")
    with pytest.raises(BadPicture, match="134217728 bytes"):
        decode_image(cmyk.getvalue(), SPECS[0])
