"""The tasks of deployment."""

from __future__ import annotations

from sextant_plan.tasks.excuses import NO_FAILURE_MODES, NO_SHARED_TRAFFIC, unless
from sextant_plan.tasks.task import Task

NO_USERS = unless(
    lambda plan: plan.rollout.acceptance, "rollout.acceptance names no users to try the model before it takes over"
)

TASKS = (
    Task(
        "hardware", "deployment", "Inference hardware",
        requirement="the engine runs on the planned hardware in time",
        risk="what was fast in development is slow where it is served",
        method="engines measured at one row and at a full batch; requests over HTTP to the real server",
        lives_in=("sextant_components.modelling.optimise", "sextant_components.evaluation.server_probe"),
        evidence=("optimise/engine latency", "evaluate/request latency"),
    ),
    Task(
        "targets", "deployment", "Deployment targets",
        requirement="what is served is the registered bundle, bound to plan, data and code",
        risk="one model is tested and another is released",
        method="registry entry with the digests; a server on the stored bundle answers as expected",
        lives_in=(
            "sextant_components.deployment.register", "sextant_components.deployment.roll_out",
            "sextant_serving.registry",
        ),
        evidence=("register/model version", "roll_out/serving proof", "optimise/export*", "*/export: *"),
    ),
    Task(
        "promotion", "deployment", "Promotion and the way back",
        requirement="exactly one version is live, it is known why, and the one before can be put back",
        risk="two releases race, or a bad one cannot be undone",
        method="write-once promotion records from which the alias is repaired",
        lives_in=("sextant_components.deployment.roll_out", "sextant_plan.promotion"),
        evidence=("roll_out/promotion*", "roll_out/rollback*"),
    ),
    Task(
        "canary", "deployment", "Evaluation under production: canary, A/B, shadow",
        requirement="the new version is proved not worse on live traffic before it takes all of it",
        risk="what the sealed rows did not show is found out by every user at once",
        method="anytime-valid tests against the stable version at rising weights",
        lives_in=("sextant_plan.sequential", "sextant_plan.canary_criteria", "sextant_plan.canary_shift"),
        evidence=("roll_out/canary*", "roll_out/ab*", "roll_out/shadow*", "roll_out/look*"),
        excuse=NO_SHARED_TRAFFIC,
    ),
    Task(
        "acceptance", "deployment", "User acceptance",
        requirement="users are satisfied with the model before it takes all traffic",
        risk="a correct model that nobody wants to use",
        method="each user rates each task; lower bound of the satisfied users' share",
        lives_in=("sextant_plan.acceptance",),
        evidence=("roll_out/acceptance*", "roll_out/user acceptance*"),
        excuse=NO_USERS,
    ),
    Task(
        "fallback", "deployment", "Fallback and disaster plan",
        requirement="each failure mode has an answer, a time to recover and a way to be noticed",
        risk="the first outage is the first time that anybody thinks of one",
        method="failure modes of the plan; fallbacks counted by the server while it is watched",
        lives_in=(
            "sextant_components.planning.feasibility.intent", "sextant_components.deployment.drills.conduct",
            "sextant_plan.presence_rules",
        ),
        evidence=("plan/fallback plan", "watch/drill*"),
        excuse=NO_FAILURE_MODES,
    ),
)  # fmt: skip
