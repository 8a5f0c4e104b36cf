"""The 28 tests of the ML Test Score (Breck et al. 2017), each with the records of a run that answer it.

A record goes by `step/task`, by `step/metric:NAME` if it judges a criterion, and by `step/sliced:NAME` if that
criterion is on a slice; one that asks for a gain over the baseline goes by `step/beats baseline` too. `*` stands for
any text. A group is answered by any of its patterns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sextant_plan.schema import Plan

ScoreSection = Literal["data", "model", "infrastructure", "monitoring"]
Groups = tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ScoreTest:
    """One test. `automated` gives a point if every group is answered by passing records of the run.

    Half a point is for what is done by hand or in part and is documented: by every group of `partial`, or by the
    plan where `documented` says so.
    """

    id: str
    section: ScoreSection
    question: str
    automated: Groups
    partial: Groups = ()
    documented: Callable[[Plan], bool] = lambda _plan: False


def _retrains(plan: Plan) -> bool:
    return any("retrain" in criterion.enforce for criterion in plan.criteria)


SCORE_TESTS = (
    ScoreTest("data-1", "data", "Are expectations of the inputs held in a schema?", (("verify/schema of *",),)),
    ScoreTest(
        "data-2", "data", "Is every input of use?",
        (("evaluate/explanation", "evaluate/feature*"), ("evaluate/beats baseline",)),
        partial=(("evaluate/beats baseline",),),
    ),
    ScoreTest(
        "data-3", "data", "Is no input too costly?",
        (("plan/cost-benefit",), ("evaluate/metric:latency_*",)),
        partial=(("evaluate/request latency",),),
    ),
    ScoreTest(
        "data-4", "data", "Do the inputs keep to rules about what may be used?",
        (("plan/feasibility: legal and ethics",), ("verify/leakage of the label",)),
    ),
    ScoreTest(
        "data-5", "data", "Are there controls of privacy?",
        (("ingest/licence and consent",), ("plan/feasibility: legal and ethics",)),
    ),
    ScoreTest(
        "data-6", "data", "Can an input be added quickly?", (("prepare/point-in-time join",),),
        documented=lambda plan: bool(plan.model.inputs.columns or plan.model.inputs.image),
    ),
    ScoreTest(
        "data-7", "data", "Is the code that makes inputs tested?",
        (("prepare/train/serve parity", "evaluate/served parity"), ("plan/repository tests",)),
        partial=(("prepare/train/serve parity", "evaluate/served parity"),),
    ),
    ScoreTest(
        "model-1", "model", "Is every change of the model reviewed and committed?",
        (("*/sign-off*",), ("plan/repository",)),
        partial=(("*/sign-off*", "plan/repository"),),
        documented=lambda plan: bool(plan.owner.approvers),
    ),
    ScoreTest(
        "model-2", "model", "Do results before and in service go together?", (("watch/quality*", "roll_out/ab*"),),
        partial=(("watch/label join",),),
    ),
    ScoreTest("model-3", "model", "Are the settings tuned?", (("train/search",),)),
    ScoreTest(
        "model-4", "model", "Is the effect of an old model known?", (("plan/feasibility: staleness",),),
        documented=lambda plan: any(criterion.metric == "model_age_days" for criterion in plan.criteria),
    ),
    ScoreTest(
        "model-5", "model", "Is a simpler model not as good?",
        (("train/beats simpler candidates",), ("evaluate/beats baseline",)),
    ),
    ScoreTest(
        "model-6", "model", "Is quality enough on every slice that matters?", (("evaluate/sliced:*",),),
        partial=(("evaluate/slices",),),
    ),
    ScoreTest(
        "model-7", "model", "Is the model tested for inclusion?",
        (("evaluate/metric:accuracy_gap", "evaluate/metric:mae_gap"),),
        documented=lambda plan: bool(plan.goal.societal_impact.strip()),
    ),
    ScoreTest(
        "infrastructure-1", "infrastructure", "Can training be repeated?", (("train/seeds",),),
        partial=(("optimise/bundle",), ("train/search",)),
    ),
    ScoreTest(
        "infrastructure-2", "infrastructure", "Is the model's specification tested by itself?",
        (("train/overfit one batch*",), ("train/loss falls",)),
    ),
    ScoreTest(
        "infrastructure-3", "infrastructure", "Is the whole pipeline tested together?",
        tuple((f"{step}/step-end",) for step in ("ingest", "train", "evaluate", "register", "roll_out", "watch")),
        partial=(("evaluate/step-end",),),
    ),
    ScoreTest(
        "infrastructure-4", "infrastructure", "Is quality proved before a model is served?",
        (("decide/decision *",), ("roll_out/serving proof",)),
    ),
    ScoreTest(
        "infrastructure-5", "infrastructure", "Can a single answer be looked into?",
        (("evaluate/confident errors", "evaluate/largest errors"), ("evaluate/explanation",)),
        partial=(("evaluate/confident errors", "evaluate/largest errors"),),
    ),
    ScoreTest(
        "infrastructure-6", "infrastructure", "Does a canary come before full service?",
        (("roll_out/canary*", "roll_out/shadow*"),), partial=(("roll_out/serving proof",),),
    ),
    ScoreTest(
        "infrastructure-7", "infrastructure", "Can a model be rolled back?", (("roll_out/rollback*", "watch/drill*"),),
        partial=(("roll_out/promotion",),),
    ),
    ScoreTest(
        "monitoring-1", "monitoring", "Is a change of what we depend on noticed?",
        (("watch/metric:feature_age_hours", "watch/metric:unknown_rate"), ("register/model version",)),
        partial=(("optimise/bundle",), ("register/model version",)),
    ),
    ScoreTest(
        "monitoring-2", "monitoring", "Do the rules about inputs hold in service?",
        (("watch/metric:input_psi", "watch/metric:missing_rate", "watch/metric:unknown_rate"),),
        partial=(("watch/drift by feature",),),
    ),
    ScoreTest(
        "monitoring-3", "monitoring", "Do training and serving see the same inputs?",
        (("evaluate/served parity", "prepare/train/serve parity"), ("watch/live traffic",)),
        partial=(("evaluate/served parity", "prepare/train/serve parity"),),
    ),
    ScoreTest(
        "monitoring-4", "monitoring", "Is the model not too old?", (("watch/metric:model_age_days",),),
        documented=_retrains,
    ),
    ScoreTest(
        "monitoring-5", "monitoring", "Are the numbers stable?", (("watch/metric:probe_success",),),
        partial=(("optimise/engine parity*",), ("train/loss falls",)),
    ),
    ScoreTest(
        "monitoring-6", "monitoring", "Has speed not become worse?",
        (("watch/metric:latency_*", "watch/metric:queue_wait*"),), partial=(("evaluate/request latency",),),
    ),
    ScoreTest(
        "monitoring-7", "monitoring", "Has quality not become worse?", (("watch/quality*", "watch/metric:accuracy"),),
        partial=(("watch/label join",),),
    ),
)  # fmt: skip
