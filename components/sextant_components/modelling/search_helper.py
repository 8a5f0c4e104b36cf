"""A process that makes trials of a search that another process leads.

    python -m sextant_components.modelling.search_helper RUN --snapshot S --splits S [--storage ADDRESS] [--number N]

RUN is the run's folder on a volume that all processes mount; the storage is a database's URL or a journal's path, by
default that of SEXTANT_STUDY_STORAGE. Each helper has a number of its own from 1, which makes it try other settings; in
an indexed Job (`sextant render search-job`) it is the pod's. It ends when the study has the plan's trials.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from sextant_components.modelling.search_team import study_name
from sextant_components.modelling.studies import STORAGE, Place, shared_storage
from sextant_components.modelling.train import CHECKPOINTS, read_inputs
from sextant_components.modelling.tuning import help_search
from sextant_components.runs.context import open_run
from sextant_plan.errors import SextantError, UsageError

INDEX = "JOB_COMPLETION_INDEX"  # Kubernetes counts the pods of an indexed Job from 0


def main(arguments: list[str]) -> int:
    """Make trials until there are enough; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sextant_components.modelling.search_helper")
    parser.add_argument("run", help="the run's folder")
    parser.add_argument("--snapshot", type=Path, required=True, help="folder of the ingest step's output")
    parser.add_argument("--splits", type=Path, required=True, help="folder of the prepare step's output")
    parser.add_argument("--storage", default=shared_storage(), help=f"the study's storage; default: ${STORAGE}")
    index = int(os.environ.get(INDEX, "0"))
    parser.add_argument(
        "--number", type=int, default=index + 1, help=f"which of the helpers this is, from 1; default: ${INDEX} + 1"
    )
    options = parser.parse_args(arguments)
    try:
        if options.storage is None:
            raise UsageError(f"no storage to share a study in. Give --storage, or set {STORAGE}.")
        context = open_run(options.run)
        shape, train, valid = read_inputs(context, options.snapshot, options.splits)
        place = Place(options.storage, study_name(context), options.number)
        help_search(context.model, shape, train, valid, checkpoints=context.run / CHECKPOINTS, place=place)
    except SextantError as error:
        print(error, file=sys.stderr)
        return int(error.exit_code)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
