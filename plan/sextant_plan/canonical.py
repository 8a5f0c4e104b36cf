"""Canonical JSON (RFC 8785) and the digests made from it and from files."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import rfc8785

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of `value`, the one byte string for equal JSON values."""
    return rfc8785.dumps(value)


def digest_of(value: Any) -> str:
    """Return `sha256:<64 hex>` of the canonical JSON of `value`."""
    return digest_of_bytes(canonical_json(value))


def digest_of_bytes(data: bytes) -> str:
    """Return `sha256:<64 hex>` of `data`."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def digest_of_file(path: Path) -> str:
    """Return `sha256:<64 hex>` of a file, read in chunks of 1 MiB."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            state.update(chunk)
    return f"sha256:{state.hexdigest()}"


def digest_of_files(root: Path, names: list[str]) -> dict[str, str]:
    """Return the digest of each named file under `root`, by name."""
    return {name: digest_of_file(root / name) for name in sorted(names)}
