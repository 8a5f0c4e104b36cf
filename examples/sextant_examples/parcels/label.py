"""The handling label that the server attaches to an answer: for an office printer, and for the one at the belt."""

from __future__ import annotations

from sextant_examples.parcels.label_layout import lay_out
from sextant_examples.parcels.label_png import draw_label
from sextant_examples.parcels.label_zpl import write_label


def render(prediction: dict[str, object], row: dict[str, object]) -> dict[str, bytes | str]:
    """Return `label.png` (4 x 6 inch, one bit a dot) and `label.zpl` (ZPL II) of the same label.

    `prediction` is the server's answer; `row` the request's columns with the features that were looked up.
    What is missing is left out; an abstained answer gives a label that asks for a check by hand.
    """
    elements = lay_out(prediction, row)
    return {"label.png": draw_label(elements), "label.zpl": write_label(elements)}
