"""Bearer tokens: one that every request needs, and one for those who may load and unload models."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from sextant_serving.errors import Forbidden, TokenUnreadable, Unauthorized
from sextant_serving.http_types import announces_body

SCHEME = b"bearer "
OPEN_PATHS = frozenset({b"/", b"/v2/health/live", b"/v2/health/ready"})  # a kubelet's probe carries no token


class Access:
    """What the tokens of the options allow; without `token` every request may infer."""

    def __init__(self, token: str | None, admin_token: str | None) -> None:
        self._token = _digest(token)
        self._admin_token = _digest(admin_token)

    @property
    def is_open(self) -> bool:
        """Tell whether requests need no token."""
        return self._token is None

    def check(self, authorization: bytes | None) -> None:
        """Raise Unauthorized unless the header `authorization` bears one of the tokens."""
        if self._token is not None and not self._bears(authorization, self._token, self._admin_token):
            raise Unauthorized

    def admit(self, target: bytes, headers: dict[bytes, bytes]) -> None:
        """Raise Unauthorized for a request over HTTP that needs a token and bears none.

        The open paths are open to what has no body: bodies have a room that those without a token must not fill.
        """
        if self._token is not None and (target not in OPEN_PATHS or announces_body(headers)):
            self.check(headers.get(b"authorization"))

    def check_admin(self, authorization: bytes | None) -> None:
        """Raise Forbidden if the server has no administrator's token, Unauthorized if the header does not bear it."""
        if self._admin_token is None:
            raise Forbidden
        if not self._bears(authorization, self._admin_token):
            raise Unauthorized

    def _bears(self, authorization: bytes | None, *tokens: bytes | None) -> bool:
        given = authorization or b""
        if given[: len(SCHEME)].lower() != SCHEME:
            return False
        # Digests have one length and no order that a client knows, so the time tells nothing of the token.
        digest = hashlib.sha256(given[len(SCHEME) :].strip()).digest()
        return any(hmac.compare_digest(digest, token) for token in tokens if token is not None)


def _digest(token: str | None) -> bytes | None:
    return None if token is None else hashlib.sha256(token.encode()).digest()


def read_token(file: Path | None) -> str | None:
    """Return the token in `file`, None without a file. Raises TokenUnreadable."""
    if file is None:
        return None
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise TokenUnreadable(file, type(error).__name__) from error
    if not token or any(character.isspace() for character in token):
        raise TokenUnreadable(file, "not one word")
    return token
