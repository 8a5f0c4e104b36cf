"""`sextant doctor`: is this machine fit to run a life cycle?"""

from __future__ import annotations

import ctypes
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from sextant_pipelines.options import home_option, json_option, print_json
from sextant_plan.errors import ExitCode, InfrastructureError

# What the eleven steps need on one machine, with the extra that installs it.
PACKAGES = {
    "feast": "train",
    "kfp": "train",
    "matplotlib": "train",
    "mlflow": "train",
    "onnx": "train",
    "onnxruntime": "serve",
    "optuna": "train",
    "pillow": "serve",
    "polars": "train",
    "safetensors": "serve",
    "scikit-learn": "train",
    "torch": "train",
}
OPENMP = "libgomp.so.1"
FREE_DISK_GIB = 2.0  # a run of the parcels example leaves under 0.2 GiB; MLflow and Feast keep every run
FREE_MEMORY_GIB = 2.0  # the training step of the examples peaks near 1 GiB, and a server runs beside it


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do if it is not well."""

    name: str
    ok: bool
    found: str
    remedy: str = ""


@click.command("doctor")
@home_option
@json_option
def command(home: Path, as_json: bool) -> int:
    """Check Python, packages, OpenMP, disk, memory and the state below --home; nothing is changed.

    Exits 0, or 4 if something is not well.
    """
    checks = list(_checks(home))
    well = all(check.ok for check in checks)
    if as_json:
        print_json({"ok": well, "checks": [asdict(check) for check in checks]})
    else:
        for check in checks:
            remedy = "" if check.ok else f". {check.remedy}"
            click.echo(f"{'pass' if check.ok else 'fail':5} {check.name:14} {check.found}{remedy}")
    return int(ExitCode.OK if well else ExitCode.INFRASTRUCTURE)


def _checks(home: Path) -> Iterator[Check]:
    found = ".".join(map(str, sys.version_info[:3]))
    yield Check("python", sys.version_info[:2] == (3, 11), found, "Use Python 3.11, which the lock is made for")
    for package, extra in PACKAGES.items():
        yield _package(package, extra)
    yield _openmp()
    place = next(folder for folder in (home.resolve(), *home.resolve().parents) if folder.exists())
    free = shutil.disk_usage(place).free / 2**30
    yield Check("disk", free >= FREE_DISK_GIB, f"{free:.1f} GiB free at {place}", f"Free {FREE_DISK_GIB:g} GiB or more")
    memory = _available_memory_gib()
    yield Check("memory", memory >= FREE_MEMORY_GIB, f"{memory:.1f} GiB available", f"Free {FREE_MEMORY_GIB:g} GiB")
    yield Check("home", os.access(place, os.W_OK), f"{place}", "Make the folder writable, or choose another --home")
    yield _registry(home)
    yield from _feature_repos(home)
    yield _active(home)


def _package(name: str, extra: str) -> Check:
    try:
        return Check(name, True, version(name))
    except PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install 'sextant-mlops[{extra}]'")


def _openmp() -> Check:
    """Load the library as LightGBM's wheel does, by its system name: the copies in other wheels do not serve it."""
    remedy = "Install OpenMP (apt-get install libgomp1): gradient-boosted trees need it"
    try:
        ctypes.CDLL(OPENMP)
    except OSError as error:
        return Check("openmp", False, str(error), remedy)
    return Check("openmp", True, OPENMP)


def _available_memory_gib() -> float:
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return 0.0


def _registry(home: Path) -> Check:
    database = home / "mlflow.db"
    if not database.exists():
        return Check("mlflow", True, "no registry yet; the first run makes it")
    try:
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            (models,) = connection.execute("select count(*) from registered_models").fetchone()
            (state,) = connection.execute("pragma quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return Check("mlflow", False, f"{database}: {error}", "Restore the file, or move it away to begin anew")
    return Check("mlflow", state == "ok", f"{database}: {models} registered models", "Restore the file from a copy")


def _feature_repos(home: Path) -> Iterator[Check]:
    for repo in sorted(path for path in (home / "feast").glob("*") if path.is_dir()):
        settings = repo / "feature_store.yaml"
        yield Check(
            "feast", settings.exists(), f"{repo}", "feature_store.yaml is gone; run the plan again to make it anew"
        )


def _active(home: Path) -> Check:
    from sextant_plan.promotion import ACTIVE_FILE
    from sextant_serving.home import served_model

    if not (home / ACTIVE_FILE).exists():
        return Check("in service", True, "no model yet; a run that passes puts one there")
    try:
        active = served_model(home)
    except InfrastructureError as error:
        return Check("in service", False, str(error))
    missing = f"{active.bundle} is gone. Promote a model again with sextant run"
    return Check("in service", Path(active.bundle).is_dir(), f"{active.name} version {active.version}", missing)
