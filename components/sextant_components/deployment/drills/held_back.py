"""A model server whose network can be made slow while it serves, for drills and the self-test of monitoring.

`python -m sextant_components.deployment.drills.held_back FILE ...` is `python -m sextant_serving ...`, but every batch
takes as many seconds longer on the device as FILE says; nothing while there is none. The rest of the server is the one
in service, so that its own histograms have to tell.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sextant_serving import engines, server
from sextant_serving.engines import Engine, Inputs, Outputs, load_engine

MODULE = "sextant_components.deployment.drills.held_back"


class _HeldBack:
    """An engine that sleeps before it answers, on the device's thread as a long computation would."""

    def __init__(self, engine: Engine, file: Path) -> None:
        self._engine, self._file = engine, file

    def run(self, inputs: Inputs) -> Outputs:
        """Return the engine's answers, late."""
        with suppress(OSError):
            time.sleep(float(self._file.read_text(encoding="ascii") or 0))
        return self._engine.run(inputs)


@contextmanager
def held_back(file: Path, seconds: float) -> Iterator[None]:
    """Make the server that was started with `file` slower by `seconds` a batch for the duration of the block."""
    file.write_text(f"{seconds}", encoding="ascii")
    try:
        yield
    finally:
        file.unlink()


def main() -> int:
    """Serve, and return the server's exit code."""
    file = Path(sys.argv.pop(1))
    engines.load_engine = lambda *place, **options: _HeldBack(load_engine(*place, **options), file)
    return server.main()


if __name__ == "__main__":
    sys.exit(main())
