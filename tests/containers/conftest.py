"""The training image as its own Dockerfile says, unpacked, with the packages of its lock and of no other.

The image's packages are torch for the most part, seven gigabytes that nobody needs to copy twice: the last stage of
the Dockerfile is built as it stands but for an empty environment where the packages go, and they are mounted there,
as the lock of the image says. Sextant is there as its wheel.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.containers.pod import Image
from tests.programs import lacks

ROOT = Path(__file__).parents[2]
TOOLS = ("buildah", "runc")
BASE = os.environ.get("SEXTANT_TEST_BASE", "localhost/python:3.11-slim")
EMPTY_ENVIRONMENT = "RUN python3 -m venv --without-pip /opt/sextant"


def _output(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def _last_stage() -> str:
    """Return the Dockerfile's last stage with an empty environment in the place of the built one."""
    text = (ROOT / "components" / "Dockerfile").read_text(encoding="utf-8")
    stage = text[text.rindex("\nFROM ") :]
    copied = re.findall(r"^COPY --from=build .*$", stage, re.MULTILINE)
    assert len(copied) == 1, "the last stage copies the built environment, and nothing else"
    return f"ARG BASE={BASE}\n" + stage.replace(copied[0], EMPTY_ENVIRONMENT)


@pytest.fixture(scope="session")
def packages() -> Iterator[Path]:
    """The site-packages of an environment with the training image's lock and Sextant's wheel.

    It begins as this environment, file by file a link, so that no package is unpacked and compiled anew; `uv pip sync`
    then takes out what is not in the lock, and says so if anything of the lock is not as it should be.
    """
    here, place = Path(sys.prefix), ROOT / "build"  # on the environment's own file system, as links have to be
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place) as name:
        env = Path(name) / "env"
        shutil.copytree(here, env, symlinks=True, copy_function=os.link)
        uv, into = str(here / "bin" / "uv"), ("--quiet", "--python", str(env / "bin" / "python"))
        _output(uv, "pip", "sync", *into, "--require-hashes", str(ROOT / "requirements" / "train.txt"))
        _output(str(here / "bin" / "hatchling"), "build", "-t", "wheel", "-d", name)
        (wheel,) = Path(name).glob("*.whl")
        _output(uv, "pip", "install", *into, "--compile-bytecode", "--no-deps", str(wheel))
        yield env / "lib" / "python3.11" / "site-packages"


@pytest.fixture(scope="session")
def tools() -> None:
    """What the machine has to have; without it these tests are skipped, and fail in CI."""
    if os.geteuid() != 0 or not all(map(shutil.which, TOOLS)):
        lacks("root, buildah and runc")
    found = subprocess.run(["buildah", "inspect", BASE], capture_output=True, check=False)
    if found.returncode != 0:
        lacks(f"the base image {BASE} in buildah's store (CONTRIBUTING.md)")


@pytest.fixture(scope="session")
def image(tools: None, tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Iterator[Image]:
    """The unpacked image; it and its mount are gone afterwards."""
    folder = tmp_path_factory.mktemp("image")
    (folder / "Dockerfile").write_text(_last_stage(), encoding="utf-8")
    tag = "localhost/sextant-train-test:dev"
    certificates = "/etc/ssl/certs:/etc/ssl/certs:ro"
    _output(
        *("buildah", "bud", "-q", "--network", "host", "--isolation", "chroot", "-v", certificates),
        *("-t", tag, "-f", str(folder / "Dockerfile"), str(folder)),
    )
    container = _output("buildah", "from", tag)
    try:
        settings: Any = json.loads(_output("buildah", "inspect", container))["OCIv1"]["config"]
        env = dict(pair.split("=", 1) for pair in settings["Env"])
        user = int(settings["User"].partition(":")[0])
        yield Image(Path(_output("buildah", "mount", container)), packages, env, user)
    finally:
        _output("buildah", "rm", container)
