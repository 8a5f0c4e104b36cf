"""What a step knows: the run's store, the plan, and where the workshop keeps its state.

A run is one folder (`run_uri`) that the client prepares before the first step: `plan.yaml` as the user
wrote it and `run.json` with what the plan file alone does not say. Every step finds all it needs there.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sextant_components.runs.repository import Repository, read_repository
from sextant_components.runs.source_folder import source_root
from sextant_plan import __version__
from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.ledger import ArtifactStore, LedgerWriter, Origin, Phase
from sextant_plan.loading import load_plan, plan_hash
from sextant_plan.overrides import Override, binding_overrides, read_overrides
from sextant_plan.schema import Closed, Model, Plan

PLAN_FILE = "plan.yaml"
RUN_FILE = "run.json"


class Step(StrEnum):
    """The steps of the life cycle, in order."""

    PLAN = "plan"
    INGEST = "ingest"
    VERIFY = "verify"
    PREPARE = "prepare"
    TRAIN = "train"
    OPTIMISE = "optimise"
    EVALUATE = "evaluate"
    DECIDE = "decide"
    REGISTER = "register"
    ROLL_OUT = "roll_out"
    WATCH = "watch"


PHASES: dict[Step, Phase] = {
    Step.PLAN: "planning",
    Step.INGEST: "data",
    Step.VERIFY: "data",
    Step.PREPARE: "data",
    Step.TRAIN: "model engineering",
    Step.OPTIMISE: "model engineering",
    Step.EVALUATE: "evaluation",
    Step.DECIDE: "evaluation",
    Step.REGISTER: "deployment",
    Step.ROLL_OUT: "deployment",
    Step.WATCH: "monitoring",
}


PipelineName = Literal["lifecycle", "retrain", "ingest", "monitor"]

# The steps that each pipeline runs; a retraining is bound to a plan that an earlier run has frozen.
PIPELINES: dict[PipelineName, tuple[Step, ...]] = {
    "lifecycle": tuple(Step),
    "retrain": tuple(step for step in Step if step is not Step.PLAN),
    "ingest": (Step.INGEST, Step.VERIFY),
    "monitor": (Step.WATCH,),
}


class RunFile(Closed):
    """The contents of run.json: `plan_dir` resolves the plan's relative paths, `home` is `.sextant`.

    `repository` is what tracked the plan where the run was laid out, which a step on a cluster cannot see. In a `wider`
    run the plan's wider candidates compete as well.
    """

    run_id: str
    plan_dir: str
    home: str
    pipeline: PipelineName = "lifecycle"
    repository: Repository | None = None
    wider: bool = False


@dataclass(frozen=True)
class RunContext:
    """An opened run."""

    run: Path
    run_id: str
    home: Path
    plan_dir: Path
    plan: Plan
    plan_hash: str
    pipeline: PipelineName = "lifecycle"
    repository: Repository | None = None
    wider: bool = False

    @property
    def model(self) -> Model:
        """What is learned; in a wider run the plan's wider candidates are among the candidates, each with a trial."""
        model = self.plan.model
        if not self.wider:
            return model
        candidates = [*model.candidates, *model.wider_candidates]
        search = model.search.model_copy(update={"trials": max(model.search.trials, len(candidates))})
        return model.model_copy(update={"candidates": candidates, "search": search})

    @property
    def data_root(self) -> Path:
        """The folder that the plan's `data.source` names, or the one that mirrors it."""
        return source_root(self.plan, self.plan_dir, self.home)

    @property
    def feature_repo(self) -> Path:
        """The plan's Feast repository, which all its runs share."""
        return feature_repo_of(self.plan, self.home)

    @property
    def artifacts(self) -> ArtifactStore:
        """The run's content-addressed files."""
        return ArtifactStore(self.run)

    def ledger(self, step: Step) -> LedgerWriter:
        """Open the next attempt of a step's ledger; use it as a context manager."""
        origin = origin_of(self.run_id, self.plan_hash)
        return LedgerWriter(self.run, step.value, PHASES[step], origin, overridden=self.overrides())

    def overrides(self) -> dict[str, Override]:
        """Return the override in force now for each criterion hash."""
        return binding_overrides(read_overrides(self.home), self.plan_hash, datetime.now(UTC))


def feature_repo_of(plan: Plan, home: Path) -> Path:
    """Return the folder of a plan's Feast repository in a home."""
    return home.resolve() / "feast" / plan.name


def create_run(
    run: Path, *, run_id: str, plan_path: Path, home: Path, pipeline: PipelineName = "lifecycle", wider: bool = False
) -> RunContext:
    """Lay out a new run's store and open it; the folder must not exist. Raises PlanError for a bad plan."""
    load_plan(plan_path)
    run.mkdir(parents=True)
    (run / PLAN_FILE).write_bytes(plan_path.read_bytes())
    plan_dir = str(plan_path.resolve().parent)
    file = RunFile(
        run_id=run_id,
        plan_dir=plan_dir,
        home=str(home.resolve()),
        pipeline=pipeline,
        repository=read_repository(plan_path),
        wider=wider,
    )
    (run / RUN_FILE).write_text(file.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return open_run(str(run))


def open_run(run_uri: str) -> RunContext:
    """Open a run that `create_run` laid out. Raises UsageError if the folder is not a run."""
    run = Path(run_uri.removeprefix("file://"))
    try:
        file = RunFile.model_validate_json((run / RUN_FILE).read_bytes())
    except FileNotFoundError as error:
        raise UsageError(f"{run}: no {RUN_FILE} here. Give the folder of a run, such as .sextant/runs/NAME.") from error
    except ValidationError as error:
        raise InfrastructureError(f"{run / RUN_FILE}: not a description of a run. Start a new one.") from error
    plan = load_plan(run / PLAN_FILE)
    places = Path(file.home), Path(file.plan_dir)
    return RunContext(run, file.run_id, *places, plan, plan_hash(plan), file.pipeline, file.repository, file.wider)


def pipeline_of(run: Path) -> PipelineName:
    """Return which pipeline a run's folder belongs to; never raises, and calls what cannot be read a lifecycle."""
    try:
        return RunFile.model_validate_json((run / RUN_FILE).read_bytes()).pipeline
    except (OSError, ValidationError):
        return "lifecycle"


def origin_of(run_id: str, hashed_plan: str) -> Origin:
    """Return where evidence of this process comes from; outside an image, SEXTANT_IMAGE is unset, that is `local`."""
    return Origin(run_id, hashed_plan, code_version(), os.environ.get("SEXTANT_IMAGE", "local"))


@cache
def code_version() -> str:
    """Return the version and the digest of the installed steps' source, so that evidence names its code."""
    import sextant_components
    import sextant_plan
    import sextant_serving

    roots = [Path(module.__path__[0]) for module in (sextant_components, sextant_plan, sextant_serving)]
    files = {f"{root.name}/{path.relative_to(root)}": path for root in roots for path in root.rglob("*.py")}
    return f"{__version__}+{digest_of({name: digest_of_file(path) for name, path in files.items()})[7:19]}"
