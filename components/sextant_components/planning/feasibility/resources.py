"""Do machine or cluster suffice for what the plan asks, and is somebody there to decide?"""

from __future__ import annotations

import shutil
from pathlib import Path

from sextant_components.data.table_files import table_files
from sextant_components.planning.feasibility.capacity import capacity
from sextant_components.planning.feasibility.heading import Heading, Study, verdict_of
from sextant_plan.schema import Role
from sextant_plan.verdicts import Verdict

_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
COPIES = 4  # of the source on disk: the staged tables, the snapshot, the feature repository, and a rerun beside it
FLOAT_BYTES = 4
ROLES: dict[str, tuple[Role, ...]] = {
    "minimal": (),
    "limited": ("data", "model", "operations"),
    "high": ("data", "model", "operations", "compliance"),
}


def assess(study: Study) -> Heading:
    """Compare the plan's requests and the training tensors with what there is, and check that each role is filled.

    A cluster that does not answer, a GPU that this machine lacks and the cluster may have, and a role that nobody is
    named for are unknown.
    """
    hardware, found = study.plan.serving.hardware, capacity()
    tensors = study.rows.height * _row_bytes(study)
    stored = sum(path.stat().st_size for path in _source_files(study))
    checks = {f"{COPIES} copies of the source on disk": COPIES * stored <= shutil.disk_usage(study.root).free}
    if found is not None:
        checks |= {
            "serving.hardware.cpu": hardware.cpu <= found.cpu,
            "serving.hardware.memory": int(hardware.memory[:-2]) * _UNITS[hardware.memory[-2:]] <= found.memory,
            "training tensors in half the memory": tensors <= found.memory / 2,
        }
    problems = [name for name, holds in checks.items() if not holds] + _unfilled(study)
    verdict, vacant = verdict_of(problems), _vacant(study)
    if verdict is Verdict.PASS and (found is None or hardware.gpu > found.gpu or vacant):
        verdict = Verdict.UNKNOWN
    return Heading(
        task="feasibility: resources",
        requirement="processors, memory, disk and people cover what the plan asks for",
        risk="the work stops half-way for want of a machine, or of somebody to decide",
        qa_method="serving.hardware and the source's size against the largest node of KUBECONFIG's cluster, or this "
        "machine; owner.team, owner.approvers and the roles that the risk class asks for are names",
        value={
            "cpu": hardware.cpu,
            "memory": hardware.memory,
            "gpu": hardware.gpu,
            "training_bytes": tensors,
            "compared_with": "a silent cluster" if found is None else found.place,
            "approvers": len(set(study.plan.owner.approvers)),
            "roles": sorted(study.plan.owner.roles),
            "vacant_roles": vacant,
            "problems": problems,
        },
        verdict=verdict,
    )


def _unfilled(study: Study) -> list[str]:
    """Return the roles that nobody fills: a name is not empty, and two approvers are two people."""
    owner = study.plan.owner
    problems = [] if owner.team.strip() else ["owner.team names nobody"]
    if not all(name.strip() for name in owner.approvers):
        problems.append("owner.approvers holds an empty name")
    if len(set(owner.approvers)) < len(owner.approvers):
        problems.append("owner.approvers names somebody twice")
    return problems + [f"owner.roles.{role} names nobody" for role, name in owner.roles.items() if not name.strip()]


def _vacant(study: Study) -> list[str]:
    """Return the roles that the risk class asks for and the plan does not name."""
    return [role for role in ROLES[study.plan.goal.risk_class] if role not in study.plan.owner.roles]


def _row_bytes(study: Study) -> int:
    inputs = study.plan.model.inputs
    columns = FLOAT_BYTES * (len(inputs.columns) + len(inputs.features))
    return columns + (inputs.image.height * inputs.image.width * inputs.image.channels if inputs.image else 0)


def _source_files(study: Study) -> list[Path]:
    tables = [view.source for view in study.plan.features.views] if study.plan.features else []
    tables += [study.plan.data.table] if study.plan.data.table else []
    return [*(file for name in tables for file in table_files(study.root / name)), *(study.pictures or [])]
