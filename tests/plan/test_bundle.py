"""The sealed bundle: nothing in it can be changed, taken away or slipped in."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sextant_plan.bundle import BUNDLE_FILE, BundleSpec, Member, ServingSpec, Tensor, read_bundle, seal_bundle
from sextant_plan.canonical import digest_of, digest_of_bytes
from sextant_plan.errors import BundleCorrupt

FILES = {"model.onnx": b"\x08\x07network", "reference.json": b"{}", "golden.npz": b"PK\x03\x04", "labels/eu.txt": b"a"}
SERVING = ServingSpec(
    max_rows=8,
    max_wait=0.002,
    queue_rows=64,
    deadline=2.0,
    latency_edges_ms=[50.0],
    abstain_below=0.5,
    missing_features="default",
)
SPEC = BundleSpec(
    name="digits",
    version="1",
    task="image-classification",
    engine="onnx",
    members=[Member(file="model.onnx", architecture="linear")],
    image=None,
    columns=[],
    entity=None,
    feature_service=None,
    classes=["0", "1"],
    inputs=[Tensor(name="features", datatype="FP32", shape=[-1, 4])],
    outputs=[Tensor(name="probabilities", datatype="FP32", shape=[-1, 2])],
    serving=SERVING,
    golden_tolerance=1e-4,
    plan_hash="sha256:" + "a" * 64,
    data_hash="sha256:" + "b" * 64,
    created=1_750_000_000.0,
    files={},
)


def sealed(directory: Path) -> BundleSpec:
    """Write a small bundle and seal it."""
    for name, data in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(data)
    return seal_bundle(directory, SPEC)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sealed bundle; every test puts back what it changes."""
    directory = tmp_path_factory.mktemp("bundle")
    sealed(directory)
    return directory


def test_a_sealed_bundle_reads_as_it_was_sealed(tmp_path: Path) -> None:
    """Sealing fills in each file's digest, and reading gives the same description back."""
    spec = sealed(tmp_path)
    assert read_bundle(tmp_path) == spec
    assert spec.files == {name: digest_of_bytes(data) for name, data in FILES.items()}


def test_sealing_again_changes_nothing(tmp_path: Path) -> None:
    """The seal does not seal itself, so a second seal is the same."""
    first = sealed(tmp_path)
    assert seal_bundle(tmp_path, SPEC) == first


def test_a_bundle_of_an_earlier_version_keeps_its_digest(tmp_path: Path) -> None:
    """What a later version adds with a default was not there to be sealed, so that promoted bundles stay valid."""
    sealed(tmp_path)
    document = json.loads((tmp_path / BUNDLE_FILE).read_text())
    del document["serving"]["on_demand"], document["serving"]["log"]
    (tmp_path / BUNDLE_FILE).write_text(json.dumps(document))
    assert read_bundle(tmp_path).digest == digest_of(document)


@given(name=st.sampled_from(sorted(FILES)), position=st.integers(0, 1000), flip=st.integers(1, 255))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_corrupted_byte_of_a_sealed_file_is_refused(bundle: Path, name: str, position: int, flip: int) -> None:
    """Whichever byte of whichever file changes, the error names the file."""
    data = bytearray(FILES[name])
    data[position % len(data)] ^= flip
    (bundle / name).write_bytes(bytes(data))
    try:
        with pytest.raises(BundleCorrupt, match=name):
            read_bundle(bundle)
    finally:
        (bundle / name).write_bytes(FILES[name])


@given(position=st.integers(0, 10_000), flip=st.integers(1, 255))
@settings(max_examples=200, deadline=None)
def test_a_corrupted_byte_of_the_description_shows_in_the_digest(bundle: Path, position: int, flip: int) -> None:
    """A changed description is refused, or its digest is another, or the byte was white space without meaning."""
    before = read_bundle(bundle)
    whole = (bundle / BUNDLE_FILE).read_bytes()
    data = bytearray(whole)
    data[position % len(data)] ^= flip
    (bundle / BUNDLE_FILE).write_bytes(bytes(data))
    try:
        after = read_bundle(bundle)
    except BundleCorrupt:
        return
    finally:
        (bundle / BUNDLE_FILE).write_bytes(whole)
    assert after.digest != before.digest or after == before


@pytest.mark.parametrize("name", sorted(FILES))
def test_an_absent_file_is_refused(tmp_path: Path, name: str) -> None:
    """A sealed file that is not there is named."""
    sealed(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(BundleCorrupt, match=name):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["extra.py", "labels/deep/extra.bin", ".hidden"])
def test_an_extra_file_is_refused(tmp_path: Path, name: str) -> None:
    """A file that nobody sealed is refused, in a subfolder and hidden too."""
    sealed(tmp_path)
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(BundleCorrupt, match=name):
        read_bundle(tmp_path)


def rewritten(change: Callable[[dict[str, object]], None]) -> Callable[[Path], None]:
    """Return a damage that rewrites the description."""

    def damage(directory: Path) -> None:
        fields = json.loads((directory / BUNDLE_FILE).read_text())
        change(fields)
        (directory / BUNDLE_FILE).write_text(json.dumps(fields))

    return damage


def outside(fields: dict[str, object]) -> None:
    """Let the network be a file that is not sealed."""
    fields["members"] = [{"file": "../model.onnx", "architecture": "linear"}]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda directory: (directory / BUNDLE_FILE).unlink(), id="no description"),
        pytest.param(lambda directory: (directory / BUNDLE_FILE).write_bytes(b"\xff"), id="not text"),
        pytest.param(rewritten(lambda fields: fields.update(schema_version=2)), id="schema of another version"),
        pytest.param(rewritten(lambda fields: fields.update(loader="os:system")), id="unknown key"),
        pytest.param(rewritten(lambda fields: fields.update(files={"../../etc/passwd": "x"})), id="path outside"),
        pytest.param(rewritten(outside), id="network outside the seal"),
    ],
)
def test_a_bad_description_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    """What cannot be understood, or points beyond the bundle, is not loaded."""
    (tmp_path / "bundle").mkdir()
    sealed(tmp_path / "bundle")
    (tmp_path / "model.onnx").write_bytes(b"not sealed")
    damage(tmp_path / "bundle")
    with pytest.raises(BundleCorrupt, match="nothing was loaded"):
        read_bundle(tmp_path / "bundle")
