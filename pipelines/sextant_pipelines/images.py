"""The container images that the steps run in, one for each extra of the distribution.

A deployment pins them by digest: `SEXTANT_TRAIN_IMAGE=registry.example/sextant-train@sha256:…`. The variables
are read once, when `sextant_pipelines.steps` is imported; the image is part of KFP's cache key and of the IR.
"""

from __future__ import annotations

import os

from sextant_plan import __version__


def image_of(extra: str) -> str:
    """Return the image that holds the extra: `SEXTANT_<EXTRA>_IMAGE` if set, else `sextant-<extra>:<version>`."""
    return os.environ.get(variable_of(extra)) or f"sextant-{extra}:{__version__}"


def variable_of(extra: str) -> str:
    """Return the name of the environment variable that pins the image of an extra."""
    return f"SEXTANT_{extra.upper()}_IMAGE"
