"""The plan's features in Feast: a local repository, the point-in-time join for training, the online store.

Registry and online store are SQLite, or what the file named by SEXTANT_FEAST_STORES says, such as Redis or
PostgreSQL; the offline store is our own over DuckDB, because Feast's file join drops rows and its DuckDB join is slow.
Everything that writes holds one lock a repository, so that runs of one plan wait for each other.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.data.features.computed_features import with_computed
from sextant_components.data.features.feature_sources import EVENT_TIME, ViewTable
from sextant_components.data.features.online_loading import OnlineView, load_newest, newest_events
from sextant_plan.errors import InfrastructureError, UsageError
from sextant_plan.files import LockHeld, locked, replacing
from sextant_plan.schema import Plan
from sextant_serving.feast_import import import_feast
from sextant_serving.on_demand import feast_name, load_transform, on_demand_specs

if TYPE_CHECKING:
    import polars as pl

LOCK_SECONDS = 600.0  # a run holds the lock for seconds; longer means that one hangs
REPOSITORY_FILE = "feature_store.yaml"
STORES_VARIABLE = "SEXTANT_FEAST_STORES"
SHARED_STORES = frozenset({"online_store", "registry"})
_ROW = "row_id"


class FeatureRepository:
    """A plan's Feast repository at `folder`; use `locked` around calls that write.

    `project` keeps its rows apart from those of the plan's other repositories in one store; the plan's name unless
    given. `stores` replace the local ones, as SEXTANT_FEAST_STORES says unless given.
    """

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        tables: Sequence[ViewTable],
        *,
        project: str | None = None,
        stores: Mapping[str, Any] | None = None,
    ) -> None:
        assert plan.data.entity is not None
        self.folder, self.service = folder.resolve(), feast_name(plan.name)
        self._project, self._stores = project or self.service, stores
        self._entity, self._tables = plan.data.entity, list(tables)
        self._wanted = _wanted_by_view(plan)
        self._features = [f"{feast_name(view)}__{name}" for view, name in map(_parts, plan.model.inputs.features)]
        self._transforms = [load_transform(spec) for spec in on_demand_specs(plan)]
        self._store: Any = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the repository's lock; raises InfrastructureError if another run keeps it for LOCK_SECONDS."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder.with_name(f"{self.folder.name}.lock")
        try:
            with locked(path, seconds=LOCK_SECONDS):
                yield
        except LockHeld as error:
            raise InfrastructureError(
                f"{path}: another run has held the feature repository for {LOCK_SECONDS:g} s. "
                "Wait for it to end, or stop it."
            ) from error

    def apply(self) -> None:
        """Write the sources and the repository's file, and bring the registry to the plan's views and service."""
        import_feast()
        from feast import Entity, FeatureService, FeatureStore, ValueType

        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        for table in self._tables:
            with replacing(self._source(table)) as partial:
                table.events.write_parquet(partial)
        (self.folder / REPOSITORY_FILE).write_text(self._configuration(), encoding="utf-8")
        self._store = FeatureStore(repo_path=str(self.folder))
        entity = Entity(name=self._entity, join_keys=[self._entity], value_type=ValueType.STRING)
        views = {table.name: self._view(table, entity) for table in self._tables}
        chosen = [views[name][columns] for name, columns in self._wanted.items()]
        service = FeatureService(name=self.service, features=chosen)
        outdated = [view for view in self._store.list_feature_views() if view.name not in views]
        self._store.apply([entity, *views.values(), service], objects_to_delete=outdated, partial=False)

    def _source(self, table: ViewTable) -> Path:
        return self.folder / "data" / f"{table.name}.parquet"

    def _configuration(self) -> str:
        import yaml

        registry = {"registry_type": "sql", "path": f"sqlite:///{self.folder / 'registry.db'}", "cache_ttl_seconds": 60}
        online = {"type": "sextant_serving.feast_sqlite.RowSqliteOnlineStore", "path": str(self.folder / "online.db")}
        settings = {
            "project": self._project,
            "provider": "local",
            "registry": registry,
            "online_store": online,
            "offline_store": {"type": "sextant_components.data.features.feast_asof.AsofOfflineStore"},
            "entity_key_serialization_version": 3,
        }
        stores = _shared_stores() if self._stores is None else self._stores
        return yaml.safe_dump({**settings, **stores}, sort_keys=False)

    def _view(self, table: ViewTable, entity: Any) -> Any:
        import polars as pl
        from feast import FeatureView, Field, FileSource
        from feast.types import Float64, String

        types = {name: String if table.events[name].dtype == pl.String else Float64 for name in table.view.columns}
        return FeatureView(
            name=table.name,
            entities=[entity],
            ttl=timedelta(seconds=table.view.ttl),
            schema=[
                Field(name=self._entity, dtype=String),
                *(Field(name=name, dtype=t) for name, t in types.items()),
            ],
            source=FileSource(name=f"{table.name}_source", path=str(self._source(table)), timestamp_field=EVENT_TIME),
        )

    def join(self, keys: pl.DataFrame, requested: pl.DataFrame) -> pl.DataFrame:
        """Return each row's features as they were known at its time, one column `view__feature` each.

        `keys` has `row_id`, the entity and `event_timestamp` (UTC), `requested` the same rows' columns that come with
        a request; the result has the rows in their order, null where no event within the view's ttl precedes. Raises
        InfrastructureError if Feast loses or adds rows.
        """
        import polars as pl

        frame = keys.to_pandas()
        frame[EVENT_TIME] = frame[EVENT_TIME].astype("datetime64[us, UTC]")  # as the events are stored
        service = self._store.get_feature_service(self.service)
        with _quietly():
            found = self._store.get_historical_features(entity_df=frame, features=service, full_feature_names=True)
            joined = pl.from_arrow(found.to_arrow())
        assert isinstance(joined, pl.DataFrame)
        joined = joined.sort(_ROW)
        if joined[_ROW].to_list() != keys[_ROW].sort().to_list():
            raise InfrastructureError(
                f"{self.folder}: Feast's join gave {joined.height} rows for {keys.height}. "
                "Training rows would be lost or doubled; check the version of feast."
            )
        ordered = keys.select(_ROW).join(joined, on=_ROW, how="left", maintain_order="left")
        return with_computed(ordered, self._transforms, requested).select(self._features)

    def materialise(self, *, until: datetime) -> dict[str, datetime | None]:
        """Load every entity's newest event up to `until` into the online store; return each view's newest time.

        Only what changed since the last load is written (see `online_loading`).
        """
        found: dict[str, datetime | None] = {}
        for table in self._tables:
            newest = newest_events(table.events, self._entity, until)
            with _quietly():
                load_newest(newest, self._entity, self._online_view(table), self.folder / "loaded" / table.name)
            last = newest[EVENT_TIME].max()
            found[table.name] = last if isinstance(last, datetime) else None
        return found

    def _online_view(self, table: ViewTable) -> OnlineView:
        names = table.view.columns

        def write(events: pl.DataFrame) -> None:
            self._store.write_to_online_store(table.name, events.to_pandas())

        def read(keys: list[str]) -> pl.DataFrame:
            import polars as pl

            found = self._read(keys, [f"{table.name}:{name}" for name in names])
            stored = {f"{table.name}__{name}": table.events.schema[name] for name in names}
            return pl.DataFrame(
                {full.partition("__")[2]: pl.Series(found[full], dtype=t) for full, t in stored.items()}
            )

        def clear() -> None:
            self._clear(table)

        return OnlineView(write, read, clear)

    def _clear(self, table: ViewTable) -> None:
        """Drop and make the view's tables by the call with which `apply` makes them."""
        view, provider = self._store.get_feature_view(table.name), self._store._get_provider()
        for dropped, kept in (([view], []), ([], [view])):
            provider.update_infra(self._project, dropped, kept, [], [], partial=True)

    def empty(self) -> None:
        """Take every row of the online store, as somebody would who lost it: what was loaded is still noted."""
        for table in self._tables:
            self._clear(table)

    def remove(self) -> None:
        """Take the project out of online store and registry; those of others stay."""
        views = self._store.list_feature_views()
        self._store._get_provider().teardown_infra(self._project, views, self._store.list_entities())
        self._store.delete_project(self._project)

    def online(self, keys: Sequence[str], requested: pl.DataFrame) -> pl.DataFrame:
        """Return what the online store holds for each key, one column `view__feature` each.

        `requested` has what comes with a request of each key.
        """
        import polars as pl

        found = self._read(keys, self._store.get_feature_service(self.service))
        stored = [f"{view}__{column}" for view, columns in self._wanted.items() for column in columns]
        table = pl.DataFrame({name: found[name] for name in stored}, strict=False)
        return with_computed(table, self._transforms, requested).select(self._features)

    def _read(self, keys: Sequence[str], features: Any) -> dict[str, list[Any]]:
        found = self._store.get_online_features(
            features=features, entity_rows={self._entity: list(keys)}, full_feature_names=True
        )
        values: dict[str, list[Any]] = found.to_dict()
        return values


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep Feast's progress off the step's output, and a call of ibis that DuckDB has renamed off its warnings."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
        yield


def _shared_stores() -> dict[str, Any]:
    """Return the stores that the file of SEXTANT_FEAST_STORES sets in place of local ones; without it, none.

    A ${VARIABLE} in it stays as it is: Feast puts its value in when it opens the repository, so that no password
    is written down. Raises UsageError for a file that cannot be read or that sets anything else.
    """
    import yaml

    named = os.environ.get(STORES_VARIABLE)
    if not named:
        return {}
    try:
        found = yaml.safe_load(Path(named).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"{named}: not a readable YAML file, named by {STORES_VARIABLE}. Correct it.") from error
    if not isinstance(found, dict) or not found.keys() <= SHARED_STORES:
        allowed = " and ".join(sorted(SHARED_STORES))
        raise UsageError(f"{named}: sets {sorted(found)}. {STORES_VARIABLE} names a file that sets {allowed} alone.")
    return found


def _wanted_by_view(plan: Plan) -> dict[str, list[str]]:
    wanted: dict[str, list[str]] = {}
    assert plan.features is not None
    for name in plan.features.stored_inputs(plan.model.inputs.features):
        view, column = _parts(name)
        wanted.setdefault(feast_name(view), []).append(column)
    return wanted


def _parts(name: str) -> tuple[str, str]:
    view, _, column = name.partition(":")
    return view, column
