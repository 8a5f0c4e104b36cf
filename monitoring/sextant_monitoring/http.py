"""What monitoring asks of servers, over HTTP alone."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from sextant_plan.errors import InfrastructureError

TIMEOUT = 10.0  # seconds


class ServerSilent(InfrastructureError):
    """A server that cannot be reached, or that answers with an error."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{url}: {reason}. Is the server up, and is this its address?")


def get_text(url: str, token: str | None = None) -> str:
    """Return the text at `url`. Raises ServerSilent."""
    return _answer(Request(url, headers=_access(token)))  # noqa: S310 (the user's own address)


def post_json(url: str, body: object, token: str | None = None) -> Any:
    """Post JSON and return the JSON that comes back. Raises ServerSilent."""
    headers = {"content-type": "application/json", **_access(token)}
    return json.loads(_answer(Request(url, json.dumps(body).encode(), headers)))  # noqa: S310


def _access(token: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def _answer(request: Request) -> str:
    url = request.full_url
    if not url.startswith(("http://", "https://")):
        raise ServerSilent(url, "not an http address")
    try:
        with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
            text: str = response.read().decode()
            return text
    except HTTPError as error:
        raise ServerSilent(url, f"answered {error.code}") from error
    except (URLError, OSError, UnicodeDecodeError) as error:
        raise ServerSilent(url, str(getattr(error, "reason", error))) from error
