"""Feast's point-in-time join as one DuckDB ASOF JOIN for each view: an offline store that plugs into Feast.

Feast 0.67's own DuckDB store joins by inequality and ranks what it finds, six times slower on a million rows,
and fails on nanosecond stamps with a zone. Named in feature_store.yaml, this module is imported by Feast alone,
which is why it may import Feast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from feast.infra.offline_stores import duckdb as feast_duckdb
from feast.infra.offline_stores.file_source import FileSource
from feast.infra.offline_stores.ibis import IbisRetrievalJob
from feast.infra.offline_stores.offline_store import RetrievalMetadata
from feast.infra.offline_stores.offline_utils import infer_event_timestamp_from_entity_df
from feast.on_demand_feature_view import OnDemandFeatureView

from sextant_components.data.whole_tables import quoted, table_of

if TYPE_CHECKING:
    import pyarrow as pa
    from feast import FeatureView

_PLACE = "_sextant_place"
_ENTITIES = "_sextant_entities"


class AsofOfflineStoreConfig(feast_duckdb.DuckDBOfflineStoreConfig):
    """Settings as of Feast's DuckDB store; Feast finds this class by its name."""

    type: str = "sextant_components.data.features.feast_asof.AsofOfflineStore"


class AsofOfflineStore(feast_duckdb.DuckDBOfflineStore):
    """Feast's DuckDB store with a faster historical join; what that does not cover is left to Feast's."""

    @staticmethod
    def get_historical_features(  # noqa: PLR0917  # Feast calls it so
        config: Any,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: Any,
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
    ) -> Any:
        """Return a job with the entity rows in their order and, for each, the last values known at its time.

        An event counts from its own time on, and up to and including its view's ttl (0: for ever). Times
        are compared in microseconds; a time without a zone is UTC. Of events of one entity and time the
        latest created counts, if the source names such a column.
        """
        import pandas as pd

        parquet = all(_reads_parquet(view) for view in feature_views)
        if not isinstance(entity_df, pd.DataFrame) or filter_by_created_timestamp or not parquet:
            return feast_duckdb.DuckDBOfflineStore.get_historical_features(
                config,
                feature_views,
                feature_refs,
                entity_df,
                registry,
                project,
                full_feature_names,
                filter_by_created_timestamp,
            )
        import ibis

        event_time = infer_event_timestamp_from_entity_df(dict(zip(entity_df.columns, entity_df.dtypes, strict=True)))
        joined = _joined(entity_df, event_time, feature_views, feature_refs, full_feature_names)
        return IbisRetrievalJob(
            ibis.memtable(joined),
            OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            full_feature_names,
            metadata=RetrievalMetadata(
                features=feature_refs,
                keys=[name for name in entity_df.columns if name != event_time],
                min_event_timestamp=entity_df[event_time].min(),
                max_event_timestamp=entity_df[event_time].max(),
            ),
            data_source_writer=feast_duckdb._write_data_source,
            staging_location=config.offline_store.staging_location,
            staging_location_endpoint_override=config.offline_store.staging_location_endpoint_override,
            repo_path=str(config.repo_path),
        )


def _reads_parquet(view: FeatureView) -> bool:
    source = view.batch_source
    return isinstance(source, FileSource) and source.path.endswith(".parquet") and "://" not in source.path


def _joined(
    entity_df: Any, event_time: str, views: list[FeatureView], refs: list[str], full_feature_names: bool
) -> pa.Table:
    import duckdb
    import numpy as np
    import pyarrow as pa

    entities = pa.Table.from_pandas(entity_df, preserve_index=False)
    times = _microseconds(entities[event_time])
    entities = entities.set_column(entities.column_names.index(event_time), event_time, times)
    entities = entities.append_column(_PLACE, pa.array(np.arange(len(entities))))
    chosen, joins = [f"e.{quoted(name)}" for name in entity_df.columns], []
    for number, view in enumerate(views):
        columns, join = _view_join(f"f{number}", view, event_time, refs, full_feature_names)
        chosen += columns
        joins.append(join)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register(_ENTITIES, entities)
        query = f"SELECT {', '.join(chosen)} FROM {_ENTITIES} e {' '.join(joins)} ORDER BY e.{_PLACE}"  # noqa: S608
        return connection.sql(query).to_arrow_table()


def _microseconds(times: pa.ChunkedArray) -> pa.ChunkedArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    if times.type.tz is None:
        times = pc.assume_timezone(times.cast(pa.timestamp("us"), safe=False), "UTC")
    return times.cast(pa.timestamp("us", tz="UTC"), safe=False)


def _view_join(
    alias: str, view: FeatureView, event_time: str, refs: list[str], full_feature_names: bool
) -> tuple[list[str], str]:
    """Return a view's result columns and its ASOF JOIN, for a query whose entities are `e`."""
    source, prefix = view.batch_source, view.projection.name_to_use()  # type: ignore[no-untyped-call]
    assert isinstance(source, FileSource)  # as _reads_parquet has seen
    keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    features = [ref.split(":", 1)[1] for ref in refs if ref.split(":", 1)[0] == prefix]
    stored = {new: old for old, new in source.field_mapping.items()}
    # A column without a zone is UTC; the connection's zone makes the cast say so.
    stamp = f"CAST({quoted(source.timestamp_field)} AS TIMESTAMPTZ)"
    parts = [f"{quoted(stored.get(key, key))} AS {quoted(key)}" for key in keys]
    parts += [f"{quoted(stored.get(name, name))} AS {quoted(name)}" for name in features]
    events = f"SELECT {', '.join(parts)}, {stamp} AS _at FROM {table_of(source.path)}"  # noqa: S608
    if source.created_timestamp_column:
        by = ", ".join(quoted(stored.get(key, key)) for key in keys)
        latest = f"ORDER BY {quoted(source.created_timestamp_column)} DESC"
        events += f" QUALIFY row_number() OVER (PARTITION BY {by}, {stamp} {latest}) = 1"
    matches = " AND ".join(f"e.{quoted(given)} = {alias}.{quoted(key)}" for key, given in keys.items())
    join = f"ASOF LEFT JOIN ({events}) {alias} ON {matches} AND e.{quoted(event_time)} >= {alias}._at"
    seconds = view.ttl.total_seconds() if view.ttl else 0.0
    fresh = f"{alias}._at >= e.{quoted(event_time)} - INTERVAL '{round(seconds * 1e6)} microseconds'"
    columns = []
    for name in features:
        value = f"{alias}.{quoted(name)}"
        kept = f"CASE WHEN {fresh} THEN {value} END" if seconds else value
        shown = f"{view.projection.name_alias or view.name}__{name}" if full_feature_names else name
        columns.append(f"{kept} AS {quoted(shown)}")
    return columns, join
