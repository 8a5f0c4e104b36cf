"""Pictures and columns as the network reads them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from sextant_plan.bundle import Column, RequestColumn
from sextant_plan.schema import ImageInput
from sextant_serving.errors import BadCategory, BadColumn, BadPicture
from sextant_serving.on_demand import request_values
from sextant_serving.picture_headers import MOST_MARKS, PIECE, SCAN, claimed_scans
from sextant_serving.preprocessing import (
    MAX_SCANS,
    decode_image,
    decode_small_image,
    encode_column,
    encode_columns,
    picture_statistics,
)

GREY = ImageInput(height=8, width=8, channels=1)
COLOUR = ImageInput(height=8, width=16, channels=3)
TURNED = Image.Exif()
TURNED[0x0112] = 3  # by 180 degrees


def encoded(picture: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def test_pixels_of_the_right_size_are_unchanged() -> None:
    """A lossless picture in the model's own size comes through bit for bit."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode_image(encoded(Image.fromarray(pixels)), COLOUR), pixels)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_resized_and_converted(kind: str) -> None:
    """Whatever its size and mode, a plain red picture is plain red."""
    found = decode_image(encoded(Image.new("RGB", (300, 200), (200, 0, 0)), kind), COLOUR)
    assert found.shape == (8, 16, 3)
    assert np.abs(found.astype(int) - [200, 0, 0]).max() <= 3


def test_a_picture_is_turned_upright() -> None:
    """The orientation that a camera notes is applied."""
    picture = Image.new("L", (8, 8))
    picture.paste(255, (0, 0, 8, 4))
    upright = decode_image(encoded(picture, "JPEG", exif=TURNED), GREY)
    assert upright[:3].max() < 30
    assert upright[5:].min() > 220


def test_transparency_lies_on_white_and_16_bits_keep_their_upper_byte() -> None:
    """Modes that convert badly are converted by rule."""
    assert decode_image(encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0))), GREY).min() == 255
    deep = Image.fromarray(np.full((8, 8), 0x8012, np.uint16))
    assert (decode_image(encoded(deep), GREY) == 0x80).all()


def bomb() -> bytes:
    """Return a small PNG file that claims 60,000 x 60,000 pixels."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(encoded(Image.new("L", (64, 64)), "JPEG")[:-200], id="cut-short"),
        pytest.param(encoded(Image.new("L", (8, 8)), "BMP"), id="another-format"),
        pytest.param(bomb(), id="bomb"),
        pytest.param(encoded(Image.new("1", (5000, 4000))), id="too-many-pixels"),
    ],
)
def test_what_is_no_acceptable_picture_is_refused(data: bytes) -> None:
    """Malformed, cut, foreign and oversized files raise one error."""
    with pytest.raises(BadPicture):
        decode_image(data, GREY)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_small_picture_is_decoded_at_once_as_any_other(kind: str) -> None:
    """Up to 64 x 64 pixels, denoised or not."""
    rising = np.arange(64, dtype=np.uint8)
    pixels = np.stack(
        [np.add.outer(rising, rising), np.add.outer(3 * rising, rising), np.outer(rising, rising)], axis=2
    )
    data = encoded(Image.fromarray(pixels), kind, quality=80)
    for spec in (COLOUR, COLOUR.model_copy(update={"denoise": "median"})):
        np.testing.assert_array_equal(decode_small_image(data, spec), decode_image(data, spec))


@pytest.mark.parametrize(
    ("data", "spec"),
    [
        (encoded(Image.new("RGB", (65, 64))), COLOUR),
        (encoded(Image.new("L", (4000, 4000))), GREY),
        (encoded(Image.new("L", (8, 8)), "JPEG", comment=b"x" * 9000), GREY),
        (encoded(Image.new("L", (8, 8)), "JPEG", exif=TURNED), GREY),
        (encoded(Image.new("L", (8, 8)), icc_profile=b"x" * 200), GREY),
        (encoded(Image.new("L", (8, 8))), GREY.model_copy(update={"width": 1024})),
    ],
    ids=["pixels", "few bytes, many pixels", "bytes", "camera's notes", "colour profile", "the model's pixels"],
)
def test_a_picture_that_may_take_long_is_left_for_a_thread(data: bytes, spec: ImageInput) -> None:
    """Nothing of it is decoded on the spot; a thread then can."""
    assert decode_small_image(data, spec) is None
    assert decode_image(data, spec).shape == (spec.height, spec.width, spec.channels)


def test_a_small_picture_that_is_none_is_refused_at_once() -> None:
    """In the words of any other."""
    with pytest.raises(BadPicture, match="not a readable JPEG or PNG"):
        decode_small_image(b"not a picture", GREY)


def nested(depth: int) -> list[object]:
    """Return a list in a list, so many times."""
    value: list[object] = []
    for _ in range(depth):
        value = [value]
    return value


def test_columns_are_encoded_in_their_order() -> None:
    """Numbers, booleans, categories, unknown and missing values become what the columns say."""
    columns = [Column(name="zone", vocabulary=["3", "true", "x"]), Column(name="weight", default=7.0)]
    rows: list[dict[str, object]] = [
        {"weight": "2.5", "zone": 3.0},
        {"weight": True, "zone": True},
        {"weight": None, "zone": None},
        {"weight": float("inf"), "zone": "never seen"},
        {},
    ]
    expected = [[0, 2.5], [1, 1], [3, 7], [3, 7], [3, 7]]
    np.testing.assert_array_equal(encode_columns(rows, columns), np.array(expected, np.float32))


def test_text_for_a_number_names_column_and_row() -> None:
    """The fault is named, the value is not repeated."""
    with pytest.raises(BadColumn, match="weight: row 1") as refusal:
        encode_columns([{"weight": 1}, {"weight": "SECRET"}], [Column(name="weight")])
    assert "SECRET" not in str(refusal.value)


@pytest.mark.parametrize("value", [["north"], {"zone": "north"}, nested(5000)], ids=["list", "object", "deep"])
def test_a_category_is_one_value(value: object) -> None:
    """A list or an object is refused by column and row, for the network and for on-demand functions alike."""
    with pytest.raises(BadCategory, match="zone: row 1"):
        encode_column(["north", value], Column(name="zone", vocabulary=["north"]))
    with pytest.raises(BadCategory, match="zone: row 1"):
        request_values([None, value], RequestColumn(name="zone", number=False))


def test_statistics_are_mean_and_deviation_of_the_pixels() -> None:
    """Exact for pictures up to the grid, and for larger ones close to it."""
    generator = np.random.default_rng(1)
    small = generator.integers(0, 256, (5, 32, 48, 3), dtype=np.uint8)
    found = picture_statistics(small)
    np.testing.assert_allclose(found["image.brightness"], small.reshape(5, -1).mean(axis=1))
    np.testing.assert_allclose(found["image.contrast"], small.reshape(5, -1).std(axis=1))
    large = generator.integers(0, 256, (1, 512, 500, 3), dtype=np.uint8)
    assert abs(picture_statistics(large)["image.brightness"][0] - large.mean()) < 3
    white = np.full((1, 512, 512, 3), 255, np.uint8)
    assert picture_statistics(white)["image.contrast"][0] == 0


def test_a_progressive_jpeg_of_endless_scans_is_refused() -> None:
    """Each scan is a few bytes and a pass over all pixels; those of an encoder are taken, and so is any PNG."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8))
    progressive = encoded(noise, "JPEG", progressive=True)
    assert 1 < claimed_scans(progressive) <= MAX_SCANS
    assert decode_image(progressive, GREY).shape == (8, 8, 1)
    last = progressive[progressive.rindex(SCAN) :]
    bomb = progressive[:-2] + last[:40] * MAX_SCANS + b"\xff\xd9"
    filled = bomb[:2] + b"\xff" * 2000 + bomb[2:]  # filling may stand before a mark
    for each in (bomb, filled):
        with pytest.raises(BadPicture, match="scans"):
            decode_image(each, GREY)
    assert claimed_scans(encoded(noise, "JPEG")) == 1
    assert claimed_scans(encoded(noise) + SCAN * 100) == 1


def test_what_follows_the_end_of_a_jpeg_is_none_of_its_scans() -> None:
    """A film or a second picture behind it is passed over, as by the decoder, to which scans there are nothing."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8))
    for options in ({"progressive": True}, {}):
        data = encoded(noise, "JPEG", **options)
        last = data[data.rindex(SCAN) : -2]
        followed = data + last * 100 + SCAN * 100
        assert claimed_scans(followed) == claimed_scans(data) == data.count(SCAN)
        assert np.array_equal(decode_image(followed, GREY), decode_image(data, GREY))


@pytest.mark.parametrize("progressive", [True, False])
@pytest.mark.parametrize(
    "before",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\xff\xfe\x00\x04\xff\xd9", id="a comment with the mark of the end"),
        pytest.param(b"\xff\xfe\x00\x04\xff\xd9" * MOST_MARKS, id="endless comments"),
        pytest.param(b"\xff\x01\x40\x00", id="a mark without a length"),
        pytest.param(b"\xff\xd0\x40\x00", id="a restart"),
        pytest.param(b"\xff\xff\x00\xff\xff", id="filling"),
        pytest.param(b"\xff\xfe\x00\x00", id="a length less than its own"),
        pytest.param(bytes(PIECE - 1), id="a mark across two pieces"),
    ],
)
def test_a_jpeg_cannot_hide_scans(before: bytes, progressive: bool) -> None:
    """Not behind anything that the decoder passes over, as it does on the way to the last scan of a good picture."""
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8))
    data = encoded(noise, "JPEG", progressive=progressive, subsampling=0)
    first, last, end = data.index(SCAN), data.rindex(SCAN), len(data) - 2
    whole = ImageInput(height=200, width=200, channels=3)
    if progressive:
        assert np.array_equal(decode_image(data[:last] + before + data[last:], whole), decode_image(data, whole))
    one = SCAN + b"\x00\x08\x01\x01\x00\x00" + (b"\x00\x00" if progressive else b"\x3f\x00")
    bomb = data[: end if progressive else first] + one + before + one * MAX_SCANS + b"\xff\xd9"
    assert claimed_scans(bomb) > MAX_SCANS
    with pytest.raises(BadPicture, match="scans"):
        decode_image(bomb, GREY)
