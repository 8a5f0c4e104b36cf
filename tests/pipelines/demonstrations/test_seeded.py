"""The seeded faults: each breaks what its name says and leaves the rest alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from sextant_pipelines.demonstrations.seeded import LIVE, OFFLINE, Caught, spoilt

MEASURES = pl.DataFrame({"weight_g": [500.0], "length_cm": [10.0], "measured_at": [datetime(2026, 3, 2, tzinfo=UTC)]})


@pytest.mark.parametrize(
    ("store", "changed"),
    [("kilograms", {"weight_g": 0.5}), ("stale", {"measured_at": MEASURES["measured_at"][0] - timedelta(days=30)})],
    ids=["kilograms", "stale"],
)
def test_a_spoilt_store_differs_in_one_thing(store: str, changed: dict[str, object]) -> None:
    """So that the alert which fires is known to be about that."""
    found = spoilt(MEASURES, store).row(0, named=True)  # type: ignore[arg-type]
    assert found == {**MEASURES.row(0, named=True), **changed}


def test_a_sound_store_is_left_alone() -> None:
    """The faults of servers and traffic are seeded over features as they were trained on."""
    assert spoilt(MEASURES, "sound").equals(MEASURES)


def test_label_noise_reaches_a_third_of_the_rows() -> None:
    """Rows keep their inputs; a third has the label of the row before."""
    table = pl.DataFrame({"price": range(9), "label": list("abcdefghi")})
    plan, noisy = OFFLINE[0].spoil("plan", table)
    assert plan == "plan"
    assert noisy["price"].to_list() == table["price"].to_list()
    assert (noisy["label"] != table["label"]).sum() == 3


def test_only_what_was_meant_to_catch_a_fault_counts() -> None:
    """Another alert, or none, is not caught."""
    assert Caught("fault", "latency", "latency", 1.0).is_caught
    assert not Caught("fault", "latency", "errors", 1.0).is_caught
    assert not Caught("fault", "latency", None, 1.0).is_caught


def test_each_kind_of_fault_is_seeded() -> None:
    """The table has a line for every fault that the self-test promises."""
    named = {fault.name.partition(":")[0] for fault in (*OFFLINE, *LIVE)}
    assert named == {
        "label noise", "bad model", "sudden drift", "gradual drift", "train/serve skew", "stale features", "slow model",
        "vanished metrics",
    }  # fmt: skip
