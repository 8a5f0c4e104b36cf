"""A bundle in this process, without a server: what an exported package calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sextant_plan.bundle import read_bundle
from sextant_serving.engines import check_golden, load_engine
from sextant_serving.errors import BadPicture
from sextant_serving.preprocessing import decode_image, encode_columns

Row = Mapping[str, Any]
PICTURE = "image"


class LocalModel:
    """A loaded bundle. Raises BundleCorrupt if a digest or a golden request differs."""

    def __init__(self, bundle: Path, *, threads: int = 1) -> None:
        self.spec = read_bundle(bundle)
        self._engine = load_engine(bundle, self.spec, threads=threads)
        check_golden(self._engine, bundle, self.spec)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """Return the engine's answers to input tensors, as `BundleSpec.inputs` names them."""
        return self._engine.run(inputs)

    def predict(self, rows: Sequence[Row]) -> list[dict[str, float]]:
        """Return the probability of each class for each row.

        A row has the model's columns by name and, if the model takes one, `image`: the bytes of a JPEG or PNG. Columns
        of a feature store are given like the others. Raises BadPicture and BadColumn.
        """
        if not rows:
            return []
        inputs: dict[str, NDArray[Any]] = {}
        if self.spec.image is not None:
            inputs["image"] = np.stack([decode_image(_picture(row), self.spec.image) for row in rows])
        if self.spec.columns:
            inputs["features"] = encode_columns(rows, self.spec.columns)
        return [dict(zip(self.spec.classes, map(float, answer), strict=True)) for answer in self.run(inputs)]


def _picture(row: Row) -> bytes:
    picture = row.get(PICTURE)
    if not isinstance(picture, bytes):
        raise BadPicture(f"no bytes under `{PICTURE}`")
    return picture
