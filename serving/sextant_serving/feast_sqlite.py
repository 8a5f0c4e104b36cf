"""Feast's local online store with one row for each entity, so that a lookup reads as many rows as it has keys.

Feast 0.67's own SQLite store keeps a row for each feature of an entity, and lets an older event that is written later
take the place of a newer one. Named in feature_store.yaml, this module is imported by Feast alone, which is why it may
import Feast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.helpers import compute_table_id
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.utils import to_naive_utc

Found = tuple[datetime | None, dict[str, Value] | None]
EPOCH, MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
MAX_KEYS = 900  # SQLite takes 999 parameters in builds before 3.32
# The event's time decides, not the order of writing; an event that is written again corrects its values.
_UPSERT = (
    "INSERT INTO {table} (entity_key, event_us, features) VALUES (?, ?, ?) ON CONFLICT(entity_key) DO UPDATE "
    "SET event_us = excluded.event_us, features = excluded.features WHERE excluded.event_us >= event_us"
)


class RowSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Settings as of Feast's SQLite store; Feast finds this class by its name."""

    type: Literal["sextant_serving.feast_sqlite.RowSqliteOnlineStore"] = (
        "sextant_serving.feast_sqlite.RowSqliteOnlineStore"  # type: ignore[assignment]
    )


class RowSqliteOnlineStore(SqliteOnlineStore):
    """One table a view: the entity's key, its newest event's time in microseconds, and all its features."""

    def online_write_batch(
        self,
        config: Any,
        table: Any,
        data: list[tuple[EntityKey, dict[str, Value], datetime, datetime | None]],
        progress: Callable[[int], Any] | None,
    ) -> None:
        """Write events; of each entity the newest stays, whatever came first. A batch is written whole or not."""
        rows = [(_key(config, key), _microseconds(at), _packed(values)) for key, values, at, _ in data]
        with self._get_conn(config) as connection:
            connection.executemany(_UPSERT.format(table=_table(config, table)), rows)
        if progress is not None:
            progress(len(data))

    def online_read(
        self,
        config: Any,
        table: Any,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,  # noqa: ARG002  # Feast picks them out itself
    ) -> list[Found]:
        """Return time and all features for each key, or two Nones for one that is not there."""
        keys = [_key(config, key) for key in entity_keys]
        connection, name = self._get_conn(config), _table(config, table)
        stored: dict[bytes, tuple[int, bytes]] = {}
        for piece in _pieces(keys):
            places = ",".join("?" * len(piece))
            query = f"SELECT entity_key, event_us, features FROM {name} WHERE entity_key IN ({places})"  # noqa: S608
            with closing(connection.execute(query, piece)) as rows:
                stored |= {key: (at, packed) for key, at, packed in rows}
        return [_found(stored.get(key)) for key in keys]

    def update(  # noqa: PLR0917  # Feast calls it so
        self,
        config: Any,
        tables_to_delete: Sequence[Any],
        tables_to_keep: Sequence[Any],
        entities_to_delete: Sequence[Any],  # noqa: ARG002
        entities_to_keep: Sequence[Any],  # noqa: ARG002
        partial: bool,  # noqa: ARG002
    ) -> None:
        """Make the tables of the views that are kept and drop those of the views that are deleted."""
        columns = "entity_key BLOB PRIMARY KEY, event_us INTEGER NOT NULL, features BLOB NOT NULL"
        with self._get_conn(config) as connection:
            for view in tables_to_keep:
                connection.execute(f"CREATE TABLE IF NOT EXISTS {_table(config, view)} ({columns}) WITHOUT ROWID")
            for view in tables_to_delete:
                connection.execute(f"DROP TABLE IF EXISTS {_table(config, view)}")


def _table(config: Any, view: Any) -> str:
    """Return the view's table, quoted; its name tells it from a table of Feast's own store in the same file."""
    versions = config.registry.enable_online_feature_view_versioning
    name = compute_table_id(config.project, view, versions)
    return '"rows:' + name.replace('"', '""') + '"'


def _key(config: Any, key: EntityKey) -> bytes:
    version = config.entity_key_serialization_version
    return bytes(serialize_entity_key(key, entity_key_serialization_version=version))


def _microseconds(at: datetime) -> int:
    return (to_naive_utc(at).replace(tzinfo=UTC) - EPOCH) // MICROSECOND


def _packed(values: dict[str, Value]) -> bytes:
    """Return names with their values; the message for keys is Feast's own pair of two such lists."""
    return bytes(EntityKey(join_keys=values.keys(), entity_values=values.values()).SerializeToString())


def _found(stored: tuple[int, bytes] | None) -> Found:
    if stored is None:
        return None, None
    at, packed = stored
    pairs = EntityKey.FromString(packed)
    return EPOCH + at * MICROSECOND, dict(zip(pairs.join_keys, pairs.entity_values, strict=True))


def _pieces(keys: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    return (keys[start : start + MAX_KEYS] for start in range(0, len(keys), MAX_KEYS))
