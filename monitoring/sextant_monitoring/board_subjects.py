"""The boards by subject: rollout, drift, quality, data and features, hardware; serving has a module of its own."""

from __future__ import annotations

from sextant_monitoring import queries as q
from sextant_monitoring.panels import Board, Panel, Row
from sextant_plan.alerts import AlertKind
from sextant_plan.bias_rule import BiasRule
from sextant_plan.drift_rule import DriftRule
from sextant_plan.rules import compile_rules
from sextant_plan.schema import Plan


def rollout_board(plan: Plan) -> Board:
    """Return the variants side by side on the same axes, and what the controller does."""
    model, slo = plan.name, plan.serving.latency_slo_ms / 1000
    controller = (
        Panel(
            "Weight asked",
            "Share of requests that the controller asks for the canary.",
            "percent",
            (q.rollout_weight(model),),
        ),
        Panel("Share carried", "What the routes really give each version.", "percentunit", (q.traffic_share(model),)),
        Panel("Phase", "The phase that the rollout is in.", "none", (q.rollout_phase(model),), "stat"),
    )
    evidence = (
        Panel(
            "Errors",
            "Share of requests answered with a 5xx code, by version.",
            "percentunit",
            (q.error_share(model),),
            runbook=AlertKind.ERRORS_HIGH,
        ),
        Panel(
            "Time",
            "Median and 99th percentile by version; the line is the plan's limit.",
            "s",
            q.request_time(model),
            limit=slo,
            runbook=AlertKind.LATENCY_HIGH,
        ),
        Panel(
            "Labels in agreement",
            "Share of labels that agree with the prediction, by version.",
            "percentunit",
            (q.agreement(model),),
            runbook=AlertKind.QUALITY_LOW,
        ),
        Panel(
            "Answers by class",
            "Share of the rows that each version answered.",
            "percentunit",
            (q.classes(model),),
            runbook=AlertKind.PREDICTION_DRIFT,
        ),
    )
    return Board(
        "rollout",
        "Rollout",
        "Is the new version as good as the one in service?",
        (Row("Traffic", controller), Row("Canary against stable", evidence)),
    )


def drift_board(plan: Plan) -> Board:
    """Return effect, significance and bins for inputs and answers."""
    rows = []
    for rule in compile_rules(plan):
        if isinstance(rule, DriftRule):
            rows.append(Row(f"{rule.criterion.id}: {rule.what}", _drift_panels(rule)))
    live, training = q.bin_shares(plan.name)
    bins = (
        Panel(
            "Live bins",
            "Share of the rows in each training bin.",
            "percentunit",
            (live,),
            runbook=AlertKind.INPUT_DRIFT,
        ),
        Panel(
            "Training bins",
            "Share of the training rows in each bin.",
            "percentunit",
            (training,),
            runbook=AlertKind.INPUT_DRIFT,
        ),
        Panel(
            "Answers by class",
            "Share of the rows that the model answered.",
            "percentunit",
            (q.classes(plan.name),),
            runbook=AlertKind.PREDICTION_DRIFT,
        ),
    )
    return Board(
        "drift", "Drift", "Do inputs and answers still look like training?", (*rows, Row("Distributions", bins))
    )


def _drift_panels(rule: DriftRule) -> tuple[Panel, ...]:
    return (
        Panel(
            "Effect",
            "Stability index against training, corrected for the number of rows, in nats; the line is the limit.",
            "none",
            (q.feature_psi(rule),),
            limit=rule.criterion.limit,
            runbook=rule.kind,
        ),
        Panel(
            "Significance",
            "Standard errors of chi-square over its expectation without a shift; the line is where chance ends.",
            "none",
            (q.feature_significance(rule),),
            limit=round(rule.z, 3),
            runbook=rule.kind,
        ),
        Panel(
            "Chi-square",
            "Pearson's statistic against the training shares; without a shift it is about the bins less one.",
            "none",
            (q.feature_chi_square(rule),),
            runbook=rule.kind,
        ),
    )


def quality_board(plan: Plan) -> Board:
    """Return quality by labels with bounds, and what stands in for it until they come."""
    from sextant_monitoring.quality import quality_criteria

    model = plan.name
    by_criterion = tuple(
        Panel(
            f"{each.id}: by joined labels",
            f"{each.requirement}, with its bounds at {each.confidence:g} confidence; the line is the limit.",
            "percentunit" if each.definition.unit == "share" else "none",
            (q.quality(each, model),),
            limit=each.limit,
            runbook=AlertKind.QUALITY_LOW,
        )
        for each in quality_criteria(plan)
    )
    labels = (
        Panel(
            "Join rate",
            "Share of due predictions that have a label; below the line quality is unknown.",
            "percentunit",
            (q.label_join(model),),
            limit=plan.monitoring.labels.join_at_least,
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Labelled rows",
            "Rows behind each figure of the last due window.",
            "none",
            (q.quality_rows(model),),
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Labels received",
            "Labels a second, by agreement; unmatched ones find no prediction.",
            "cps",
            (q.feedback(model),),
            runbook=AlertKind.LABELS_MISSING,
        ),
        Panel(
            "Ratings",
            "What users think of the answers, from 1 to 5; ratings a second.",
            "cps",
            (q.ratings(model),),
            runbook=AlertKind.USERS_DISSATISFIED,
        ),
    )
    until = (*_class_panels(model), *_bias_panels(plan)) if plan.model.answers == "class" else ()
    rows = [Row("By labels", by_criterion)] if by_criterion else []
    return Board(
        "quality",
        "Quality",
        "Is the model still right?",
        (*rows, Row("Labels", labels), Row("Until labels come", (*until, _ageing_panel(plan)))),
    )


def _class_panels(model: str) -> tuple[Panel, ...]:
    return (
        Panel(
            "Expected accuracy",
            "Mean probability of the answered class; right only while the model is calibrated.",
            "percentunit",
            (q.expected_accuracy(model),),
        ),
        Panel(
            "Prediction bias",
            "Predicted share of a class less its labelled share.",
            "percentunit",
            (q.prediction_bias(model),),
            runbook=AlertKind.PREDICTION_BIAS,
        ),
    )


def _bias_panels(plan: Plan) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            f"{rule.criterion.id}: size of the bias",
            "Of each class, against the labels where there are enough, and against the training rows; the line is the "
            "limit.",
            "percentunit",
            (q.bias_size(rule),),
            limit=rule.criterion.limit,
            runbook=AlertKind.PREDICTION_BIAS,
        )
        for rule in compile_rules(plan)
        if isinstance(rule, BiasRule)
    )


def _ageing_panel(plan: Plan) -> Panel:
    staleness = plan.evaluation.staleness
    return Panel(
        "Lost to age",
        "Accuracy that the model's age has cost by the staleness curve of its evaluation, with one-sided bounds; the "
        "line is evaluation.staleness.tolerated_loss.",
        "percentunit",
        (q.lost_to_age(plan.name),),
        limit=staleness.tolerated_loss if staleness is not None else None,
        runbook=AlertKind.MODEL_OLD,
    )


def data_board(plan: Plan) -> Board:
    """Return what is wrong with inputs, and how old features are."""
    model = plan.name
    inputs = (
        Panel(
            "Missing and unknown",
            "Share of rows with a missing value, or a category that training never saw.",
            "percentunit",
            (q.flawed_rows(model),),
            runbook=AlertKind.INPUTS_FLAWED,
        ),
        Panel(
            "Refused and failed",
            "Inference requests a second, by code.",
            "reqps",
            (q.requests(model),),
            runbook=AlertKind.CLIENT_ERRORS,
        ),
        Panel(
            "Rows by fallback",
            "Rows a second that were not answered by the model alone.",
            "cps",
            (q.fallbacks(model),),
            runbook=AlertKind.COVERAGE_LOW,
        ),
    )
    features = (
        Panel(
            "Age of the features",
            "Since the newest event that the online store answered with, by view.",
            "s",
            (q.feature_age(model),),
            runbook=AlertKind.FEATURES_STALE,
        ),
        Panel(
            "Feature lookup",
            "99th percentile of a batch.",
            "s",
            (q.feature_time(model),),
            runbook=AlertKind.FAILURE_LASTING,
        ),
    )
    return Board(
        "data",
        "Data and features",
        "Is what comes in complete and fresh?",
        (Row("Inputs", inputs), Row("Features", features)),
    )


def hardware_board(plan: Plan) -> Board:
    """Return pods and GPUs, by the exporters' own series."""
    model = plan.name
    pods = (
        Panel(
            "Memory of containers",
            "Over the limit of each.",
            "percentunit",
            (q.pod_memory(model),),
            limit=1.0,
            runbook=AlertKind.HARDWARE_STRAINED,
        ),
        Panel(
            "Restarts",
            "Of each container, since it was made.",
            "none",
            (q.pod_restarts(model),),
            runbook=AlertKind.HARDWARE_FAULTY,
        ),
    )
    gpus = (
        Panel(
            "GPU at work", "Share of time.", "percentunit", (q.gpu_busy(model),), limit=1.0, runbook=AlertKind.SATURATED
        ),
        Panel(
            "GPU memory",
            "Share in use.",
            "percentunit",
            (q.gpu_memory(model),),
            limit=1.0,
            runbook=AlertKind.HARDWARE_STRAINED,
        ),
        Panel(
            "GPU temperature", "Of the chip.", "celsius", (q.gpu_celsius(model),), runbook=AlertKind.HARDWARE_STRAINED
        ),
        Panel(
            "GPU faults",
            "The last XID of each GPU, 0 for none.",
            "none",
            (q.gpu_faults(model),),
            "stat",
            runbook=AlertKind.HARDWARE_FAULTY,
        ),
    )
    return Board("hardware", "Hardware", "Does what carries the server hold?", (Row("Pods", pods), Row("GPU", gpus)))
