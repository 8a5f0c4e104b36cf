"""A snapshot's metadata in Croissant 1.0 (https://docs.mlcommons.org/croissant), by which other tools can read it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sextant_components.data.tables import IMAGES_FILE, ROWS_FILE, Snapshot
from sextant_plan.canonical import digest_of_file
from sextant_plan.schema import Plan

if TYPE_CHECKING:
    import polars as pl

CROISSANT_FILE = "croissant.json"
_TERMS = [
    "citeAs",
    "equivalentProperty",
    "extract",
    "field",
    "fileObject",
    "fileProperty",
    "fileSet",
    "format",
    "includes",
    "isLiveDataset",
    "jsonPath",
    "key",
    "md5",
    "parentField",
    "path",
    "recordSet",
    "references",
    "regex",
    "repeated",
    "replace",
    "samplingRate",
    "separator",
    "source",
    "subField",
    "transform",
]
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    **{term: f"cr:{term}" for term in _TERMS},
}


def write_croissant(plan: Plan, described: Snapshot, schema: pl.Schema, snapshot: Path) -> Path:
    """Write croissant.json into a snapshot: its files with their digests, and every column of its rows."""
    files = [_file(snapshot / name) for name in (ROWS_FILE, IMAGES_FILE) if (snapshot / name).exists()]
    sets = [_record_set("rows", ROWS_FILE, {name: _data_type(dtype) for name, dtype in schema.items()})]
    if described.pictures:
        sets.append(_record_set("pictures", IMAGES_FILE, {"row_id": "sc:Integer", "data": "sc:ImageObject"}))
    document = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": plan.name,
        "description": f"{described.rows} rows for: {plan.goal.business}",
        "license": described.licence.name,
        "citeAs": f"{plan.name}, {plan.owner.team}, {described.licence.source}",
        "url": described.licence.source,
        "creator": {"@type": "sc:Organization", "name": plan.owner.team},
        "datePublished": datetime.fromtimestamp(described.created, UTC).isoformat(timespec="seconds"),
        "version": f"1.0.0+{described.data_hash.removeprefix('sha256:')[:16]}",
        "rai:dataCollection": "; ".join(
            f"{part.kind} {part.share:.0%}: {part.reason}" for part in plan.data.procurement
        )
        or plan.data.consent.basis,
        "distribution": files,
        "recordSet": sets,
    }
    path = snapshot / CROISSANT_FILE
    path.write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def _file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "application/x-parquet",
        "sha256": digest_of_file(path).removeprefix("sha256:"),
    }


def _record_set(name: str, file: str, columns: dict[str, str]) -> dict[str, Any]:
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"{name}/{column}",
            "name": f"{name}/{column}",
            "dataType": kind,
            "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
        }
        for column, kind in columns.items()
    ]
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "key": {"@id": f"{name}/row_id"}, "field": fields}


def _data_type(dtype: pl.DataType) -> str:
    import polars as pl

    kinds = {pl.Boolean: "sc:Boolean", pl.Float64: "sc:Float", pl.Int64: "sc:Integer", pl.Datetime: "sc:DateTime"}
    return kinds.get(dtype.base_type(), "sc:Text")
