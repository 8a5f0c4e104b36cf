"""The prediction log: what one row of it says, so that whoever reads the files and whoever writes them agree.

The files are Parquet, one row a predicted row; a label is joined later by `prediction_id`. Inputs that the plan's
`serving.log` names follow as `input.NAME`: as they were read, or as a keyed digest.
"""

from __future__ import annotations

from typing import Literal

PREDICTION_LOG = "predictions"
"""The folder of the files in a folder of logs."""

Assignment = Literal["only", "unit", "chance", "header", "mirror"]
"""Why a variant answered: `only` no experiment ran, `unit` sticky by the unit, `chance` the request named no unit,
`header` the request named the variant, `mirror` nobody was answered: a copy went to a shadow."""

COLUMNS: dict[str, Literal["time", "text", "number", "flag"]] = {
    "time": "time",  # of the answer, UTC
    "prediction_id": "text",
    "model": "text",
    "version": "text",
    "variant": "text",
    "assignment": "text",
    "label": "text",  # null where the model abstained; a number in a regression
    "probability": "number",  # of the most probable class; not a number in a regression
    "abstained": "flag",
    "fallback": "text",  # the reason, null without one
    "seconds": "number",  # from the request's last byte to its answer; equal for the rows of a request
}

INPUT_PREFIX = "input."
PICTURE_MEASURES = ("picture.darkest", "picture.brightest", "picture.spread", "picture.sharpness")
"""Numbers of a picture's grey thumbnail, where `serving.log.pictures` asks for them: the levels (0-255) that a
hundredth of its pixels lie below and above, their standard deviation, and its Laplacian's variance over its own."""
SCHEMA_KEY, SCHEMA_VERSION = b"sextant.prediction_log", b"1"
"""The key and value in every file's metadata."""
