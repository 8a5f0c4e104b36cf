"""How large a JPEG or PNG file says that it is, read in microseconds, before anything is decoded."""

from __future__ import annotations

PNG = b"\x89PNG\r\n\x1a\n"
MOST_SEGMENTS = 512  # a colour profile comes in up to 255
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments that give a JPEG's height and width


def claimed_pixels(data: bytes) -> int:
    """Return height times width as the file claims them; 0 where they are not found."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    place = 2  # behind the mark of a JPEG's start
    for _ in range(MOST_SEGMENTS):
        if data[place : place + 1] != b"\xff":
            return 0
        kind, length = data[place + 1 : place + 2], int.from_bytes(data[place + 2 : place + 4])
        if kind and kind[0] in FRAMES:
            return int.from_bytes(data[place + 5 : place + 7]) * int.from_bytes(data[place + 7 : place + 9])
        place += 2 + length
    return 0
