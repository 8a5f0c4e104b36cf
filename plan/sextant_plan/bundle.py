"""The model bundle: what is trained is what is served, with a digest for every file and no pickle.

A bundle is a directory with `bundle.json` beside the weights, `reference.json` (drift reference) and
`golden.npz` (requests with the outputs the model must give). `bundle.json` seals the others by digest;
the bundle's own digest is that of the canonical `bundle.json`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from sextant_plan.canonical import digest_of, digest_of_file
from sextant_plan.errors import BundleCorrupt
from sextant_plan.schema import Closed, ImageInput, PredictionLog

BUNDLE_FILE = "bundle.json"
REFERENCE_FILE = "reference.json"
GOLDEN_FILE = "golden.npz"

PROBABILITIES, VALUE = "probabilities", "value"  # the output tensor of a model with classes, and of one without

Engine = Literal[
    "torch-safetensors",
    "torch-channels-last",
    "torch-bf16",
    "torch-cuda-graphs",
    "torch-cuda-graphs-bf16",
    "onnx",
    "openvino",
    "lightgbm",
]


class Tensor(Closed):
    """A named tensor in Open Inference Protocol types; -1 is the batch dimension."""

    name: str
    datatype: Literal["UINT8", "FP32", "BYTES"]
    shape: list[int]


class Member(Closed):
    """One network or one set of trees: its file, and for safetensors the architecture that the weights fit."""

    file: str
    architecture: str
    params: dict[str, int | float | str | bool] = {}


class Column(Closed):
    """One number that the model reads besides the picture, in the order of the `features` tensor.

    A category is its index in `vocabulary`, and len(vocabulary) if unknown; a missing number is `default`, and one
    below `low` or above `high` is read as that.
    `view` names the Feast view that serves it; None means it comes with the request.
    """

    name: str
    view: str | None = None
    vocabulary: list[str] | None = None
    default: float = 0.0
    low: float | None = None
    high: float | None = None


class CodeRef(Closed):
    """User code by name, with the digest of the distribution that held it when the bundle was sealed."""

    entrypoint: str
    digest: str


class RequestColumn(Closed):
    """A column of a request as an on-demand feature reads it: a number in single precision, or else text."""

    name: str
    number: bool


class OnDemandSpec(Closed):
    """Features that are computed from looked-up ones and from the request's own columns.

    `inputs` are `view__feature`; `view` stands in `Column.view`.
    """

    view: str
    code: CodeRef
    inputs: list[str]
    request: list[RequestColumn] = []
    columns: list[str]


class ServingSpec(Closed):
    """What the plan says of serving, carried along so that the server needs no plan."""

    max_rows: int
    max_wait: float
    queue_rows: int
    deadline: float
    latency_edges_ms: list[float]
    abstain_below: float
    missing_features: Literal["reject", "default", "abstain"]
    abstain_outside: float | None = None
    engine_failure: list[Literal["previous-version", "baseline"]] = []
    batch_sizes: list[int] = []
    log: PredictionLog = PredictionLog()
    attachment: CodeRef | None = None
    on_demand: list[OnDemandSpec] = []


class BundleSpec(Closed):
    """The contents of bundle.json.

    The network's inputs are `image` (UINT8, rows x height x width x channels) and `features` (FP32,
    rows x len(columns)), whichever it has; scaling is inside the network, so training and serving cannot
    differ in it. The output is `probabilities` (FP32, rows x len(classes)), or without classes `value` (FP32,
    rows x 1), a number in the label's own unit.
    """

    schema_version: Literal[1] = 1
    name: str
    version: str
    task: str
    engine: Engine
    members: list[Member]
    image: ImageInput | None
    columns: list[Column]
    entity: str | None
    feature_service: str | None
    classes: list[str]
    inputs: list[Tensor]
    outputs: list[Tensor]
    serving: ServingSpec
    golden_tolerance: float
    plan_hash: str
    data_hash: str
    created: float
    files: dict[str, str]

    @property
    def answer(self) -> str:
        """The name of the output tensor."""
        return answer_name(self.classes)

    @property
    def digest(self) -> str:
        """The bundle's digest: everything in it is bound by this one.

        It is that of `bundle.json` as it was written, without the fields that later versions have and it lacks.
        """
        return digest_of(self.model_dump(mode="json", exclude_unset=True))


def answer_name(classes: Sequence[str]) -> str:
    """Return the name of the tensor that a model of these classes answers with; without classes it is a number."""
    return PROBABILITIES if classes else VALUE


def read_bundle(directory: Path) -> BundleSpec:
    """Read `bundle.json` and verify every file's digest.

    Raises BundleCorrupt if the file is absent or malformed, a sealed file is absent or differs, the
    directory holds a file that is not sealed, or a network's file is not among the sealed ones.
    """
    path = directory / BUNDLE_FILE
    try:
        spec = BundleSpec.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise BundleCorrupt(directory, BUNDLE_FILE, "no file", "a bundle description") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise BundleCorrupt(directory, BUNDLE_FILE, f"a fault at {where} ({first['msg']})", "schema 1") from error
    present = {str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()} - {BUNDLE_FILE}
    for name in sorted(present | spec.files.keys()):
        expected = spec.files.get(name)
        if expected is None:
            raise BundleCorrupt(directory, name, "content", "no such file")
        if name not in present:
            raise BundleCorrupt(directory, name, "no content", expected)
        if (found := digest_of_file(directory / name)) != expected:
            raise BundleCorrupt(directory, name, found, expected)
    for member in spec.members:
        if member.file not in spec.files:
            raise BundleCorrupt(directory, member.file, "no seal", "a network of this name")
    return spec


def seal_bundle(directory: Path, spec: BundleSpec) -> BundleSpec:
    """Write `bundle.json` over the files that lie in `directory`; return the spec with their digests."""
    names = [str(file.relative_to(directory)) for file in directory.rglob("*") if file.is_file()]
    files = {name: digest_of_file(directory / name) for name in sorted(names) if name != BUNDLE_FILE}
    text = json.dumps(spec.model_copy(update={"files": files}).model_dump(mode="json"), indent=2, ensure_ascii=False)
    (directory / BUNDLE_FILE).write_text(text + "\n", encoding="utf-8")
    return BundleSpec.model_validate_json(text)
