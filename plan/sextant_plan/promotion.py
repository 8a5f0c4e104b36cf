"""Promotion: the write-once record that makes a version the champion, and `active.json`, which servers follow.

A promotion is one line of a model's ledger in the registry, under a key that can be written once. Whatever
else says which version is live (the alias `champion`, `active.json`) is a copy that is repaired from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sextant_plan.challengers import Challengers
from sextant_plan.errors import ExitCode, InfrastructureError, SextantError
from sextant_plan.files import write_atomically
from sextant_plan.schema import Closed
from sextant_plan.verdicts import Verdict

ACTIVE_FILE = "active.json"


class Promotion(Closed):
    """The contents of the parameter `seq-000N`.

    `replaces` is the version that was live before, `decision` the id of the closing record of the decision,
    `decided` its Unix time. `bundle` and `feature_repo` are folders.
    """

    schema_version: Literal[1] = 1
    sequence: int
    name: str
    version: str
    digest: str
    replaces: str | None
    bundle: str
    feature_repo: str | None
    run_id: str
    plan_hash: str
    decision: str
    decided: float

    @property
    def key(self) -> str:
        """The parameter's name in the ledger."""
        return sequence_key(self.sequence)


class ActiveModel(Closed):
    """The contents of active.json; `previous` is what to go back to, and has no `previous` of its own.

    `challengers` run beside it in the same server. `experiment` names their comparison: another name assigns
    every unit anew; None derives it from the challengers.
    """

    name: str
    version: str
    digest: str
    bundle: str
    feature_repo: str | None = None
    sequence: str
    previous: ActiveModel | None = None
    challengers: Challengers = ()
    experiment: str | None = None


class PromotionLost(SextantError):
    """Another promotion came between this run's evaluation and its own."""

    exit_code = ExitCode.GATE_FAILED

    def __init__(self, name: str, *, judged_against: str | None, champion: str | None) -> None:
        super().__init__(
            f"{name}: this run was judged against {_version(judged_against)}, but {_version(champion)} is live now. "
            "Nothing was changed. Run the evaluation again, so that the comparison is with what is live."
        )


class NotAdmitted(SextantError):
    """A rollout that the evidence does not allow."""

    def __init__(self, problem: str, remedy: str, *, verdict: Verdict) -> None:
        self.exit_code = ExitCode.GATE_FAILED if verdict is Verdict.FAIL else ExitCode.GATE_UNKNOWN
        super().__init__(f"not rolled out: {problem}. {remedy}.")


def _version(version: str | None) -> str:
    return f"version {version}" if version else "no version"


def sequence_key(sequence: int) -> str:
    """Return the ledger key of the `sequence`-th promotion, counted from 1."""
    return f"seq-{sequence:04d}"


def active_model(history: list[Promotion]) -> ActiveModel:
    """Return what active.json has to say after the promotions in `history`, the oldest first, at least one."""
    previous = _as_active(history[-2]) if len(history) > 1 else None
    return _as_active(history[-1]).model_copy(update={"previous": previous})


def _as_active(promotion: Promotion) -> ActiveModel:
    return ActiveModel(
        name=promotion.name,
        version=promotion.version,
        digest=promotion.digest,
        bundle=promotion.bundle,
        feature_repo=promotion.feature_repo,
        sequence=promotion.key,
    )


def write_active(home: Path, active: ActiveModel) -> None:
    """Replace `active.json` in one step, so that a server that follows it never reads a part."""
    write_atomically(home / ACTIVE_FILE, (active.model_dump_json(indent=1) + "\n").encode())


def read_active(home: Path) -> ActiveModel | None:
    """Return what is live, or None before the first promotion. Raises InfrastructureError if malformed."""
    path = home / ACTIVE_FILE
    try:
        return ActiveModel.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_input=False)[0]["loc"])) or "the document"
        raise InfrastructureError(
            f"{path}: a fault at {where}. Remove the file and roll out again; the registry still has every promotion."
        ) from error
