"""What passes between a connection over HTTP and who answers it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sextant_serving.errors import RequestError


@dataclass(frozen=True)
class Limits:
    """What one client may take: body bytes, seconds for a whole request, seconds between requests.

    For all clients together: `held_bytes` of the bodies that are being read, wait or are being answered, and the number
    of `connections`.
    """

    body_bytes: int = 1 << 25
    read_seconds: float = 10.0
    idle_seconds: float = 75.0
    held_bytes: int = 1 << 28
    connections: int = 1 << 16


@dataclass(slots=True)
class Request:
    """A complete request; header names are lower case, `received` is the monotonic time at its last byte."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    body: bytes
    received: float


@dataclass(slots=True)
class Response:
    """An answer; `headers` come besides content type and length."""

    status: int
    body: bytes = b""
    content_type: bytes = b"application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()


Handler = Callable[[Request], Awaitable[Response]]
Refuse = Callable[[RequestError], Response]
Admit = Callable[[bytes, dict[bytes, bytes]], None]


def announces_body(headers: dict[bytes, bytes]) -> bool:
    """Tell whether a request's headers speak of a body."""
    return headers.get(b"content-length", b"0").strip(b"0") != b"" or b"transfer-encoding" in headers


def origin_form(target: bytes) -> bytes:
    """Return a target in absolute form as path and query, any other as it is (RFC 9112, section 3.2.2)."""
    scheme, mark, rest = target.partition(b"://")
    if not mark or scheme.lower() not in (b"http", b"https"):
        return target
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    path = rest[end:]
    return path if path.startswith(b"/") else b"/" + path
