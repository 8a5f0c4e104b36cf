"""Do this machine and its disk suffice for what the plan asks?"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sextant_components.feasibility.heading import Heading, Study, verdict_of
from sextant_plan.verdicts import Verdict

_UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
COPIES = 3  # of the source on disk: the snapshot, the feature repository, and a rerun beside it
FLOAT_BYTES = 4


def assess(study: Study) -> Heading:
    """Compare the plan's requests, and the training tensors' size, with what this machine has."""
    hardware = study.plan.serving.hardware
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    tensors = study.rows.height * _row_bytes(study)
    stored = sum(path.stat().st_size for path in _source_files(study))
    checks = {
        "serving.hardware.cpu": hardware.cpu <= (os.cpu_count() or 1),
        "serving.hardware.memory": int(hardware.memory[:-2]) * _UNITS[hardware.memory[-2:]] <= memory,
        "training tensors in half the memory": tensors <= memory / 2,
        f"{COPIES} copies of the source on disk": COPIES * stored <= shutil.disk_usage(study.root).free,
    }
    problems = [name for name, holds in checks.items() if not holds]
    verdict = verdict_of(problems)
    if verdict is Verdict.PASS and hardware.gpu and not Path("/dev/nvidia0").exists():
        verdict = Verdict.UNKNOWN  # the cluster may have what this machine has not
    return Heading(
        task="feasibility: resources",
        requirement="processors, memory and disk cover what the plan asks for",
        risk="the work stops half-way for want of a machine",
        qa_method="serving.hardware and the size of the source against this machine; a GPU only if one is here",
        value={
            "cpu": hardware.cpu,
            "memory": hardware.memory,
            "gpu": hardware.gpu,
            "training_bytes": tensors,
            "problems": problems,
        },
        verdict=verdict,
    )


def _row_bytes(study: Study) -> int:
    inputs = study.plan.model.inputs
    columns = FLOAT_BYTES * (len(inputs.columns) + len(inputs.features))
    return columns + (inputs.image.height * inputs.image.width * inputs.image.channels if inputs.image else 0)


def _source_files(study: Study) -> list[Path]:
    tables = [view.source for view in study.plan.features.views] if study.plan.features else []
    tables += [study.plan.data.table] if study.plan.data.table else []
    return [*(study.root / name for name in tables), *(study.pictures or [])]
