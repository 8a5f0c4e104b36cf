"""Feast online lookup: the store's features of many entities in one call."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sextant_plan.bundle import BundleSpec
from sextant_plan.catalogue import FEATURE_STATES
from sextant_plan.entrypoints import EntrypointError
from sextant_serving.feast_import import import_feast
from sextant_serving.on_demand import Transform, Values
from sextant_serving.preprocessing import encode_column

StoredRow = dict[str, object]
_SCALARS = frozenset({"double_val", "float_val", "int64_val", "int32_val", "string_val", "bool_val"})


class FeatureLookup:
    """Reads the bundle's feature service through Feast's own `FeatureStore`.

    Not thread-safe: an online store keeps one connection. Feast 0.67 serves values past their view's
    ttl as present, so their age is judged here.
    """

    def __init__(self, repo: Path, spec: BundleSpec, transforms: Sequence[Transform] = ()) -> None:
        """Open the repository at `repo`; raises Feast's own errors if it or the service is not there.

        `transforms` are the bundle's on-demand features.
        """
        assert spec.entity is not None, "a bundle with a feature service names its entity"
        assert spec.feature_service is not None
        self._entity = spec.entity
        self._store = _online_store(repo)
        self._service = self._store.get_feature_service(spec.feature_service)
        self._transforms = list(transforms)
        computed = {transform.spec.view for transform in transforms}
        self._computed = [column for column in spec.columns if column.view in computed]
        stored = [column for column in spec.columns if column.view and column.view not in computed]
        self._names = {f"{column.view}__{column.name}": column.name for column in stored}
        self._names |= {full: name for transform in transforms for full, name in transform.names.items()}
        views = {full.split("__", 1)[0] for full in self._names}
        self.newest: dict[str, float] = {}  # Unix time of the newest event seen, by view
        self.rows = {(view, state): 0 for view in sorted(views) for state in FEATURE_STATES}  # looked up so far
        ttls = {view: self._store.get_feature_view(view).ttl or timedelta(0) for view in views}
        self._ttl_seconds = {view: ttl.total_seconds() for view, ttl in ttls.items()}
        # The first lookup resolves the service and connects, which is no work for the first request to wait for; a
        # store that is away now may be back by then.
        with contextlib.suppress(Exception):
            self.lookup([""])
        self.rows = dict.fromkeys(self.rows, 0)

    def lookup(self, keys: Sequence[str], request: Mapping[str, Sequence[Any]] | None = None) -> list[StoredRow | None]:
        """Return the features by column name for each key, or None where one is absent or past its ttl.

        `request` has the values of each request column that the on-demand features read, one a key. A stored null is a
        None value in the row, not a missing row. Raises what the online store raises when it cannot be reached, and
        EntrypointError if an on-demand function fails on what a row holds.
        """
        from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

        response = self._store.get_online_features(
            features=self._service, entity_rows={self._entity: list(keys)}, full_feature_names=True
        )
        rows: list[StoredRow] = [{} for _ in keys]
        expired: dict[str, set[int]] = {}
        absent: dict[str, set[int]] = {}
        for full, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
            name = self._names.get(full)
            if name is None:
                continue
            view = full.split("__", 1)[0]
            if view not in expired:  # all features of a view have one time
                expired[view] = set(self._expired(view, [stamp.seconds for stamp in vector.event_timestamps]))
                absent[view] = set()
            if FieldStatus.NOT_FOUND in vector.statuses:
                statuses = enumerate(vector.statuses)
                absent[view].update(index for index, status in statuses if status == FieldStatus.NOT_FOUND)
            for row, value in zip(rows, vector.values, strict=True):
                row[name] = _plain(value)
        missing = set().union(*expired.values(), *absent.values())
        found = [None if index in missing else row for index, row in enumerate(rows)]
        complete = [index for index, row in enumerate(found) if row is not None]
        self._compute([rows[index] for index in complete], complete, request or {})
        self._count(len(keys), expired, absent)
        return found

    def _compute(self, rows: list[StoredRow], places: list[int], request: Mapping[str, Sequence[Any]]) -> None:
        """Add the on-demand features to complete rows, which stand at these places of the request."""
        for transform in self._transforms if rows else ():
            stored = {name: [row[name] for row in rows] for name in transform.names.values()}
            asked = {name: [request[name][place] for place in places] for name in transform.requested}
            given = self._call(transform, stored | asked)
            for name, values in given.items():
                for row, value in zip(rows, values, strict=True):
                    row[name] = value

    def _call(self, transform: Transform, inputs: dict[str, Values]) -> dict[str, Values]:
        """Return what a function gives, if the model can read it. Raises EntrypointError, which holds no value."""
        try:
            given = transform.compute(inputs)
            for column in self._computed:
                if column.view == transform.spec.view:
                    encode_column(given[column.name], column)
        except EntrypointError:
            raise
        except Exception as error:
            problem = f"it failed on a row ({type(error).__name__})"
            remedy = "Let it take every value that a request may hold, and None"
            raise EntrypointError(transform.spec.code.entrypoint, problem, remedy) from error
        return given

    def _count(self, rows: int, expired: Mapping[str, set[int]], absent: Mapping[str, set[int]]) -> None:
        """Count the rows of a lookup by view; what is absent has no time, and so has expired as well."""
        for view, old in expired.items():
            gone, stale = len(absent[view]), len(old - absent[view])
            for state, count in zip(FEATURE_STATES, (rows - stale - gone, stale, gone), strict=True):
                self.rows[view, state] += count

    def _expired(self, view: str, times: Sequence[int]) -> Iterator[int]:
        """Note the newest event (Unix times, 0 for none) and yield the places of those past the view's ttl."""
        if newest := max(times, default=0):
            self.newest[view] = max(self.newest.get(view, 0.0), float(newest))
        ttl, now = self._ttl_seconds[view], time.time()
        return (index for index, seconds in enumerate(times) if ttl > 0 and now - seconds > ttl)


def _plain(value: Any) -> object:
    """Return a stored value; Feast's own conversion, which tries thirty kinds, is left to the rare ones."""
    kind = value.WhichOneof("val")
    if kind in _SCALARS:
        return getattr(value, kind)
    from feast.type_map import feast_value_type_to_python_type

    return feast_value_type_to_python_type(value)  # None for a null


def _online_store(repo: Path) -> Any:
    """Open the repository for lookups alone: its offline store's libraries are not in the serving image."""
    import yaml

    feast = import_feast()
    settings = yaml.safe_load(os.path.expandvars((repo / "feature_store.yaml").read_text(encoding="utf-8")))
    settings.pop("offline_store", None)
    config = feast.RepoConfig(**settings)
    config.repo_path = repo
    return feast.FeatureStore(repo_path=str(repo), config=config)
