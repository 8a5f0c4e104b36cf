"""The tasks of evaluation."""

from __future__ import annotations

from sextant_plan.catalogue import Kind
from sextant_plan.tasks.excuses import (
    NO_EXPLANATION,
    NO_PICTURE,
    NO_SLICES,
    metrics_of,
    unless,
    unless_a_criterion_on,
)
from sextant_plan.tasks.task import Task

EVALUATE = "sextant_components.evaluation.evaluate"
NO_SIGNATURES = unless(lambda plan: plan.sign_off, "the plan lists no sign_off")

TASKS = (
    Task(
        "sealed-test", "evaluation", "Test on sealed data",
        requirement="rows that no choice was made by judge the model, and are seen no more often than allowed",
        risk="a test set that is looked at often enough becomes a training set",
        method="looks counted by write-once parameters; confidence bounds, not point values",
        lives_in=(EVALUATE, "sextant_components.evaluation.looks", "sextant_components.evidence.metrics"),
        evidence=("evaluate/look", "evaluate/bundle under test", "evaluate/confusion*", "evaluate/reliab*",
                  "evaluate/answers and labels", "evaluate/beats baseline", "evaluate/champion",
                  "evaluate/served parity", "evaluate/rows in groups"),
        metrics=metrics_of(Kind.ML),
    ),
    Task(
        "expert-review", "evaluation", "Review by experts",
        requirement="an expert can look at what goes most wrong",
        risk="wrong labels and blind spots stay unseen",
        method="the wrong answers that the model was surest of, as a queue with pictures; the plan's experts review it "
        "before a promotion",
        lives_in=("sextant_components.evaluation.evaluation_records", "sextant_components.evaluation.expert_review"),
        evidence=("evaluate/confident errors", "evaluate/largest errors", "evaluate/expert*", "evaluate/*review*",
                  "*/confident errors", "*/largest errors"),
    ),
    Task(
        "ethics", "evaluation", "Ethics and fairness",
        requirement="it is known for whom the model works less well",
        risk="an average hides a group that is served badly",
        method="accuracy of every declared slice with bounds; a search for undeclared ones, by Holm's p-values",
        lives_in=("sextant_components.evaluation.evaluation_records", "sextant_components.evaluation.slice_search"),
        evidence=("evaluate/slices*", "evaluate/fair*"),
        metrics=metrics_of(Kind.FAIRNESS),
        excuse=NO_SLICES,
    ),
    Task(
        "robustness-random", "evaluation", "Robustness against random and adversarial noise",
        requirement="worse inputs cost no more accuracy than the plan allows",
        risk="the model fails in the dark and its users find out",
        method="the sealed pictures corrupted at five severities, the worst corruption counting; changes along the "
        "network's gradients; wrong requests to the real server",
        lives_in=(
            "sextant_components.evaluation.corruptions", "sextant_components.evaluation.attacks",
            "sextant_components.evaluation.wrong_inputs",
        ),
        evidence=("evaluate/*corrupt*", "evaluate/noise*", "evaluate/fuzz*"),
        metrics=("corrupted_accuracy", "attacked_accuracy"),
        excuse=lambda plan: NO_PICTURE(plan) or (
            None if plan.evaluation.corruptions or plan.goal.risk_class != "minimal"
            else "evaluation.corruptions is empty and goal.risk_class is minimal"
        ),
    ),
    Task(
        "robustness-real", "evaluation", "Robustness against inputs of the real world",
        requirement="inputs that differ from training are answered no worse than the plan allows, or not at all",
        risk="the model is sure of itself where it knows nothing",
        method="share of rows that the model answers itself; area under the ROC curve against inputs of no class",
        lives_in=(
            "sextant_components.evidence.metrics", "sextant_components.evaluation.robustness", "sextant_serving.model",
        ),
        evidence=("evaluate/*out of distribution*", "evaluate/ood*", "evaluate/real*", "evaluate/abst*",
                  "evaluate/staleness"),
        metrics=(*metrics_of(Kind.BUSINESS), "stranger_auroc"),
        excuse=unless_a_criterion_on("coverage", "stranger_auroc"),
    ),
    Task(
        "explanation", "evaluation", "Explainability",
        requirement="one answer can be explained within the plan's budget, by what the model learned",
        risk="people are given a picture that would be the same for any model",
        method="mean time; rank correlation with the explanations of random weights (Adebayo et al. 2018)",
        lives_in=("sextant_components.modelling.explanation",),
        evidence=("evaluate/explanation*",),
        excuse=NO_EXPLANATION,
    ),
    Task(
        "latency", "evaluation", "Latency and reliability",
        requirement="requests are answered in time, by the server that production uses",
        risk="a model that is right too late",
        method="requests over HTTP to the real server; order statistics of their times",
        lives_in=("sextant_components.evaluation.server_probe", "sextant_components.modelling.latency"),
        evidence=("evaluate/request latency", "evaluate/cold start"),
        metrics=metrics_of(Kind.LATENCY, Kind.RELIABILITY),
        excuse=unless_a_criterion_on(*metrics_of(Kind.LATENCY, Kind.RELIABILITY)),
    ),
    Task(
        "economic-result", "evaluation", "Economic result",
        requirement="the value that the plan asks for is proved on the sealed rows",
        risk="a good score that does not pay",
        method="value of right answers less errors and serving, with a bound",
        lives_in=("sextant_components.evidence.metrics",),
        metrics=("net_value",),
        excuse=unless_a_criterion_on("net_value"),
    ),
    Task(
        "comparison", "evaluation", "Comparison with the planned criteria",
        requirement="each criterion has a verdict by the definition that was frozen",
        risk="success is defined by what was reached",
        method="the bound of each criterion against its limit; evidence of another definition does not count",
        lives_in=("sextant_components.evidence.gates", "sextant_plan.verdicts", "sextant_components.evaluation.decide"),
        evidence=("evaluate/criterion *", "decide/decision *"),
    ),
    Task(
        "decision", "evaluation", "Record of the decision",
        requirement="what was decided, on which bundle and evidence, can be read later",
        risk="nobody knows why a version is live",
        method="a record for each criterion and step; the conclusion seals the ledger files",
        lives_in=("sextant_components.evaluation.decide", "sextant_components.closing.conclude"),
        evidence=("decide/bundle decided on", "decide/step *"),
    ),
    Task(
        "sign-off", "evaluation", "Sign-off",
        requirement="the people whom the plan names have signed this verdict",
        risk="a model goes live that nobody answers for",
        method="a signature binds a person's name to the digests of plan, bundle and ledger",
        lives_in=("sextant_plan.sign_off", "sextant_components.deployment.sign_off"),
        evidence=("register/sign-off*", "roll_out/sign-off*", "decide/sign-off*"),
        excuse=NO_SIGNATURES,
    ),
)  # fmt: skip
