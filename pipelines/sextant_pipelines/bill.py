"""An image's bill of materials (CycloneDX 1.6), from the lock that it is built from and from its Debian packages.

The lock is what the image installs and nothing else, so that the bill needs no scanner: every package, its version, the
digests that pip checks, and its licence where it is installed here too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sextant_plan import __version__
from sextant_plan.errors import UsageError

_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
_DIGEST = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_LONGEST_LICENCE = 80  # some packages give the licence's whole text for its name


def bill_of_materials(name: str, lock: Path, debian: Path | None = None) -> str:
    """Return the bill of an image as JSON; the same lock and packages give the same text.

    `debian` has a line `package<TAB>version` for each package, as dpkg-query writes it. Raises UsageError for a lock
    without hashes, or a line that is none of these.
    """
    components = [*_locked(lock), *(_debian(debian) if debian is not None else ())]
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": name, "version": __version__}},
        "components": components,
    }
    return json.dumps(document, indent=1) + "\n"


def _locked(lock: Path) -> Iterator[dict[str, Any]]:
    text = lock.read_text(encoding="utf-8").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        found, digests = _PINNED.match(line), sorted(_DIGEST.findall(line))
        if found is None or not digests:
            raise UsageError(f"{lock}: entry {number} pins no version with a sha256. Give a lock of requirements/.")
        name, version = found[1].lower(), found[2]
        licence = _licence(name, version)
        yield {
            "type": "library",
            "name": name,
            "version": version,
            "purl": f"pkg:pypi/{name}@{quote(version)}",
            # One of them, by the platform that the image is built for.
            "hashes": [{"alg": "SHA-256", "content": digest} for digest in digests],
            **({"licenses": [{"license": {"name": licence}}]} if licence else {}),
        }


def _licence(name: str, version: str) -> str | None:
    """Return the licence that the installed package of this version names, None if it is not here or names none."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return None
    if found["Version"] != version:
        return None
    # Asked by `in`: what an absent field gives by index depends on which reader of metadata was imported first.
    stated = next((found[field] for field in ("License-Expression", "License") if field in found), None)
    if stated and len(stated) <= _LONGEST_LICENCE and "\n" not in stated:
        return str(stated)
    classified = [text for text in found.get_all("Classifier") or [] if text.startswith("License ::")]
    return classified[0].rpartition(" :: ")[2] if classified else None


def _debian(packages: Path) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(packages.read_text(encoding="utf-8").splitlines(), 1):
        name, tab, version = line.partition("\t")
        if not tab or not name or not version:
            raise UsageError(f"{packages}:{number}: not a package and its version with a tab between. See --help.")
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}"
        yield {"type": "library", "name": name, "version": version, "purl": purl}
