"""How large a JPEG or PNG file says that it is, read in microseconds, before anything is decoded."""

from __future__ import annotations

PNG = b"\x89PNG\r\n\x1a\n"
MOST_SEGMENTS = 512  # a colour profile comes in up to 255
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments that give a JPEG's height and width
PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
SCAN = b"\xff\xda"  # not within a scan, where 0xFF is followed by 0


def claimed_pixels(data: bytes) -> int:
    """Return height times width as the file claims them; 0 where they are not found."""
    if data.startswith(PNG):
        return int.from_bytes(data[16:20]) * int.from_bytes(data[20:24])
    frame = _frame(data)
    return int.from_bytes(data[frame + 5 : frame + 7]) * int.from_bytes(data[frame + 7 : frame + 9]) if frame else 0


def claimed_scans(data: bytes) -> int:
    """Return how often at most the pixels are gone through: 1 unless it is a JPEG that may come in many scans."""
    if data.startswith(PNG):
        return 1
    frame = _frame(data)
    return 1 if frame and data[frame + 1] not in PROGRESSIVE else data.count(SCAN, frame)


def _frame(data: bytes) -> int:
    """Return where a JPEG's frame header begins, 0 where there is none."""
    place = 2  # behind the mark of the file's start
    for _ in range(MOST_SEGMENTS):
        if data[place : place + 1] != b"\xff":
            return 0
        kind, length = data[place + 1 : place + 2], int.from_bytes(data[place + 2 : place + 4])
        if kind and kind[0] in FRAMES:
            return place
        place += 1 if kind == b"\xff" else 2 + length  # a mark may be preceded by filling
    return 0
