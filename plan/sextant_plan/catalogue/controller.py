"""The series of the rollout controller; `model` is the InferenceService."""

from __future__ import annotations

from sextant_plan.catalogue.series import Series

ROLLOUT_WEIGHT = Series(
    "sextant_rollout_weight_percent", "gauge", "percent", "Share of requests asked for the canary.",
    ("namespace", "model"),
)  # fmt: skip
ROLLOUT_PHASE = Series(
    "sextant_rollout_phase", "gauge", "boolean", "1 for the phase that the rollout is in.",
    ("namespace", "model", "phase"),
)  # fmt: skip
ROLLOUT_ENDS = Series(
    "sextant_rollout_ends_total", "counter", "rollouts", "Rollouts by how they ended.", ("namespace", "model", "end")
)
ROLLOUT_FAULTS = Series(
    "sextant_rollout_faults_total", "counter", "ticks", "Steps that an API, MLflow or a bad object prevented.",
    ("namespace", "model"),
)  # fmt: skip
ROLLOUT_LEADER = Series("sextant_rollout_leader", "gauge", "boolean", "1 while this controller holds the lease.")
CONTROLLER: dict[str, Series] = {
    series.name: series for series in (ROLLOUT_WEIGHT, ROLLOUT_PHASE, ROLLOUT_ENDS, ROLLOUT_FAULTS, ROLLOUT_LEADER)
}
