"""The process in which kfp.local runs a pipeline; `sextant_pipelines.local` starts it and reads its output.

It dies with its parent, however that ends: standard input is a pipe whose other end only the parent holds,
and at its end the whole process group, steps included, is killed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from sextant_components.runs.context import PipelineName


def main(arguments: list[str]) -> int:
    """Run `PIPELINE` with the arguments that follow as `NAME=VALUE`; 0 if it succeeded, else 1."""
    name, *pairs = arguments
    parameters = dict(pair.split("=", 1) for pair in pairs)
    if os.getpgrp() != os.getpid():
        raise RuntimeError("start this module in a process group of its own; sextant_pipelines.local does")
    threading.Thread(target=_die_with_parent, args=(sys.stdin.fileno(),), daemon=True).start()
    # KFP warns for each image without "python" in its name; locally the image only names where the step would run.
    warnings.filterwarnings("ignore", message="You may be attemping to run a task")
    from kfp import local

    from sextant_pipelines.compile import pipeline

    scratch = Path(parameters["run_uri"]) / "pipeline"
    local.init(
        runner=local.SubprocessRunner(use_venv=False),
        pipeline_root=str(scratch),
        workspace_root=str(scratch / "workspace"),  # the runner deletes this folder when it is done
        enable_caching=False,
    )
    try:
        pipeline(cast("PipelineName", name))(**parameters)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _die_with_parent(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
