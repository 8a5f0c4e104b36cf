"""On-demand features: one function computes them from stored ones for training and for the server."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from sextant_components.data.features import computed_features
from sextant_components.data.ingest import run_ingest
from sextant_components.data.prepare import run_prepare
from sextant_components.data.sources import read_source
from sextant_components.data.tables import (
    SPLITS,
    feature_matrix,
    read_columns,
    read_features,
    read_rows,
    read_split,
    read_splits_info,
)
from sextant_components.data.verify import run_verify
from sextant_components.planning.feasibility.load import serve_quickly
from sextant_components.planning.plan import run_plan, study_of
from sextant_plan.bundle import Column
from sextant_plan.entrypoints import EntrypointError
from sextant_plan.errors import PlanError
from sextant_plan.verdicts import Verdict
from sextant_serving.codec_v1 import parse_v1
from sextant_serving.codec_v2 import rows_of
from sextant_serving.errors import CodeDiffers
from sextant_serving.features import FeatureLookup
from sextant_serving.on_demand import Transform, load_transform, on_demand_specs
from sextant_serving.preprocessing import encode_columns
from sextant_serving.rows import Signature
from sextant_serving.tensors import InputTensor

pytestmark = pytest.mark.filterwarnings("ignore")  # Feast and its imports warn of their own future
CODE = """
def derive(inputs):
    return {
        "double": [None if mass is None else 2 * mass for mass in inputs["mass"]],
        "sign": [None if lane is None else lane.upper() for lane in inputs["lane"]],
    }

def weigh(inputs):
    pairs = zip(inputs["mass"], inputs["weight"], inputs["site"])
    return {
        "share": [None if None in (mass, weight) else weight / (1 + mass) for mass, weight, _ in pairs],
        "route": [f"{lane}-{site}" for lane, site in zip(inputs["lane"], inputs["site"])],
    }

def short(inputs):
    return {name: values[1:] for name, values in derive(inputs).items()}
"""


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed module of the user's; its file, and its name in `entrypoint`."""
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "user_features.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "user_features", raising=False)
    return folder / "user_features.py"


@pytest.fixture
def derived(workshop: Any, code: Path) -> Any:
    """The workshop with a view of two features, of which the model reads one and two that are computed from both."""
    workshop.plan["features"] = {
        "views": [
            {"name": "item-facts", "source": "facts.csv", "timestamp": "at", "columns": ["mass", "lane"], "ttl": "365d"}
        ],
        "on_demand": [
            {
                "name": "item-sums",
                "entrypoint": "user_features:derive",
                "inputs": ["item-facts:mass", "item-facts:lane"],
                "columns": ["double", "sign"],
            }
        ],
    }
    workshop.plan["model"]["inputs"]["features"] = ["item-sums:double", "item-facts:mass", "item-sums:sign"]
    now = datetime.now(UTC)  # the rows are seen now, so that their features are fresh when they are served
    workshop.table = workshop.table.with_columns(
        pl.Series("seen", [(now - timedelta(hours=60 - row)).isoformat() for row in range(60)])
    )
    events = [
        {
            "item": f"I-{row:03d}",
            "at": (now - timedelta(hours=62)).isoformat(),
            "mass": float(row),
            "lane": "ab"[row % 2],
        }
        for row in range(1, 60)
    ]
    pl.DataFrame(events).write_csv(workshop.data / "facts.csv")
    return workshop


def test_training_and_the_server_compute_the_same(derived: Any, records: Any) -> None:
    """The joined rows, the online rows and the server's lookup agree; an entity without features has none."""
    context = derived.open()
    snapshot, verified, splits = (context.run / name for name in ("s", "v", "p"))
    run_ingest(context, snapshot=snapshot)
    run_verify(context, snapshot=snapshot, verified=verified)
    run_prepare(context, snapshot=snapshot, verified=verified, splits=splits)
    found, items = read_features(splits), read_rows(snapshot).select("row_id", "item")
    assert found is not None
    assert found.columns == ["row_id", "double", "mass", "sign"]
    rows = {row["item"]: row for row in items.join(found, on="row_id").to_dicts()}
    assert (rows["I-007"]["double"], rows["I-007"]["sign"]) == (14.0, "B")
    assert rows["I-000"]["double"] is None
    record = records(context, "prepare")
    assert record["point-in-time join"].value["differing"] == 0
    assert record["train/serve parity"].value == {"rows": 59, "differing": 0}
    assert record["train/serve parity"].verdict is Verdict.PASS

    columns, info = read_columns(splits), read_splits_info(splits)
    assert [(column.name, column.view) for column in columns[2:]] == [
        ("double", "item_sums"),
        ("mass", "item_facts"),
        ("sign", "item_sums"),
    ]
    spec: Any = SimpleNamespace(entity="item", feature_service=info.feature_service, columns=columns)
    transforms = [load_transform(each) for each in on_demand_specs(context.plan)]
    lookup = FeatureLookup(Path(str(info.feature_repo)), spec, transforms)
    served = lookup.lookup(["I-007", "I-000", "I-008"])
    assert served[0] == {"mass": 7.0, "lane": "b", "double": 14.0, "sign": "B"}
    assert served[1] is None
    assert served[2] is not None
    assert served[2]["double"] == 16.0
    assert set(lookup.newest) == {"item_facts"}


@pytest.fixture
def weighed(derived: Any) -> Any:
    """The workshop with features of two stored values and two of the request, of which the model reads one, `site`."""
    derived.plan["features"]["on_demand"].append(
        {
            "name": "item-shares",
            "entrypoint": "user_features:weigh",
            "inputs": ["item-facts:mass", "item-facts:lane"],
            "request": ["weight", "site"],
            "columns": ["share", "route"],
        }
    )
    # A third of a number has other digits in single precision than in double.
    derived.table = derived.table.with_columns(pl.col("weight") / 3)
    derived.plan["model"] |= {"task": "tabular-classification", "candidates": [{"architecture": "linear"}]}
    del derived.plan["model"]["inputs"]["image"]
    derived.plan["model"]["inputs"] |= {"columns": ["site"], "features": ["item-shares:share", "item-shares:route"]}
    return derived


def _prepared(workshop: Any) -> tuple[Any, Path, Path]:
    context = workshop.open()
    snapshot, verified, splits = (context.run / name for name in ("s", "v", "p"))
    run_ingest(context, snapshot=snapshot)
    run_verify(context, snapshot=snapshot, verified=verified)
    run_prepare(context, snapshot=snapshot, verified=verified, splits=splits)
    return context, snapshot, splits


def test_what_comes_with_a_request_is_read_in_training_and_by_the_server(weighed: Any, records: Any) -> None:
    """Every protocol's values give the server the numbers that training had, also of a column the model reads not."""
    context, snapshot, splits = _prepared(weighed)
    assert records(context, "prepare")["train/serve parity"].value == {"rows": 59, "differing": 0}
    columns, info = read_columns(splits), read_splits_info(splits)
    trained = pl.concat([read_split(splits, name) for name in SPLITS]).sort("row_id")
    rows = read_rows(snapshot)
    spec: Any = SimpleNamespace(
        image=None,
        classes=["dim"],
        entity="item",
        feature_service=info.feature_service,
        columns=columns,
        serving=SimpleNamespace(queue_rows=512, on_demand=on_demand_specs(context.plan)),
    )
    signature = Signature(spec)
    assert signature.fields == {"site", "weight", "item"}
    transforms = [load_transform(each) for each in spec.serving.on_demand]
    lookup = FeatureLookup(Path(str(info.feature_repo)), spec, transforms)
    sent = rows.select("item", "site", "weight").to_dicts()
    sites, items = ([row[name].encode() for row in sent] for name in ("site", "item"))
    weights = np.asarray([np.nan if row["weight"] is None else row["weight"] for row in sent], dtype=np.float32)
    tensors = [
        InputTensor("item", "BYTES", [len(sent)], elements=items),
        InputTensor("site", "BYTES", [len(sent)], elements=sites),
        InputTensor("weight", "FP32", [len(sent)], array=weights),
    ]
    for asked in (parse_v1(json.dumps({"instances": sent}).encode(), signature), rows_of(tensors, signature)):
        assert asked.keys is not None
        found = lookup.lookup(asked.keys, asked.requested)
        assert [place for place, row in enumerate(found) if row is None] == [0]  # I-000 has no event
        served = encode_columns([row or {} for row in found], signature.stored)
        names = [column.name for column in signature.stored]
        np.testing.assert_array_equal(served, feature_matrix(trained, signature.stored), err_msg=str(names))
    assert trained["share"].n_unique() > 50


def test_a_request_without_what_is_computed_from_counts_as_missing(weighed: Any) -> None:
    """The share of flawed rows shows it, and the function is told by None."""
    spec: Any = SimpleNamespace(
        image=None,
        classes=["dim"],
        entity="item",
        columns=[Column(name="site", vocabulary=["north"])],
        serving=SimpleNamespace(queue_rows=512, on_demand=on_demand_specs(weighed.open().plan)),
    )
    rows = parse_v1(b'{"instances": [{"item": "I-001", "site": "north"}]}', Signature(spec))
    assert rows.requested == {"weight": [None], "site": ["north"]}
    assert rows.missing is not None
    assert rows.missing.tolist() == [True]


def test_code_that_was_changed_after_the_bundle_was_sealed_is_refused(derived: Any, code: Path) -> None:
    """The server would compute other features than training did."""
    (spec,) = on_demand_specs(derived.open().plan)
    code.write_text(CODE.replace("2 * mass", "3 * mass"))
    with pytest.raises(CodeDiffers, match="user_features:derive"):
        load_transform(spec)


def test_a_function_that_gives_too_few_values_is_named(derived: Any) -> None:
    """Values would be given to the wrong rows."""
    derived.plan["features"]["on_demand"][0]["entrypoint"] = "user_features:short"
    (spec,) = on_demand_specs(derived.open().plan)
    with pytest.raises(
        EntrypointError, match=r"user_features:short: it has to return 2 values for each of double, sign"
    ):
        load_transform(spec).compute({"mass": [1.0, 2.0], "lane": ["a", "b"]})


def test_a_long_table_is_computed_in_pieces(derived: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven rows by threes give what a function of single rows gives of all; a column is text where one piece is."""
    seen: list[int] = []

    def halve(inputs: dict[str, list[Any]]) -> dict[str, list[Any]]:
        seen.append(len(inputs["mass"]))
        halves = [None if mass is None else mass / 2 for mass in inputs["mass"]]
        return {"double": halves, "sign": ["high" if half and half > 2 else half for half in halves]}

    monkeypatch.setattr(computed_features, "PIECE_ROWS", 3)
    (spec,) = on_demand_specs(derived.open().plan)
    masses = [2.0, None, 4.0, 1.0, 2.0, 3.0, 6.0]
    table = pl.DataFrame({"item_facts__mass": masses, "item_facts__lane": ["a"] * 7})
    found = computed_features.with_computed(table, [Transform(spec, halve)], pl.DataFrame())
    assert seen == [3, 3, 1]
    assert found[f"{spec.view}__double"].to_list() == [1.0, None, 2.0, 0.5, 1.0, 1.5, 3.0]
    assert found[f"{spec.view}__sign"].to_list() == ["1", None, "2", "0.5", "1", "1.5", "high"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"inputs": ["item-facts:maas"]},
            r"on_demand\[0\]\.inputs\[0\]: item-facts:maas .* Did you mean item-facts:mass",
        ),
        ({"name": "item-facts"}, r"on_demand\[0\]\.name: item-facts names something else too"),
        ({"request": ["wieght"]}, r"on_demand\[0\]\.request\[0\]: wieght has no rule.* Did you mean weight"),
        ({"request": ["kind"]}, r"on_demand\[0\]\.request\[0\]: kind is the label"),
        ({"columns": ["treble"]}, r"inputs\.features\[0\]: item-sums:double is not a feature of any view"),
    ],
    ids=["unknown input", "a view's name", "unknown request column", "the label", "a column that it does not give"],
)
def test_an_on_demand_feature_that_cannot_be_computed_is_a_fault_of_the_plan(
    derived: Any, change: dict[str, Any], message: str
) -> None:
    """Before anything is run."""
    derived.plan["features"]["on_demand"][0] |= change
    with pytest.raises(PlanError, match=message):
        derived.open()


@pytest.mark.usefixtures("load_already_measured")
def test_the_feasibility_study_reads_what_is_computed(derived: Any, records: Any) -> None:
    """The plan step judges the inputs that the model will have, computed ones among them."""
    context = derived.open()
    run_plan(context)
    assert records(context, "plan")["feasibility: applicability"].verdict is Verdict.PASS
    study = study_of(context, read_source(context.plan, context.data_root, context.home))
    assert study.rows["double"].drop_nulls().to_list()[:2] == [2.0, 4.0]


def test_a_quick_baseline_is_served_with_what_is_computed(derived: Any) -> None:
    """Features of a store come with its requests, under the names that the model knows."""
    context = derived.open()
    load = serve_quickly(study_of(context, read_source(context.plan, context.data_root, context.home)))
    assert load is not None
    assert len(load.milliseconds) > 0
