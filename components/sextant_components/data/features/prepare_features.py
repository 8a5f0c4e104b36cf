"""The prepare step's features: joined as of each row's time, loaded online, and both proved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sextant_components.data.encoding import encoded
from sextant_components.data.features.computed_features import requested_columns
from sextant_components.data.features.feature_sources import EVENT_TIME, ViewTable, read_views
from sextant_components.data.features.feature_store import FeatureRepository
from sextant_components.data.features.point_in_time import as_of, comparable_online, differing_rows
from sextant_components.data.remote_sources import fetch_source
from sextant_components.runs.context import RunContext, feature_repo_of
from sextant_components.runs.source_folder import source_root
from sextant_plan.bundle import Column
from sextant_plan.errors import UsageError
from sextant_plan.ledger import LedgerWriter
from sextant_plan.schema import Plan
from sextant_plan.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

PARITY_ROWS = 500  # an online lookup of 100 entities takes 8 ms, so a sample of 500 costs nothing


@dataclass(frozen=True)
class PreparedFeatures:
    """Each row's features as of its time, and the same rows' features online where they must be equal."""

    repository: FeatureRepository
    joined: pl.DataFrame
    compared: list[int]
    online: pl.DataFrame

    @property
    def names(self) -> list[str]:
        """The features' names without their views', as the model's columns carry them."""
        return [full.partition("__")[2] for full in self.joined.columns]


def load_features(plan: Plan, *, plan_dir: Path, home: Path) -> dict[str, datetime | None]:
    """Bring the feature stores to their sources as they are now, outside of a run; return each view's newest event.

    `plan_dir` is what a relative `data.source` is relative to. Raises UsageError for a plan without features, and
    DataError for a feature table that cannot be used.
    """
    if plan.features is None:
        raise UsageError(f"{plan.name}: the plan has no features, so there is nothing to load.")
    fetch_source(plan, home)
    tables = read_views(plan, source_root(plan, plan_dir, home))
    repository = FeatureRepository(plan, feature_repo_of(plan, home), tables)
    with repository.locked():
        repository.apply()
        return repository.materialise(until=datetime.now(UTC))


def join_features(context: RunContext, ledger: LedgerWriter, rows: pl.DataFrame) -> PreparedFeatures:
    """Bring the plan's Feast repository up to date, join the rows' features and load the online store.

    Raises DataError for a feature table that cannot be used.
    """
    import polars as pl

    plan = context.plan
    entity, timestamp = plan.data.entity, plan.data.timestamp
    assert entity is not None
    assert timestamp is not None
    fetch_source(plan, context.home)  # this step may run on another machine than ingest
    tables = read_views(plan, context.data_root)
    keys = rows.select("row_id", entity, pl.col(timestamp).alias(EVENT_TIME))
    repository = FeatureRepository(plan, context.feature_repo, tables)
    until = datetime.now(UTC)
    with repository.locked():
        repository.apply()
        joined = repository.join(keys, requested_columns(plan, rows))
        loaded = repository.materialise(until=until)
        compared = comparable_online(keys, tables, entity, until)
        step = max(1, len(compared) // PARITY_ROWS)
        compared = compared[::step][:PARITY_ROWS]
        online = joined.clear()
        if compared:
            requested = requested_columns(plan, rows[compared])
            online = repository.online(keys[compared][entity].to_list(), requested)
    _record_sources(ledger, tables)
    _record_join(ledger, keys, tables, entity, joined)
    _record_loaded(ledger, loaded)
    return PreparedFeatures(repository, joined, compared, online)


def _record_sources(ledger: LedgerWriter, tables: Sequence[ViewTable]) -> None:
    ledger.record(
        "feature sources",
        requirement="every feature table is named by its content",
        risk="features change between training and a repeat of it, unseen",
        qa_method="sha256 of each view's file; events replaced by a later line of the same entity and time",
        value={
            table.view.name: {"digest": table.digest, "events": table.events.height, "replaced": table.replaced}
            for table in tables
        },
        verdict=Verdict.PASS,
    )


def _record_loaded(ledger: LedgerWriter, newest: dict[str, datetime | None]) -> None:
    ledger.record(
        "online features",
        requirement="the online store has each entity's newest event, and how fresh that is, is known",
        risk="a server answers with the features of last week, and nothing looks broken",
        qa_method="each entity's newest event is compared with what was loaded before, and what differs is written; "
        "servers report the newest event that they read by view",
        value={"newest": {name: at.isoformat() if at else None for name, at in newest.items()}},
        verdict=Verdict.PASS if all(newest.values()) else Verdict.UNKNOWN,
    )


def _record_join(
    ledger: LedgerWriter, keys: pl.DataFrame, tables: Sequence[ViewTable], entity: str, joined: pl.DataFrame
) -> None:
    import polars as pl

    expected = pl.concat([as_of(keys, table, entity) for table in tables], how="horizontal")
    stored = [name for name in joined.columns if name in expected.columns]  # the others are computed from these
    wrong = differing_rows(joined.select(stored), expected.select(stored))
    missing = {name: joined[name].null_count() for name in joined.columns}
    ledger.record(
        "point-in-time join",
        requirement="each row has the features that were known at its time, and none from later",
        risk="the model learns from the future and fails when there is none to read",
        qa_method="Feast's join of every row is compared with an as-of join that does not use Feast",
        value={"rows": keys.height, "differing": len(wrong), "missing": missing},
        verdict=Verdict.FAIL if wrong else Verdict.PASS,
    )


def record_parity(ledger: LedgerWriter, features: PreparedFeatures, columns: Sequence[Column]) -> None:
    """Record whether the server would read of the online store what the model was trained on."""
    value: object = "every entity has an event later than its rows, so that no row can be compared"
    verdict = Verdict.UNKNOWN
    if features.compared:
        offline = _as_served(features.joined[features.compared], columns)
        online = _as_served(features.online.cast(dict(features.joined.schema.items())), columns)
        differing = int(np.count_nonzero((offline.to_numpy() != online.to_numpy()).any(axis=1)))
        value = {"rows": len(features.compared), "differing": differing}
        verdict = Verdict.FAIL if differing else Verdict.PASS
    ledger.record(
        "train/serve parity",
        requirement="training and serving read the same features of an entity, encoded alike",
        risk="the model is served other numbers than it was trained on",
        qa_method="rows whose entity has no later event: offline join against online lookup, after encoding",
        value=value,
        verdict=verdict,
    )


def _as_served(table: pl.DataFrame, columns: Sequence[Column]) -> pl.DataFrame:
    stored = {f"{column.view}__{column.name}": column for column in columns if column.view}
    inputs = table.select(list(stored)).rename({full: column.name for full, column in stored.items()})
    return encoded(inputs, list(stored.values()))
