"""Will the model hold in bad light and under load?"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sextant_components.feasibility.heading import Heading, Study
from sextant_plan.verdicts import Verdict

TIMED_ROWS = 50
HIDDEN = 256  # of the stand-in network: one dense layer over the whole input, less work than any candidate
HEADROOM = 3.0  # a p99 on a shared machine is about three times the median of a quiet one


def assess(study: Study) -> Heading:
    """Check that corruptions are tried where the risk class asks, and time the least that a request costs."""
    plan = study.plan
    has_picture = plan.model.inputs.image is not None
    tried = bool(plan.evaluation.corruptions) or not has_picture or plan.goal.risk_class == "minimal"
    floor_ms = _request_floor_ms(study)
    plausible = HEADROOM * floor_ms <= plan.serving.latency_slo_ms
    return Heading(
        task="feasibility: robustness and scalability",
        requirement="corrupted pictures are tried unless the risk is minimal, and the latency objective is in reach",
        risk="the model fails in the dark, or answers too late, and is found out by its users",
        qa_method=f"evaluation.corruptions; {HEADROOM:g} times the time to decode a picture and multiply it once",
        value={
            "corruptions": list(plan.evaluation.corruptions),
            "latency_slo_ms": plan.serving.latency_slo_ms,
            "plausible": plausible,
        },
        verdict=Verdict.PASS if tried and plausible else Verdict.FAIL,
    )


def _request_floor_ms(study: Study) -> float:
    """Return the median time of decoding one picture and one dense layer, in ms; the layer alone without pictures."""
    from sextant_serving.errors import BadPicture
    from sextant_serving.preprocessing import decode_image

    inputs = study.plan.model.inputs
    width = len(inputs.columns) + len(inputs.features)
    spec = inputs.image
    if spec is not None:
        width += spec.height * spec.width * spec.channels
    weights = np.ones((width, HIDDEN), dtype=np.float32)
    row = np.ones((1, width), dtype=np.float32)
    times = []
    for place in range(min(TIMED_ROWS, study.rows.height)):
        data = study.pictures[place].read_bytes() if spec is not None and study.pictures is not None else b""
        start = time.perf_counter()
        try:
            if spec is not None:
                decode_image(data, spec)
        except BadPicture:  # verify counts them
            continue
        row @ weights
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times) if times else 0.0
