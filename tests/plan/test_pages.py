"""The generated reference says what the code does."""

from __future__ import annotations

import json
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import jsonschema
import pytest
import yaml
from pydantic import TypeAdapter

from sextant_plan import catalogue
from sextant_plan.pages import pages
from sextant_plan.schema import Plan
from sextant_plan.types import Duration

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("path", pages(), ids=str)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    """`make generate` would change nothing."""
    assert (ROOT / "docs" / path).read_text(encoding="utf-8") == pages()[path]


def test_the_plan_reference_names_every_key() -> None:
    """A key that a plan may hold can be looked up."""
    text = pages()[Path("reference/plan.md")]
    assert all(f"| `{name}` |" in text for name in Plan.model_fields)


def test_every_series_of_the_catalogue_can_be_looked_up() -> None:
    """The metrics' page has a line for each, whichever process exposes it."""
    text = pages()[Path("reference/metrics.md")]
    modules = [import_module(f"{catalogue.__name__}.{each.name}") for each in iter_modules(catalogue.__path__)]
    named = {each.name for module in modules for each in vars(module).values() if isinstance(each, catalogue.Series)}
    assert named == set(re.findall(r"^\| `(\w+)` \| (?:counter|gauge|histogram) \|", text, re.MULTILINE))


def test_durations_stand_in_the_reference_as_a_plan_writes_them() -> None:
    """Each default can be copied into a plan and means the same there."""
    text = pages()[Path("reference/plan.md")]
    assert "| `deadline` | duration | `4h` |" in text
    defaults = re.findall(r"^\| `\w+` \| duration \| `(.*)` \|$", text, re.MULTILINE)
    seconds = [TypeAdapter(Duration).validate_python(default) for default in defaults]
    assert {0.002, 2.0, 60.0, 14400.0, 30 * 86400.0} <= set(seconds)


@pytest.mark.parametrize("name", ["digits", "parcels", "tiny"])
def test_the_published_schema_accepts_the_example_plans(name: str) -> None:
    """What an editor calls valid is what Sextant takes, and an unknown key is refused by both."""
    schema = json.loads(pages()[Path("reference/plan.schema.json")])
    plan = yaml.safe_load((ROOT / "examples" / name / "plan.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(plan, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plan, "naem": "x"}, schema)
