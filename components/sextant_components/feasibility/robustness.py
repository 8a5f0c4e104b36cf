"""Will the model hold in bad light and under load?"""

from __future__ import annotations

import statistics
import time

import numpy as np

from sextant_components.feasibility.heading import Heading, Study
from sextant_components.feasibility.stand_in import HIDDEN, input_width
from sextant_plan.verdicts import Verdict

TIMED_ROWS = 50
PEAK = 10.0  # busiest second over the day's mean; a guess for offices and shops, whose nights are idle
SECONDS_A_DAY = 86400.0
HEADROOM = 3.0  # a p99 on a shared machine is about three times the median of a quiet one


def assess(study: Study) -> Heading:
    """Check that corruptions are tried where the risk class asks, and time the least that a request costs."""
    plan = study.plan
    has_picture = plan.model.inputs.image is not None
    tried = bool(plan.evaluation.corruptions) or not has_picture or plan.goal.risk_class == "minimal"
    floor_ms = _request_floor_ms(study)
    plausible = HEADROOM * floor_ms <= plan.serving.latency_slo_ms
    load = _peak_load(study)
    carried = load is None or load * floor_ms / 1000 <= plan.serving.hardware.cpu
    return Heading(
        task="feasibility: robustness and scalability",
        requirement="corruptions are tried unless the risk is minimal; latency objective and peak load are in reach",
        risk="the model fails in the dark, or answers too late, and is found out by its users",
        qa_method=f"evaluation.corruptions; time to decode a picture and multiply it once: {HEADROOM:g} times it to "
        f"the objective, and at {PEAK:g} times the mean load to serving.hardware.cpu",
        value={
            "corruptions": list(plan.evaluation.corruptions),
            "latency_slo_ms": plan.serving.latency_slo_ms,
            "plausible": plausible,
            "peak_requests_a_second": None if load is None else round(load, 3),
            "carried_by_planned_cores": carried,
        },
        verdict=Verdict.PASS if tried and plausible and carried else Verdict.FAIL,
    )


def _peak_load(study: Study) -> float | None:
    """Return the requests of the busiest second; None where the plan does not say how many a day there are."""
    economics = study.plan.goal.economics
    return None if economics is None else PEAK * economics.predictions_per_day / SECONDS_A_DAY


def _request_floor_ms(study: Study) -> float:
    """Return the median time of decoding one picture and one dense layer, in ms; the layer alone without pictures."""
    from sextant_serving.errors import BadPicture
    from sextant_serving.preprocessing import decode_image

    spec, width = study.plan.model.inputs.image, input_width(study.plan)
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
