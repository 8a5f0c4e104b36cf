"""A wider run: the plan's wider candidates compete as well, under the same plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sextant_components.runs.context import create_run, open_run


def test_a_wider_run_tries_every_candidate_of_the_same_plan(open_run_at: Any, tmp_path: Path) -> None:
    """The hash stays, each candidate has a trial, and the run is as wide when the next step opens it."""
    home = tmp_path / "home"
    usual = open_run_at(tmp_path / "r1", home=home)
    names = [each.architecture for each in usual.model.candidates]
    wider = [{"architecture": "small-cnn", "params": {"width": width}} for width in range(4, 16)]
    model = {**usual.plan.model.model_dump(mode="json", exclude_defaults=True), "wider_candidates": wider}
    narrow = open_run_at(tmp_path / "r2", home=home, model=model)
    plan = tmp_path / "r2" / "plan.yaml"
    create_run(tmp_path / "r3", run_id="r3", plan_path=plan, home=home, wider=True)
    opened = open_run(str(tmp_path / "r3"))
    assert [each.architecture for each in narrow.model.candidates] == names
    assert [each.architecture for each in opened.model.candidates] == [*names, *["small-cnn"] * 12]
    assert opened.model.search.trials == len(names) + 12
    assert opened.plan_hash == narrow.plan_hash
