"""An environment for each peer, from its own hashed lock in a folder `peers/`, apart from the product's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

WITHOUT_TELEMETRY = {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}  # a call home is no part of a measurement


def make_environment(lock: Path, environments: Path) -> Path:
    """Return the Python of the environment that is named for `lock`, made or brought up to it below `environments`.

    Raises CalledProcessError if a package cannot be had.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    environment = environments / lock.stem
    python = environment / "bin" / "python"
    if not python.exists():
        subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(environment)], check=True)
    subprocess.run([uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock)], check=True)
    return python


def version_in(python: Path, name: str) -> str:
    """Return the version of the package in the environment of `python`."""
    code = f"import importlib.metadata as m; print(m.version({name!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()
