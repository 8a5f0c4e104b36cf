"""A commented plan.yaml from a first look at the data, with limits that the data could prove."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from sextant_pipelines.inspection import ColumnGuess, Inspection
from sextant_pipelines.number_plan import number_criteria
from sextant_plan.bounds import proportion, rows_to_prove
from sextant_plan.unanswered import BUSINESS, CONSENT, WHY_ML, YOUR_NAME, YOUR_TEAM

CONFIDENCE = 0.95
SEALED, VALID = 0.2, 0.15
SMALL_SEALED = 0.3  # below SMALL_ROWS rows a fifth proves too little
SMALL_ROWS = 500
HOPED_ACCURACY = 0.9  # what the suggested limit assumes that the model reaches; the user decides
GENERIC_NAMES = frozenset({"data", "dataset", "images", "labels", "rows", "table", "train"})
LATENCY_REQUESTS = 300  # 299 requests bound a 99th percentile at confidence 0.95


def write_plan(found: Inspection, plan_dir: Path, licence: str | None) -> str:
    """Return the text of a plan whose `data.source` is relative to `plan_dir`.

    `licence` is what the user confirmed that allows training; without it the plan says so, and its legal
    heading fails until somebody confirms.
    """
    return "\n".join(
        [
            *_head(found),
            *(_criteria(found) if found.number is None else number_criteria(found.number, independent_rows(found))),
            *_running(found),
            *_data(found, plan_dir, licence),
            *_model(found),
            *_rest(found),
            "",
        ]
    )


def sealed_rows(found: Inspection) -> int:
    """Return how many rows the sealed split will have."""
    return math.floor(found.rows * _sealed_share(found))


def independent_rows(found: Inspection) -> int:
    """Return how many independent rows the sealed split is worth at least: its rows, or about its groups."""
    return max(1, math.floor(sealed_rows(found) * found.worth))


def _sealed_share(found: Inspection) -> float:
    return SEALED if found.rows >= SMALL_ROWS else SMALL_SEALED


def _name(found: Inspection) -> str:
    """Return a name from the first telling one of the file, its folder and the folder above."""
    places = [Path(found.table or found.images or "").stem, found.source.name, found.source.parent.name]
    slugs = [re.sub(r"[^a-z0-9]+", "-", place.lower()).strip("-")[:42].strip("-") for place in places]
    return next((slug for slug in slugs if slug and slug not in GENERIC_NAMES), "model")


def _head(found: Inspection) -> Iterator[str]:
    yield "# Written by `sextant init` from a first look at the data. Read it through: every line is yours to decide."
    yield f"# {found.rows} labelled rows; {_labels(found)}."
    yield f"name: {_name(found)}"
    yield "owner:"
    yield f"  team: {YOUR_TEAM}"
    yield f"  approvers: [{YOUR_NAME}]"
    yield ""
    yield "goal:"
    yield f"  business: {BUSINESS}"
    yield f"  why_ml: {WHY_ML}"
    kind = "majority" if found.number is None else "mean"
    yield f"  baseline: {{kind: {kind}}}  # or {{kind: heuristic, entrypoint: your.module:function}}"
    if found.number is not None:
        return
    yield "  economics:  # assumed: replace by your own figures, the cost-benefit sheet is computed from them"
    yield "    currency: EUR"
    yield "    value_per_correct: 0.05"
    yield "    cost_per_error: 0.05"
    yield "    predictions_per_day: 1000"


def _labels(found: Inspection) -> str:
    if found.number is not None:
        return f"the label {found.label} is a number with {len(found.classes)} different values"
    return "classes " + ", ".join(f"{name}: {count}" for name, count in list(found.classes.items())[:20])


def _criteria(found: Inspection) -> Iterator[str]:
    rows = independent_rows(found)
    limit = _provable(rows)
    best = math.floor(proportion(rows, rows, CONFIDENCE).low * 1000) / 1000
    min_n = max(1, math.floor(0.8 * rows))
    majority = max(found.classes.values()) / found.rows
    gain = _gain(majority, limit)
    yield ""
    yield f"# A gate passes when the bound at confidence {CONFIDENCE} holds, not the point value."
    yield f"# The sealed split will have about {sealed_rows(found)} rows: without one error they prove {best}, at"
    yield f"# {HOPED_ACCURACY:.0%} right answers {limit}. More is not provable without more rows."
    if found.group is not None:
        yield f"# Rows of one {found.group} may be alike: the bounds count {rows} independent rows or more."
    yield "criteria:"
    yield f"  - {{id: accuracy, metric: accuracy, at_least: {limit}, min_n: {min_n}, enforce: [gate, retrain]}}"
    yield f"  # The majority class alone is right in {majority:.0%} of the rows."
    yield f"  - {{id: beats-baseline, metric: accuracy, at_least: {gain}, relative_to: baseline, min_n: {min_n}}}"


def _running(found: Inspection) -> Iterator[str]:
    """Yield the criteria that hold whatever the label is: on requests, on missing values and on drift."""
    requests = LATENCY_REQUESTS
    yield f"  - {{id: latency, metric: latency_p99_ms, at_most: 500, min_n: {requests}, enforce: [gate, alert]}}"
    yield "  - {id: errors, metric: error_rate, at_most: 0.02, min_n: 200, enforce: [gate, alert]}"
    used = [column.missing for column in _inputs(found)]
    if used:
        allowed = round(min(0.9, 1.5 * sum(used) + _missing_bound(found.rows)), 3)
        enough = rows_to_prove(1 - allowed, CONFIDENCE)
        yield f"  - {{id: missing, metric: missing_rate, at_most: {allowed}, min_n: {min(found.rows, enough)}}}"
    watched, drift = _watched_rows(found)
    yield f"  # Chance alone moves this over the {watched} rows of the first watch; more rows allow a lower limit."
    few = watched // 2
    yield f"  - {{id: input-drift, metric: input_psi, at_most: {drift}, min_n: {few}, enforce: [alert, retrain]}}"


def _watched_rows(found: Inspection) -> tuple[int, float]:
    """Return how many rows the first watch replays, and a limit on the stability index that chance keeps.

    Ten bins have an expected index of 9 (1/n + 1/m) without any shift; the limit is about seven times that.
    """
    watched = max(2, math.floor(found.rows * VALID))
    trained = max(2, math.floor(found.rows * (1 - VALID - _sealed_share(found))))
    return watched, max(0.2, math.ceil(600 * (1 / watched + 1 / trained)) / 10)


def _provable(rows: int) -> float:
    """Return the lower bound at HOPED_ACCURACY, rounded down to a hundredth."""
    right = math.floor(rows * HOPED_ACCURACY)
    return math.floor(proportion(right, rows, CONFIDENCE).low * 100) / 100


def _gain(majority: float, limit: float) -> float:
    return max(0.01, math.floor((limit - majority) / 2 * 100) / 100)


def _missing_bound(rows: int) -> float:
    """Return the upper bound of a share of which nothing was seen in `rows`, with some room."""
    return 2 * proportion(0, rows, CONFIDENCE).high


def _data(found: Inspection, plan_dir: Path, licence: str | None) -> Iterator[str]:
    yield ""
    yield "data:"
    yield f"  source: {_scalar(os.path.relpath(found.source, plan_dir))}"
    roles = {
        "table": found.table,
        "images": found.images,
        "image": found.image_column,
        "label": found.label if found.table else None,
        "entity": found.entity,
        "group": found.group,
        "timestamp": found.timestamp,
    }
    for key, value in roles.items():
        if value is not None:
            yield f"  {key}: {_scalar(value)}"
    if found.columns:
        yield "  columns:  # min and max are the range seen; widen it to what is possible"
        keys = {found.entity, found.group}
        for column in found.columns:
            remark = "" if column.name in keys else _remark(column)
            yield f"    {_scalar(column.name)}: {_rule(column)}{remark}"
    yield "  licence:"
    if licence is None:
        yield "    # Confirm the licence: until allows_training is true, the legal heading of the plan step fails."
        yield "    # `sextant init --confirm-licence NAME` writes the confirmation for you."
    yield f"    name: {_scalar(licence or 'not confirmed')}"
    yield f"    source: {_scalar(found.table or found.images or found.source.name)}"
    yield f"    allows_training: {'true' if licence else 'false'}"
    yield "  consent:"
    basis = f"Use confirmed under {licence}." if licence else CONSENT
    yield f"    basis: {_scalar(basis)}"
    yield "    personal_data: false  # true if a person can be recognised from it"


def _remark(column: ColumnGuess) -> str:
    """Return a comment on what the reader would not expect of a column, or nothing."""
    if column.strays and column.type == "number":
        return f"  # values that are no numbers: {column.strays}; the run leaves their rows out"
    if column.strays:
        return f"  # values that are no numbers: {column.strays}; mend them, or the model does not read the column"
    return "  # the model does not read free text" if column.type == "text" else ""


def _rule(column: ColumnGuess) -> str:
    parts = [f"type: {column.type}"]
    if column.low is not None and column.high is not None:
        parts += [f"min: {column.low:g}" if float(f"{column.low:g}") <= column.low else f"min: {column.low!r}"]
        parts += [f"max: {column.high:g}" if float(f"{column.high:g}") >= column.high else f"max: {column.high!r}"]
    if column.values:
        parts.append(f"values: {json.dumps(column.values, ensure_ascii=False)}")
    if not column.required:
        parts.append("required: false")
    if column.unique and column.type == "text":
        parts.append("unique: true")
    return "{" + ", ".join(parts) + "}"


def _inputs(found: Inspection) -> list[ColumnGuess]:
    """Return the columns that a model may read: numbers, categories and truth values that are no keys."""
    keys = {found.entity, found.group, found.timestamp}
    return [c for c in found.columns if c.type in {"number", "category", "boolean"} and c.name not in keys]


def _model(found: Inspection) -> Iterator[str]:
    columns = [column.name for column in _inputs(found)]
    if found.image_size:
        task = "image-tabular-classification" if columns else "image-classification"
        candidates = ["fusion"] if columns else ["small-cnn", "linear"]
    else:
        task = "tabular-classification" if found.number is None else "tabular-regression"
        candidates = ["mlp", "linear"] if found.number is None else ["linear", "mlp", "gradient-boosting"]
    yield ""
    yield "model:"
    yield f"  task: {task}"
    yield "  inputs:"
    if found.image_size:
        height, width, channels = found.image_size
        yield f"    image: {{height: {height}, width: {width}, channels: {channels}}}"
    if columns:
        yield "    # Remove what is not known at the time of a prediction, or what gives the label away."
        yield f"    columns: {json.dumps(columns, ensure_ascii=False)}"
    yield "  candidates:"
    yield from (f"    - {{architecture: {name}}}" for name in candidates)
    yield "  epochs: 20"
    yield "  batch_size: 32"
    yield "  search: {trials: 4}"
    yield "  seeds: 2"


def _rest(found: Inspection) -> Iterator[str]:
    yield ""
    yield "evaluation:"
    yield f"  sealed_split: {_sealed_share(found)}"
    yield f"  valid_split: {VALID}"
    yield "  looks: 5  # how often the sealed rows may be looked at before they have to be replaced"
    yield f"  latency_requests: {LATENCY_REQUESTS}"
    yield ""
    yield "serving:"
    yield "  latency_slo_ms: 500"
    yield ""
    yield "monitoring:"
    yield "  min_rows: 50"


_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def _scalar(text: str) -> str:
    """Return a YAML scalar: bare when that is safe, else in JSON's quotes, which YAML reads alike."""
    if re.fullmatch(r"[A-Za-z_./][\w./-]*", text) and text.lower() not in _YAML_WORDS:
        return text
    return json.dumps(text, ensure_ascii=False)
