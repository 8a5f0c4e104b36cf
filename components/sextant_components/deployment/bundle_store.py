"""Where registered bundles lie: `bundles/<name>/<digest>` in the home, each copied there whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sextant_plan.bundle import BundleSpec, read_bundle
from sextant_plan.errors import BundleCorrupt

FOLDER = "bundles"


def stored_path(home: Path, spec: BundleSpec) -> Path:
    """Return where a bundle of this description lies or would lie."""
    return bundle_folder(home, spec.name, spec.digest)


def bundle_folder(home: Path, name: str, digest: str) -> Path:
    """Return where the bundle of a model name and a digest lies or would lie."""
    return home.resolve() / FOLDER / name / digest.removeprefix("sha256:")


def store_bundle(home: Path, bundle: Path, spec: BundleSpec) -> Path:
    """Copy a bundle into the home if it is not there; return its place.

    What lies there is verified in either case, a copy before it takes its place. Raises BundleCorrupt.
    """
    target = stored_path(home, spec)
    if not target.exists():
        partial = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(bundle, partial)
        try:
            _verify(partial, spec)
            partial.rename(target)
            return target
        except OSError:  # another process put the same bundle there first
            if not target.exists():
                raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    _verify(target, spec)
    return target


def _verify(folder: Path, spec: BundleSpec) -> None:
    if (found := read_bundle(folder).digest) != spec.digest:
        raise BundleCorrupt(folder, "bundle.json", found, spec.digest)
