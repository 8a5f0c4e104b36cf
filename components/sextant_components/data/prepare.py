"""The prepare step: splits, fitted columns, Feast features, and the reference that drift is measured against."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.data.data_checks import input_digests
from sextant_components.data.encoding import column_reference, encoded, fit_columns, model_inputs
from sextant_components.data.features.prepare_features import PreparedFeatures, join_features, record_parity
from sextant_components.data.number_labels import strata_of
from sextant_components.data.selection_records import harmful_rows, record_column_gains, record_noise_gain
from sextant_components.data.snapshots import picture_batches
from sextant_components.data.splits import SPLIT_SEED, group_rows, split_rows
from sextant_components.data.stored_rows import StoredRows
from sextant_components.data.table_files import as_text
from sextant_components.data.tables import (
    CLASSES_FILE,
    COLUMNS_FILE,
    FEATURES_FILE,
    GROUP_COLUMN,
    ROWS_FILE,
    SLICE_PREFIX,
    SPLITS,
    SPLITS_FILE,
    SplitName,
    SplitsInfo,
    read_snapshot,
    slice_columns,
    stored_name,
)
from sextant_components.data.verify import read_kept, read_twins
from sextant_components.runs.context import RunContext, Step
from sextant_plan.bundle import REFERENCE_FILE, Column
from sextant_plan.canonical import digest_of
from sextant_plan.catalogue import PREDICTED_CLASS
from sextant_plan.errors import DataError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.reference import Reference, bins_for, profile, write_reference
from sextant_plan.rules import profiled_features
from sextant_plan.schema import ImageInput, Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

SHOWN_ROWS = 5


def run_prepare(context: RunContext, *, snapshot: Path, verified: Path, splits: Path) -> Verdict:
    """Split the kept rows, join their features as of their time, encode, and profile the training rows.

    Raises DataError if a class would not be trained, or not be tested.
    """
    plan = context.plan
    splits.mkdir(parents=True, exist_ok=True)
    with context.ledger(Step.PREPARE) as ledger:
        stored = StoredRows(snapshot)
        rows = stored.taken(_columns(plan), stored.mask_of(read_kept(verified)))
        if rows.is_empty():
            raise DataError(snapshot / ROWS_FILE, "verification kept no row", "See fixes.jsonl and mend the source")
        groups = _groups(plan, rows, read_twins(verified))
        placed = _place(ledger, plan, rows, snapshot, groups)
        features = join_features(context, ledger, rows) if plan.model.inputs.features else None
        inputs = model_inputs(plan, rows, features.joined if features else None)
        columns = fit_columns(plan, inputs.filter(placed["train"]))
        if features is not None:
            record_parity(ledger, features, columns)
            inputs.select("row_id", *features.names).write_parquet(splits / FEATURES_FILE)
        values = encoded(inputs, columns)
        classes = sorted(set(rows["label"].to_list())) if plan.model.answers == "class" else []
        table = _split_table(plan, rows, values, classes, groups)
        left_out = _select(ledger, plan, table, placed, columns=columns, snapshot=snapshot, verified=verified)
        placed["train"] &= ~table["row_id"].is_in(left_out)
        for name in SPLITS:
            table.filter(placed[name]).write_parquet(splits / f"{name}.parquet")
        _write_descriptions(splits, columns, classes)
        train = table.filter(placed["train"])
        _write_reference(ledger, plan, snapshot=snapshot, train=train, columns=columns, splits=splits)
        mask = stored.mask_of(table["row_id"].filter(placed["sealed"]).to_list())
        sealed = stored.taken(identifying_columns(plan, stored), mask)
        _write_info(ledger, placed, snapshot=snapshot, splits=splits, sealed=sealed, features=features)
    return ledger.verdict


def _columns(plan: Plan) -> list[str]:
    """Return the columns that splits, encoding, features and slices read; a wide table may have many others."""
    data = plan.data
    keys = [name for name in (data.entity, data.timestamp, data.group) if name]
    sliced = [stored_name(plan, name) for name in slice_columns(plan)]
    return ["label", "image_sha256", *keys, *plan.requested, *sliced]


def _place(
    ledger: LedgerWriter, plan: Plan, rows: pl.DataFrame, snapshot: Path, groups: Sequence[int]
) -> dict[SplitName, pl.Series]:
    """Return a mask of the rows for each split, and record that the splits are sound."""
    import polars as pl

    labels, names = _strata(plan, rows), _content_names(plan, rows)
    share = plan.evaluation
    times = rows[plan.data.timestamp].to_list() if share.split_by == "time" and plan.data.timestamp else None
    where = split_rows(labels, groups, names, sealed=share.sealed_split, valid=share.valid_split, times=times)
    counts = {split: Counter(label for label, at in zip(labels, where, strict=True) if at == split) for split in SPLITS}
    for label in sorted(set(labels)) if plan.model.answers == "class" else ():
        own = len({group for group, each in zip(groups, labels, strict=True) if each == label})
        _require_class(snapshot, rows, label, counts, groups=own, by_time=times is not None)
    by_stratum = times is None or plan.model.answers == "class"  # a number may rise with time out of its old range
    unvalidated = sorted(label for label in set(labels) if by_stratum and not counts["valid"][label])
    shared = len({(group, at) for group, at in zip(groups, where, strict=True)}) - len(set(groups))
    kind = "class" if plan.model.answers == "class" else "tenth of the label's range, by quantile,"
    ledger.record(
        "splits",
        requirement=f"each {kind} is trained, validated and sealed, and no group stands in two splits",
        risk="the sealed rows are known to the model, or say nothing of a class",
        qa_method="grouped by group, entity, equal inputs and near-duplicate pictures; "
        + ("the newest groups are sealed" if times else f"stratified by {kind} and placed by a hash of content"),
        value={
            "rows": {split: sum(counts[split].values()) for split in SPLITS},
            "groups": len(set(groups)),
            "groups_in_two_splits": shared,
            "classes_without_valid_rows": unvalidated,
            "seed": SPLIT_SEED,
            **_time_overlap(times, where),
        },
        verdict=Verdict.FAIL if unvalidated or shared else Verdict.PASS,
        artifacts={"rows_by_class": ledger.artifacts.put_json({split: dict(counts[split]) for split in SPLITS})},
    )
    return {split: pl.Series([at == split for at in where], dtype=pl.Boolean) for split in SPLITS}


def _time_overlap(times: Sequence[datetime] | None, where: Sequence[SplitName]) -> dict[str, int]:
    """Return how many sealed rows are no newer than the newest row that trains: rows of groups that go past the cut."""
    if times is None:
        return {}
    newest = max(at for at, split in zip(times, where, strict=True) if split == "train")
    within = sum(split == "sealed" and at <= newest for at, split in zip(times, where, strict=True))
    return {"sealed_rows_within_the_training_time": within}


def _strata(plan: Plan, rows: pl.DataFrame) -> list[str]:
    """Return what the splits are stratified by: the class, or the size of a number."""
    labels = rows["label"].to_list()
    return labels if plan.model.answers == "class" else strata_of(labels)


def _content_names(plan: Plan, rows: pl.DataFrame) -> list[str]:
    """Return a name for each row that depends on the row alone, not on its place."""
    if plan.data.entity is not None:
        return [str(value) for value in rows[plan.data.entity].to_list()]
    return input_digests(plan, rows)


def identifying_columns(plan: Plan, stored: StoredRows) -> list[str]:
    """Return the columns that tell a row from others: entity, time and picture; without these all but the label.

    Other labels, other rows, or a further column of the source leave the rows the same ones, whose looks are spent.
    """
    known = [name for name in (plan.data.entity, plan.data.timestamp) if plan.data.entity and name]
    if plan.model.inputs.image is not None:
        known.append("image_sha256")
    return known or [name for name in stored.schema if name not in ("row_id", "label")]


def _groups(plan: Plan, rows: pl.DataFrame, twins: dict[int, int]) -> list[int]:
    """Return the group of each row, as the place of its first row."""
    keys = _group_keys(plan, rows, twins)
    return group_rows(*keys) if keys else list(range(rows.height))


def _group_keys(plan: Plan, rows: pl.DataFrame, twins: dict[int, int]) -> list[list[str | None]]:
    """Return the keys by which rows belong together.

    Equal inputs do unless the rows have an identity of their own and no picture: then columns of few values
    are alike by nature, and holding them together would leave whole kinds of rows out of a split.
    """
    columns = [name for name in (plan.data.group, plan.data.entity) if name]
    keys = [as_text(rows[name]).to_list() for name in columns]
    if plan.model.inputs.image is not None:
        keys.append(rows["image_sha256"].to_list())
        keys.append([str(twins.get(row_id, row_id)) for row_id in rows["row_id"].to_list()])
    elif plan.data.entity is None:
        keys.append(list(input_digests(plan, rows)))
    return keys


def _require_class(
    snapshot: Path,
    rows: pl.DataFrame,
    label: str,
    counts: dict[SplitName, Counter[str]],
    *,
    groups: int,
    by_time: bool,
) -> None:
    remedy = "Collect rows of the class in at least 3 groups, or leave the class out"
    if by_time:
        remedy = "Collect rows of it before and after the cut, split by content, or leave the class out"
    for split, consequence in (("train", "trained"), ("sealed", "tested")):
        if counts[split][label]:  # type: ignore[index]
            continue
        row_ids = rows["row_id"].filter(rows["label"] == label).to_list()
        shown = ", ".join(map(str, row_ids[:SHOWN_ROWS])) + (" and more" if len(row_ids) > SHOWN_ROWS else "")
        raise DataError(
            snapshot / ROWS_FILE,
            f"class {label} would not be {consequence}: its {len(row_ids)} kept rows (row_id {shown}) "
            f"form {groups} group{'s' if groups > 1 else ''}",
            remedy,
        )


def _select(
    ledger: LedgerWriter,
    plan: Plan,
    table: pl.DataFrame,
    placed: dict[SplitName, pl.Series],
    *,
    columns: Sequence[Column],
    snapshot: Path,
    verified: Path,
) -> set[int]:
    """Measure what the plan wants measured; return the rows to leave out of training."""
    wanted, spec = plan.data.selection, plan.model.inputs.image
    train, valid = table.filter(placed["train"]), table.filter(placed["valid"])
    if wanted.columns and columns:
        record_column_gains(ledger, train, columns)
    if spec is not None and spec.denoise != "none":
        record_noise_gain(ledger, snapshot, train, valid, spec)
    if wanted.rows == "off":
        return set()
    return harmful_rows(ledger, plan, verified=verified, snapshot=snapshot, train=train, valid=valid, columns=columns)


def _split_table(
    plan: Plan, rows: pl.DataFrame, values: pl.DataFrame, classes: Sequence[str], groups: list[int]
) -> pl.DataFrame:
    import polars as pl

    index = {label: place for place, label in enumerate(classes)}
    indices = [index[label] for label in rows["label"].to_list()] if classes else None
    own = [name for name in (plan.data.entity, plan.data.timestamp, plan.data.group) if name]
    table = rows.select("row_id", "label").with_columns(
        *([] if indices is None else [pl.Series("label_index", indices, dtype=pl.Int32)]),
        rows["row_id"].gather(groups).alias(GROUP_COLUMN),
        *(rows[name] for name in dict.fromkeys(own) if name not in values.columns),
        *(as_text(rows[stored_name(plan, name)]).alias(SLICE_PREFIX + name) for name in slice_columns(plan)),
    )
    return table.with_columns(values.get_columns())


def _write_descriptions(splits: Path, columns: Sequence[Column], classes: Sequence[str]) -> None:
    described = [column.model_dump(mode="json") for column in columns]
    (splits / COLUMNS_FILE).write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (splits / CLASSES_FILE).write_text(json.dumps(list(classes), ensure_ascii=False) + "\n", encoding="utf-8")


def _write_reference(
    ledger: LedgerWriter, plan: Plan, *, snapshot: Path, train: pl.DataFrame, columns: Sequence[Column], splits: Path
) -> None:
    bins = bins_for(plan.monitoring.min_rows, profiled_features(plan))
    features = [column_reference(column, train[column.name].to_numpy(), bins) for column in columns]
    if plan.model.inputs.image is not None:
        statistics = _picture_statistics(snapshot, set(train["row_id"].to_list()), plan.model.inputs.image)
        features += [profile(name, values, bins) for name, values in statistics.items()]
    if plan.model.answers == "class":
        reference = Reference(features=features, classes=dict(sorted(Counter(train["label"].to_list()).items())))
    else:
        answers = profile(PREDICTED_CLASS, train["label"].to_numpy(), bins)
        reference = Reference(features=features, classes={}, prediction=answers)
    write_reference(splits / REFERENCE_FILE, reference)
    ledger.record(
        "reference profile",
        requirement="production can be compared with the rows that the model learned from",
        risk="inputs drift away from the training data and nobody can tell",
        qa_method="each input's training rows by bin, a picture by brightness and contrast; read as the server reads",
        value={"features": [feature.name for feature in features], "rows": train.height},
        verdict=Verdict.PASS,
        artifacts={REFERENCE_FILE: ledger.artifacts.put_bytes((splits / REFERENCE_FILE).read_bytes())},
    )


def _picture_statistics(snapshot: Path, wanted: set[int], spec: ImageInput) -> dict[str, list[float]]:
    from sextant_serving.preprocessing import decode_image, picture_statistics

    statistics: dict[str, list[float]] = {}
    for row_ids, pictures in picture_batches(snapshot):
        chosen = [data for row_id, data in zip(row_ids, pictures, strict=True) if row_id in wanted]
        if not chosen:
            continue
        batch = np.stack([decode_image(data, spec) for data in chosen])
        for name, values in picture_statistics(batch).items():
            statistics.setdefault(name, []).extend(values.tolist())
    return statistics


def _write_info(
    ledger: LedgerWriter,
    placed: dict[SplitName, pl.Series],
    *,
    snapshot: Path,
    splits: Path,
    sealed: pl.DataFrame,
    features: PreparedFeatures | None,
) -> None:
    data_hash = read_snapshot(snapshot).data_hash
    identities = sorted(repr(row) for row in sealed.drop("row_id").iter_rows())
    info = SplitsInfo(
        counts={split: int(placed[split].sum()) for split in SPLITS},
        seed=SPLIT_SEED,
        sealed_digest=digest_of(identities),
        data_hash=data_hash,
        feature_repo=str(features.repository.folder) if features else None,
        feature_service=features.repository.service if features else None,
    )
    (splits / SPLITS_FILE).write_text(info.model_dump_json(indent=1) + "\n", encoding="utf-8")
    ledger.record(
        "sealed split",
        requirement="the rows that judge the model are fixed before any model exists",
        risk="a model is chosen by the rows that are to judge it",
        qa_method="digest over what identifies the sealed rows, and not over what is said of them; every look at them "
        "is counted against it",
        value={"sealed_digest": info.sealed_digest, "rows": info.counts["sealed"]},
        verdict=Verdict.PASS,
    )
