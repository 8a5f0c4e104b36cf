"""What the drill bad-model puts forward is wrong, whatever the model answers with."""

from __future__ import annotations

from typing import Any

from sextant_components.deployment.drills.bad_model import misnamed
from sextant_plan.bundle import BundleSpec, Column


def _spec(classes: list[str]) -> BundleSpec:
    columns = [
        Column(name="age"),
        Column(name="zone", vocabulary=["a"]),
        Column(name="bmi"),
        Column(name="fed", view="v"),
    ]
    parts: dict[str, Any] = {"classes": classes, "columns": columns}
    return BundleSpec.model_construct(**parts)


def test_names_of_classes_are_mixed_up_where_there_are_classes() -> None:
    """Every class has another's name; the columns stay."""
    found = misnamed(_spec(["a", "b", "c"]))
    assert found.classes == ["b", "c", "a"]
    assert [each.name for each in found.columns] == ["age", "zone", "bmi", "fed"]


def test_names_of_numbers_are_mixed_up_where_the_answer_is_one() -> None:
    """Each number that a request brings is read in another's place; categories and views keep theirs."""
    found = misnamed(_spec([]))
    assert [each.name for each in found.columns] == ["bmi", "zone", "age", "fed"]
