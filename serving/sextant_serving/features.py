"""Feast online lookup: the store's features of many entities in one call."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from sextant_plan.bundle import BundleSpec
from sextant_serving.feast_import import import_feast

StoredRow = dict[str, object]


class FeatureLookup:
    """Reads the bundle's feature service through Feast's own `FeatureStore`.

    Not thread-safe: an online store keeps one connection. Feast 0.67 serves values past their view's
    ttl as present, so their age is judged here.
    """

    def __init__(self, repo: Path, spec: BundleSpec) -> None:
        """Open the repository at `repo`; raises Feast's own errors if it or the service is not there."""
        assert spec.entity is not None, "a bundle with a feature service names its entity"
        assert spec.feature_service is not None
        self._entity = spec.entity
        self._store = _online_store(repo)
        self._service = self._store.get_feature_service(spec.feature_service)
        self._names = {f"{column.view}__{column.name}": column.name for column in spec.columns if column.view}
        views = {column.view for column in spec.columns if column.view}
        ttls = {view: self._store.get_feature_view(view).ttl or timedelta(0) for view in views}
        self.newest: dict[str, float] = {}  # Unix time of the newest event seen, by view
        self._ttl_seconds = {full: ttls[full.split("__", 1)[0]].total_seconds() for full in self._names}

    def lookup(self, keys: Sequence[str]) -> list[StoredRow | None]:
        """Return the features by column name for each key, or None where one is absent or past its ttl.

        A stored null is a None value in the row, not a missing row. Raises what the online store raises
        when it cannot be reached.
        """
        from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

        response = self._store.get_online_features(
            features=self._service,
            entity_rows=[{self._entity: key} for key in keys],
            full_feature_names=True,
        )
        values, now = response.to_dict(), time.time()
        rows: list[StoredRow | None] = [{} for _ in keys]
        for full, vector in zip(response.proto.metadata.feature_names.val, response.proto.results, strict=True):
            if full not in self._names:
                continue
            name, ttl = self._names[full], self._ttl_seconds[full]
            for index, (status, stamp) in enumerate(zip(vector.statuses, vector.event_timestamps, strict=True)):
                row = rows[index]
                absent = status == FieldStatus.NOT_FOUND
                if not absent:
                    view = full.split("__", 1)[0]
                    self.newest[view] = max(self.newest.get(view, 0.0), float(stamp.seconds))
                if absent or (ttl > 0 and now - stamp.seconds > ttl):
                    rows[index] = None
                elif row is not None:
                    row[name] = values[full][index]
        return rows


def _online_store(repo: Path) -> Any:
    """Open the repository for lookups alone: its offline store's libraries are not in the serving image."""
    import yaml

    feast = import_feast()
    settings = yaml.safe_load(os.path.expandvars((repo / "feature_store.yaml").read_text(encoding="utf-8")))
    settings.pop("offline_store", None)
    config = feast.RepoConfig(**settings)
    config.repo_path = repo
    return feast.FeatureStore(repo_path=str(repo), config=config)
