"""What every test stands on: property tests that do not depend on the machine's speed, and no telemetry."""

from __future__ import annotations

import os

from hypothesis import settings
from tests.databases import postgres, redis

__all__ = ["postgres", "redis"]  # fixtures

# A deadline would fail on a busy machine; in CI the examples are fixed so that a failure repeats.
settings.register_profile("sextant", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("sextant")
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["FEAST_USAGE"] = "False"
