"""Which path means what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import parse_qsl, unquote

from sextant_serving.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Route:
    """What a path means; `model` and `version` are None where it names none."""

    action: str
    model: str | None = None
    version: str | None = None


def bad_target() -> BadRequest:
    """Return the error for a target that is not a URL."""
    return BadRequest("target", "not a URL in UTF-8", "Percent-encode path and query")


def read_query(query: bytes) -> dict[str, str]:
    """Return query parameters, the last of a name counting. Raises BadRequest."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=1024, errors="strict")
    except ValueError:
        raise bad_target() from None
    return dict(pairs)


@lru_cache(maxsize=1024)
def resolve(path: bytes) -> Route | None:
    """Return the route of a percent-encoded path, None if there is none. Raises BadRequest."""
    try:
        parts = [unquote(part, errors="strict") for part in path.decode("ascii").strip("/").split("/")]
    except UnicodeDecodeError:
        raise bad_target() from None
    match parts:
        case [""]:
            return Route("alive")
        case ["v2"] | ["metrics"] | ["feedback"] | ["openapi.json"] as one:
            return Route(one[0])
        case ["v2", "health", "live" | "ready" as what]:
            return Route(what)
        case ["v1", "models"]:
            return Route("v1-models")
        case ["v1", "models", name] if name.endswith(":predict"):
            return Route("predict", name.removesuffix(":predict"))
        case ["v1", "models", name]:
            return Route("v1-model", name)
        case ["v2", "models", name, *rest]:
            return _resolve_v2(name, rest)
        case ["v2", "repository", "index"]:
            return Route("repository-index")
        case ["v2", "repository", "models", name, "load" | "unload" as what]:
            return Route(f"repository-{what}", name)
    return None


def _resolve_v2(name: str, rest: list[str]) -> Route | None:
    version = None
    if rest[:1] == ["versions"] and len(rest) > 1:
        version, rest = rest[1], rest[2:]
    match rest:
        case []:
            return Route("v2-model", name, version)
        case ["ready"]:
            return Route("v2-model-ready", name, version)
        case ["infer"]:
            return Route("infer", name, version)
    return None
