"""The tasks of monitoring and maintenance."""

from __future__ import annotations

from sextant_plan.catalogue import Kind
from sextant_plan.tasks.excuses import metrics_of, unless, unless_a_criterion_on
from sextant_plan.tasks.task import Task

WATCH = "sextant_components.monitoring.watch"
HARDWARE = ("device_busy", "pod_memory", "gpu_memory", "gpu_celsius")

TASKS = (
    Task(
        "live-metrics", "monitoring", "Metrics of the live model",
        requirement="a promoted model is in service, answers, and is measured",
        risk="monitoring is green because there is nothing to monitor",
        method="rows of the valid split over HTTP; the server's own counters between two scrapes",
        lives_in=(WATCH, "sextant_monitoring.scrape", "sextant_serving.metrics"),
        evidence=(
            "watch/service", "watch/window", "watch/live traffic", "watch/presence", "watch/fallbacks", "watch/probe*",
        ),
    ),
    Task(
        "hardware-health", "monitoring", "Health of the hardware",
        requirement="processors, memory and accelerators stay within what the plan allows",
        risk="a throttled or failing device degrades answers unseen",
        method="alert rules over the server's device time and over the pod and GPU series of Kubernetes and DCGM",
        lives_in=("sextant_plan.platform_rules", "sextant_plan.threshold_rule"),
        metrics=HARDWARE,
        excuse=unless_a_criterion_on(*HARDWARE),
    ),
    Task(
        "satisfaction", "monitoring", "Satisfaction and delayed labels",
        requirement="what users and later labels say comes back and finds its prediction",
        risk="live quality is computed from the few labels that happen to match",
        method="labels and ratings by prediction id; share of predictions that are joined",
        lives_in=(WATCH, "sextant_plan.feedback", "sextant_serving.feedback"),
        evidence=("watch/label join*", "watch/quality*", "watch/satisfaction*"),
        metrics=("label_join_rate",),
    ),
    Task(
        "anomalies", "monitoring", "Anomalies and drift",
        requirement="each input's shift against the training rows is known",
        risk="inputs drift away from the training data and nobody can tell",
        method="bias-corrected stability index over the server's bins, chi-square beside it",
        lives_in=("sextant_plan.drift_rule", "sextant_plan.reference", WATCH),
        evidence=("watch/drift*", "watch/anomal*"),
        metrics=metrics_of(Kind.DRIFT),
    ),
    Task(
        "alerts", "monitoring", "Alerts",
        requirement="every criterion that the plan watches has a rule that can fire",
        risk="a model that was good when it was promoted harms its users unseen",
        method="the plan's alert rules read on the live counters; the same rules render to Prometheus",
        lives_in=("sextant_plan.rules", "sextant_monitoring.rules_file"),
        evidence=("watch/alert *",),
        excuse=unless(
            lambda plan: any("alert" in criterion.enforce for criterion in plan.criteria),
            "no criterion of the plan is enforced as alert",
        ),
    ),
    Task(
        "maintenance", "monitoring", "Retrain, change or revamp",
        requirement="it is decided beforehand what starts a retraining",
        risk="a model is retrained by habit, or not at all",
        method="n of the last m windows violate; never twice within the cooldown",
        lives_in=("sextant_plan.rules", WATCH),
        evidence=("watch/retrain *", "watch/revamp*", "watch/change*", "*/champion comparison", "*/planning reopened"),
        excuse=unless(
            lambda plan: any("retrain" in criterion.enforce for criterion in plan.criteria),
            "no criterion of the plan is enforced as retrain",
        ),
    ),
)  # fmt: skip
