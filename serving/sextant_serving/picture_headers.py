"""How large a JPEG or PNG file says that it is, read in microseconds, before anything is decoded."""

from __future__ import annotations

import re
from collections.abc import Sequence

PNG = b"\x89PNG\r\n\x1a\n"
MOST_SEGMENTS = 512  # before a picture's frame; a colour profile comes in up to 255
SEGMENTS_A_REQUEST = 1 << 12  # before all its pictures' frames: read on the event loop, in about a millisecond
MOST_MARKS = 1 << 12  # of a picture whose scans are counted; a table and a scan are two, restarts are none
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments that give a JPEG's height and width
SCAN = b"\xff\xda"
END = b"\xff\xd9"
# What libjpeg does not pass over in search of a mark; pixels have no such bytes, filling and restarts are among them.
MARK = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
PIECE = 1 << 17  # bytes that are searched before other threads have their turn: at worst 2 ms


def claimed_pixels(pictures: Sequence[bytes]) -> list[int]:
    """Return height times width as each of a request's files claims them; 0 where they are not found.

    Nor are they looked for in a JPEG once SEGMENTS_A_REQUEST have been read.
    """
    claimed, left = [], SEGMENTS_A_REQUEST
    for data in pictures:
        if data.startswith(PNG):
            claimed.append(int.from_bytes(data[16:20]) * int.from_bytes(data[20:24]))
            continue
        frame, read = _frame(data, min(left, MOST_SEGMENTS))
        left -= read
        height, width = data[frame + 5 : frame + 7], data[frame + 7 : frame + 9]
        claimed.append(int.from_bytes(height) * int.from_bytes(width) if frame else 0)
    return claimed


def claimed_scans(data: bytes) -> int:
    """Return how often at most the pixels of a file are gone through; what follows a JPEG's end does not count."""
    if data.startswith(PNG):
        return 1
    scans, place = 0, 2  # behind the mark of the file's start
    for _ in range(MOST_MARKS):
        place = _next_mark(data, place)
        mark = data[place : place + 2]
        if mark in (b"", END):
            return scans
        scans += mark == SCAN
        place += 2 + int.from_bytes(data[place + 2 : place + 4])
    return scans + data.count(SCAN, place)


def _next_mark(data: bytes, place: int) -> int:
    """Return where the next mark begins, the length of `data` if there is none."""
    for start in range(place, len(data), PIECE):
        if found := MARK.search(data, start, start + PIECE + 1):
            return found.start()
    return len(data)


def _frame(data: bytes, most: int) -> tuple[int, int]:
    """Return where a JPEG's frame header begins, 0 where it is not among so many segments, and how many were read."""
    place = 2
    for read in range(1, most + 1):
        if data[place : place + 1] != b"\xff" or len(data) < place + 4:
            return 0, read
        kind = data[place + 1]
        if kind in FRAMES:
            return place, read
        place += 1 if kind == 0xFF else 2 + (data[place + 2] << 8 | data[place + 3])  # filling may precede a mark
    return 0, most
