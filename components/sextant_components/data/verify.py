"""The verify step: every row against the plan's rules; what is dropped is recorded row by row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from sextant_components.data.corrections import CORRECTION, reviewed_rows
from sextant_components.data.data_checks import (
    UNREADABLE,
    Fix,
    balance_is_judged,
    contradictions_and_repeats,
    leaking_columns,
    missing_inputs,
    repeated_inputs,
    rule_fixes,
    unreadable_pictures,
)
from sextant_components.data.data_rates import record_rate
from sextant_components.data.number_labels import record_spread
from sextant_components.data.snapshots import check_snapshot
from sextant_components.data.stored_rows import Mask, StoredRows
from sextant_components.data.suspects.recording import SUSPECTS_FILE, record_suspects
from sextant_components.runs.context import RunContext, Step
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

KEPT_FILE = "kept.parquet"
FIXES_FILE = "fixes.jsonl"
TWINS_FILE = "twins.json"
FIXABLE_SHARE = 0.01  # more than one bad row in a hundred is a fault of the source, not a slip to be mended here
IMBALANCE = 20.0  # largest class to smallest, beyond which accuracy alone cannot see the smallest
ROWS_A_CLASS = 3  # one for each of train, valid and sealed
MISSING = "a column that the model reads is missing"
REPEATED = "the inputs equal another row's"


def run_verify(context: RunContext, *, snapshot: Path, verified: Path) -> Verdict:
    """Check the snapshot, drop the rows that cannot be used, and judge the data criteria.

    Rows are read in pieces, a column at a time where a check needs all its values. Raises InfrastructureError if the
    snapshot is not what ingest wrote.
    """
    plan = context.plan
    verified.mkdir(parents=True, exist_ok=True)
    with context.ledger(Step.VERIFY) as ledger:
        check_snapshot(snapshot)
        rows = StoredRows(snapshot)
        reviewed = reviewed_rows(rows.batches([CORRECTION]))
        fixes = _record_rules(ledger, plan, rows)
        if plan.model.inputs.image is not None:
            unreadable = unreadable_pictures(snapshot, plan.model.inputs.image)
            _record_share(ledger, "readable pictures", "every picture can be decoded", unreadable, rows.height)
            fixes += unreadable
        _record_leakage(ledger, plan, rows)
        repeated = repeated_inputs(plan, rows)
        record_rate(ledger, plan, "missing_rate", missing_inputs(plan, rows), rows=rows.height, what=MISSING)
        record_rate(ledger, plan, "duplicate_rate", repeated.rows, rows=rows.height, what=REPEATED)
        fixes = [fix for fix in fixes if not _is_undone(fix, reviewed)]
        usable = ~rows.mask_of([fix.row_id for fix in fixes])
        _write_twins(verified, record_suspects(ledger, plan, rows, usable, path=verified / SUSPECTS_FILE))
        doubles = contradictions_and_repeats(plan, rows, usable, repeated)
        if plan.model.inputs.image is not None:
            contradictory = [fix for fix in doubles if fix.rule == "contradiction"]
            _record_share(ledger, "contradictory labels", "equal inputs have one label", contradictory, rows.height)
        fixes += [fix for fix in doubles if not _is_undone(fix, reviewed)]
        kept = ~rows.mask_of([fix.row_id for fix in fixes])
        if plan.model.answers == "number":
            record_spread(ledger, rows.column("label", kept))
        else:
            _record_classes(ledger, plan, rows, kept)
        _write_kept(verified / KEPT_FILE, kept)
        _write_fixes(ledger, verified / FIXES_FILE, fixes, int(kept.sum()))
    return ledger.verdict


def read_kept(verified: Path) -> list[int]:
    """Return the row ids that verification kept, rising."""
    import polars as pl

    kept: list[int] = pl.read_parquet(verified / KEPT_FILE)["row_id"].to_list()
    return kept


def read_twins(verified: Path) -> dict[int, int]:
    """Return the first row of each picture that nearly equals an earlier row's."""
    return {int(row): first for row, first in json.loads((verified / TWINS_FILE).read_bytes()).items()}


def _write_kept(path: Path, kept: Mask) -> None:
    import polars as pl

    pl.DataFrame({"row_id": np.flatnonzero(kept)}, schema={"row_id": pl.Int64}).write_parquet(path)


def _write_twins(verified: Path, first: dict[int, int]) -> None:
    (verified / TWINS_FILE).write_text(json.dumps(first) + "\n", encoding="utf-8")


def _is_undone(fix: Fix, reviewed: Mapping[int, str]) -> bool:
    """Tell whether a person's correction keeps the row; a picture that cannot be read is of no use to keep."""
    return reviewed.get(fix.row_id) == "keep" and fix.rule != UNREADABLE


def _record_rules(ledger: LedgerWriter, plan: Plan, rows: StoredRows) -> list[Fix]:
    found = rule_fixes(plan, rows)
    for name, rule in plan.data.columns.items():
        parts = rule.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        requirement = f"every value keeps to {json.dumps(parts)}"
        _record_share(ledger, f"schema of {name}", requirement, found[name], rows.height)
    for text in plan.data.rules:
        _record_share(ledger, f"rule {text}", "it holds in every row that has both values", found[text], rows.height)
    return [fix for fixes in found.values() for fix in fixes]


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


def _record_leakage(ledger: LedgerWriter, plan: Plan, rows: StoredRows) -> None:
    """Refuse a column that is the label under another name, or what a rater said of it."""
    leaking = leaking_columns(plan, rows)
    ledger.record(
        "leakage of the label",
        requirement="no column that the model reads is the label, a rater's label or the gold answer",
        risk="a model that reads the answer passes every gate and fails at its first real request",
        qa_method="each column of a request is compared with the label, by whether each value goes with "
        "one label and each label with one value (of numbers that hardly repeat: both rise, or fall, together), and "
        "with data.labelling",
        value={"leaking": leaking},
        verdict=Verdict.FAIL if leaking else Verdict.PASS,
    )


def _record_classes(ledger: LedgerWriter, plan: Plan, rows: StoredRows, kept: Mask) -> None:
    before = dict(rows.column("label").value_counts().sort("label").iter_rows())
    after = dict.fromkeys(before, 0) | dict(rows.column("label", kept).value_counts().iter_rows())
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
