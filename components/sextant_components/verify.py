"""The verify step: every row against the plan's rules; what is dropped is recorded row by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sextant_components.context import RunContext, Step
from sextant_components.corrections import CORRECTION, reviewed_rows
from sextant_components.data_checks import (
    UNREADABLE,
    Fix,
    balance_is_judged,
    contradictions_and_repeats,
    input_digests,
    missing_inputs,
    row_rule_fixes,
    rule_fixes,
    unreadable_pictures,
)
from sextant_components.data_rates import record_rate
from sextant_components.number_labels import record_spread
from sextant_components.snapshots import check_snapshot
from sextant_components.sources import answer_columns
from sextant_components.suspects.recording import SUSPECTS_FILE, record_suspects
from sextant_components.table_files import as_text
from sextant_components.tables import read_rows, stored_name
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

KEPT_FILE = "kept.parquet"
FIXES_FILE = "fixes.jsonl"
TWINS_FILE = "twins.json"
FIXABLE_SHARE = 0.01  # more than one bad row in a hundred is a fault of the source, not a slip to be mended here
IMBALANCE = 20.0  # largest class to smallest, beyond which accuracy alone cannot see the smallest
ROWS_A_CLASS = 3  # one for each of train, valid and sealed


def run_verify(context: RunContext, *, snapshot: Path, verified: Path) -> Verdict:
    """Check the snapshot, drop the rows that cannot be used, and judge the data criteria.

    Raises InfrastructureError if the snapshot is not what ingest wrote.
    """
    plan = context.plan
    verified.mkdir(parents=True, exist_ok=True)
    with context.ledger(Step.VERIFY) as ledger:
        check_snapshot(snapshot)
        rows = read_rows(snapshot, _columns(plan))
        reviewed = reviewed_rows(rows)
        fixes = _record_rules(ledger, plan, rows)
        if plan.model.inputs.image is not None:
            unreadable = unreadable_pictures(snapshot, plan.model.inputs.image)
            _record_share(ledger, "readable pictures", "every picture can be decoded", unreadable, rows.height)
            fixes += unreadable
        _record_leakage(ledger, plan, rows)
        digests = input_digests(plan, rows)
        _record_rates(ledger, plan, rows, digests)
        fixes = [fix for fix in fixes if not _is_undone(fix, reviewed)]
        usable = _without(rows, fixes)
        _write_twins(verified, record_suspects(ledger, plan, usable, snapshot=snapshot, path=verified / SUSPECTS_FILE))
        doubles = contradictions_and_repeats(plan, usable, [digests[row] for row in usable["row_id"].to_list()])
        if plan.model.inputs.image is not None:
            contradictory = [fix for fix in doubles if fix.rule == "contradiction"]
            _record_share(ledger, "contradictory labels", "equal inputs have one label", contradictory, rows.height)
        fixes += [fix for fix in doubles if not _is_undone(fix, reviewed)]
        kept = _without(rows, fixes)
        if plan.model.answers == "number":
            record_spread(ledger, kept)
        else:
            _record_classes(ledger, plan, rows, kept)
        kept.select("row_id").write_parquet(verified / KEPT_FILE)
        _write_fixes(ledger, verified / FIXES_FILE, fixes, kept.height)
    return ledger.verdict


def _columns(plan: Plan) -> set[str]:
    """Return the columns that some check looks at; a wide table may have many others."""
    data = plan.data
    keys = {name for name in (data.entity, data.timestamp, data.image) if name}
    ruled = {stored_name(plan, name) for name in data.columns}
    own = {"row_id", "label", "image_sha256", CORRECTION}
    return own | keys | ruled | {*plan.model.inputs.columns, *answer_columns(data)}


def read_kept(verified: Path) -> list[int]:
    """Return the row ids that verification kept, rising."""
    import polars as pl

    kept: list[int] = pl.read_parquet(verified / KEPT_FILE)["row_id"].to_list()
    return kept


def read_twins(verified: Path) -> dict[int, int]:
    """Return the first row of each picture that nearly equals an earlier row's."""
    return {int(row): first for row, first in json.loads((verified / TWINS_FILE).read_bytes()).items()}


def _write_twins(verified: Path, first: dict[int, int]) -> None:
    (verified / TWINS_FILE).write_text(json.dumps(first) + "\n", encoding="utf-8")


def _is_undone(fix: Fix, reviewed: Mapping[int, str]) -> bool:
    """Tell whether a person's correction keeps the row; a picture that cannot be read is of no use to keep."""
    return reviewed.get(fix.row_id) == "keep" and fix.rule != UNREADABLE


def _without(rows: pl.DataFrame, fixes: Sequence[Fix]) -> pl.DataFrame:
    return rows.filter(~rows["row_id"].is_in({fix.row_id for fix in fixes}))


def _record_rules(ledger: LedgerWriter, plan: Plan, rows: pl.DataFrame) -> list[Fix]:
    fixes: list[Fix] = []
    for name, rule in plan.data.columns.items():
        found = rule_fixes(name, rule, rows, label=plan.data.label)
        parts = rule.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        _record_share(ledger, f"schema of {name}", f"every value keeps to {json.dumps(parts)}", found, rows.height)
        fixes += found
    for text in plan.data.rules:
        found = row_rule_fixes(plan, text, rows)
        _record_share(ledger, f"rule {text}", "it holds in every row that has both values", found, rows.height)
        fixes += found
    return fixes


def _record_share(ledger: LedgerWriter, task: str, requirement: str, fixes: Sequence[Fix], rows: int) -> None:
    bad = len({fix.row_id for fix in fixes})
    ledger.record(
        task,
        requirement=f"{requirement}; at most {FIXABLE_SHARE:.0%} of the rows may be dropped for it",
        risk="rows that mean nothing, or not what they say, are learned from and tested on",
        qa_method="every row of the snapshot is checked; each row that is dropped is listed in fixes.jsonl",
        value={"rows": rows, "dropped": bad, "rules": sorted({fix.rule for fix in fixes})},
        verdict=Verdict.PASS if bad <= FIXABLE_SHARE * rows else Verdict.FAIL,
    )


def _record_leakage(ledger: LedgerWriter, plan: Plan, rows: pl.DataFrame) -> None:
    """Refuse a column that is the label under another name, or what a rater said of it."""
    answers = answer_columns(plan.data)
    leaking = [
        name
        for name in plan.model.inputs.columns
        if name in answers or _renames(as_text(rows[name]), as_text(rows["label"]))
    ]
    ledger.record(
        "leakage of the label",
        requirement="no column that the model reads is the label, a rater's label or the gold answer",
        risk="a model that reads the answer passes every gate and fails at its first real request",
        qa_method="each column of model.inputs.columns is compared with the label, by whether each value goes with "
        "one label and each label with one value, and with data.labelling",
        value={"leaking": leaking},
        verdict=Verdict.FAIL if leaking else Verdict.PASS,
    )


def _renames(values: pl.Series, labels: pl.Series) -> bool:
    """Tell whether a column is the label under other names, such as its number: each value has its own label."""
    pairs, kinds = values.to_frame("value").with_columns(labels.alias("label")).unique().height, labels.n_unique()
    return kinds > 1 and pairs == kinds == values.n_unique()


def _record_rates(ledger: LedgerWriter, plan: Plan, rows: pl.DataFrame, digests: Sequence[str]) -> None:
    alike = Counter(digests)
    repeated = sum(1 for digest in digests if alike[digest] > 1)
    missing = int(missing_inputs(plan, rows).sum())
    record_rate(
        ledger, plan, "missing_rate", missing, rows=rows.height, what="a column that the model reads is missing"
    )
    record_rate(ledger, plan, "duplicate_rate", repeated, rows=rows.height, what="the inputs equal another row's")


def _record_classes(ledger: LedgerWriter, plan: Plan, rows: pl.DataFrame, kept: pl.DataFrame) -> None:
    before = dict(rows["label"].value_counts().sort("label").iter_rows())
    after = dict.fromkeys(before, 0) | dict(kept["label"].value_counts().iter_rows())
    scarce = {label: count for label, count in after.items() if count < ROWS_A_CLASS}
    ledger.record(
        "rows a class",
        requirement=f"each class keeps at least {ROWS_A_CLASS} rows, one for each of train, valid and sealed",
        risk="a class is tested and was never taught, or taught and never tested",
        qa_method="rows by label after verification",
        value={"classes": after, "scarce": scarce},
        verdict=Verdict.FAIL if scarce else Verdict.PASS,
    )
    ratio = max(after.values()) / max(1, min(after.values()))
    judged = balance_is_judged(plan)
    ledger.record(
        "class balance",
        requirement=f"no class is {IMBALANCE:g} times rarer than another, or a criterion looks at each class",
        risk="a high accuracy hides that the rare class is never recognised",
        qa_method="largest class to smallest after verification; criteria on recall_min or macro_f1 look at each",
        value={"ratio": round(ratio, 3), "judged_by_class": judged},
        verdict=Verdict.PASS if ratio <= IMBALANCE or judged else Verdict.FAIL,
    )


def _write_fixes(ledger: LedgerWriter, path: Path, fixes: Sequence[Fix], kept: int) -> None:
    ordered = sorted(fixes)
    lines = "".join(json.dumps(fix.as_json(), ensure_ascii=False) + "\n" for fix in ordered)
    path.write_text(lines, encoding="utf-8")
    ledger.record(
        "fixes",
        requirement="every row that is left out is named with the rule that put it out",
        risk="data is trimmed until the numbers please",
        qa_method="fixes.jsonl, one line for each row and rule; a correction that says keep undoes a fix",
        value={"kept": kept, "dropped": len({fix.row_id for fix in fixes})},
        verdict=Verdict.PASS if kept else Verdict.FAIL,
        artifacts={FIXES_FILE: ledger.artifacts.put_bytes(lines.encode())},
    )
