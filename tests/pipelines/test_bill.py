"""The bill of materials names what the lock installs, and nothing that it does not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from sextant_pipelines.bill import bill_of_materials
from sextant_plan.errors import UsageError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("extra", ["serve", "train", "cluster"])
def test_the_bill_names_every_package_of_the_lock_with_its_digests(extra: str) -> None:
    """As many as the lock pins, each with a version and a digest."""
    lock = ROOT / "requirements" / f"{extra}.txt"
    components = json.loads(bill_of_materials(f"sextant-{extra}", lock))["components"]
    pinned = re.findall(r"^([a-z0-9._-]+)(?:\[.*\])?==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    assert [each["name"] for each in components] == pinned
    assert all(each["version"] and each["hashes"] for each in components)


def test_the_serving_image_has_no_torch() -> None:
    """What a reader looks for first."""
    bill = json.loads(bill_of_materials("sextant-serve", ROOT / "requirements" / "serve.txt"))
    names = {each["name"] for each in bill["components"]}
    assert "onnxruntime" in names
    assert "torch" not in names


def test_licences_are_those_of_the_installed_packages() -> None:
    """A package of the lock that is here in the same version is named with its licence."""
    bill = json.loads(bill_of_materials("sextant-serve", ROOT / "requirements" / "serve.txt"))
    (numpy,) = [each for each in bill["components"] if each["name"] == "numpy"]
    assert "BSD" in numpy["licenses"][0]["license"]["name"]


def test_debian_packages_join_the_bill(tmp_path: Path) -> None:
    """Their purl quotes what a version may hold."""
    packages = tmp_path / "packages"
    packages.write_text("libc6\t2.36-9+deb12u10\nlibstdc++6\t12.2.0-14\n")
    bill = json.loads(bill_of_materials("i", ROOT / "requirements" / "bootstrap.txt", packages))
    assert [each["purl"] for each in bill["components"][-2:]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u10",
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14",
    ]


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param("torch\n", id="no version"),
        pytest.param("torch==2.15.0\n", id="no digest"),
        pytest.param("-e .\n", id="no package"),
    ],
)
def test_a_lock_that_pins_nothing_gives_no_bill(tmp_path: Path, entry: str) -> None:
    """A bill that leaves something out is worse than none."""
    (tmp_path / "lock.txt").write_text(entry)
    with pytest.raises(UsageError, match="entry 1"):
        bill_of_materials("i", tmp_path / "lock.txt")


@pytest.mark.parametrize("extra", ["serve", "train", "cluster"])
def test_the_bill_is_valid_by_the_schema_of_its_format(extra: str, tmp_path: Path) -> None:
    """Strictly by CycloneDX's own schema of the version that it names; a bill with a field of no meaning is not."""
    packages = tmp_path / "packages"
    packages.write_text("libc6\t2.36-9+deb12u10\n")
    bill = bill_of_materials(f"sextant-{extra}", ROOT / "requirements" / f"{extra}.txt", packages)
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill) is None
    assert validator.validate_str(bill.replace('"purl"', '"pearl"', 1)) is not None
