"""An environment for each peer, from its own hashed lock in peers/, apart from the product's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LOCKS = Path(__file__).parent / "peers"


def make_environment(name: str, environments: Path) -> Path:
    """Return the peer's environment below `environments`, made or brought up to its lock.

    Raises CalledProcessError if a package cannot be had.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    environment = environments / name
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    lock = str(LOCKS / f"{name}.txt")
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", lock], check=True)
    return environment


def peer_version(name: str, environments: Path) -> str:
    """Return the version of the peer in its environment."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    python = str(environments / name / "bin" / "python")
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
