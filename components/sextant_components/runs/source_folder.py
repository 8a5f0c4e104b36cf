"""Where the plan's data lies: the folder that it names, or the one in the home that mirrors an address."""

from __future__ import annotations

from pathlib import Path

from sextant_plan.canonical import digest_of_bytes
from sextant_plan.schema import Plan


def is_remote(source: str) -> bool:
    """Tell whether a plan's data.source is an address and not a folder."""
    return "://" in source


def mirror_folder(home: Path, source: str) -> Path:
    """Return where the mirror of an address lies below the home, whether or not it is there."""
    name = digest_of_bytes(source.rstrip("/").encode()).removeprefix("sha256:")[:16]
    return home.resolve() / "sources" / name / "files"


def source_root(plan: Plan, plan_dir: Path, home: Path) -> Path:
    """Return the folder that data.source names, or the folder of its mirror."""
    source = plan.data.source
    return mirror_folder(home, source) if is_remote(source) else (plan_dir / source).resolve()
