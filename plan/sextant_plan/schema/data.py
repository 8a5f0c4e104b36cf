"""Where the data comes from, what it must be like, and under which licence and consent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from sextant_plan.schema.closed import Closed
from sextant_plan.types import Share


class ColumnRule(Closed):
    """What a column of the table must hold; `verify` checks every row against it.

    `clip` is the share of the training values at each end of a number that the model reads as that end's quantile.
    """

    type: Literal["number", "category", "text", "timestamp", "boolean"]
    min: float | None = None
    max: float | None = None
    clip: float = Field(default=0.0, ge=0, lt=0.5)
    values: list[str] | None = None
    required: bool = True
    unique: bool = False


class Licence(Closed):
    name: str
    source: str
    allows_training: bool


class Consent(Closed):
    """Why the data may be used: the basis, and whether persons can be identified from it."""

    basis: str
    personal_data: bool = False


class Labelling(Closed):
    """Several raters' labels: one column of the table for each, and the agreement they must reach.

    `gold` is the column with the known answer of the items that test the raters; it is empty elsewhere.
    """

    raters: list[str] = Field(min_length=2)
    agreement_at_least: Share = 0.67
    gold: str | None = None


class Selection(Closed):
    """What `prepare` measures before training: the gain of each column, and of each kind of suspect training row.

    Columns are only measured, because a plan says what a model reads. Rows of a kind that is proved to harm are left
    out of training with `apply`, and only counted with `measure`.
    """

    columns: bool = False
    rows: Literal["off", "measure", "apply"] = "off"


class Procured(Closed):
    """One part of the data, where it is from and why; `share` is of the rows, `cost` in the economics' currency."""

    kind: Literal["own", "bought", "open", "synthetic"]
    share: Share
    cost: float = Field(default=0.0, ge=0)
    reason: str


class Data(Closed):
    """Where the data is; `table`, `images` and `corrections` are relative to `source`, and `source` to the plan.

    `source` is a folder or an fsspec address such as s3://bucket/folder. `table` is a file, or a folder whose files are
    one table, with the columns that folders such as `region=eu` name. A folder with one subfolder for each class, or
    with a metadata.csv, .jsonl or .parquet beside its pictures, needs only `images`; with a table, `image` names the
    column that holds each row's file. `rules` compare two columns of a row, such as `weight <= capacity`.

    Rows with the same `group`, rows of one `entity`, rows with equal inputs and nearly equal pictures stay together in
    one split. They are no independent evidence either: bounds and `n` count what the rows of a group are worth.
    """

    source: str
    table: str | None = None
    images: str | None = None
    image: str = "image"
    label: str = "label"
    entity: str | None = None
    timestamp: str | None = None
    group: str | None = None
    columns: dict[str, ColumnRule] = {}
    rules: list[str] = []
    corrections: str | None = None
    selection: Selection = Selection()
    procurement: list[Procured] = []
    labelling: Labelling | None = None
    licence: Licence
    consent: Consent
    sensitive: list[str] = []

    @model_validator(mode="after")
    def _something_to_read(self) -> Data:
        if self.table is None and self.images is None:
            raise ValueError("name a table, a folder of images, or both")
        return self

    @model_validator(mode="after")
    def _parts_make_the_whole(self) -> Data:
        shares = sum(part.share for part in self.procurement)
        if self.procurement and abs(shares - 1) > 1e-6:
            raise ValueError(f"the shares under procurement sum to {shares:g}; they have to sum to 1")
        return self
