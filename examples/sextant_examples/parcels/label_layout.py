"""What stands where on a handling label: one layout, which label_png.py draws and label_zpl.py writes.

4 x 6 inch at 203 dots an inch; all places and sizes are dots from the upper left corner.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

from sextant_examples.parcels.code128 import QUIET, is_encodable, widths

WIDTH, HEIGHT, DPI = 812, 1218, 203
MARGIN = 40
LONGEST_CODE = 24  # characters; more do not fit the label at two dots a module
LONGEST_TEXT = 48
SMALL, CAPITAL = 0.54, 0.7  # mean width of a letter, as a share of its height, in both fonts


@dataclass(frozen=True)
class Text:
    """One line of text; `inverse` is white on black."""

    x: int
    y: int
    size: int
    text: str
    inverse: bool = False


@dataclass(frozen=True)
class Box:
    """A rectangle with a line of `line` dots; one as thick as the box is low fills it."""

    x: int
    y: int
    width: int
    height: int
    line: int


@dataclass(frozen=True)
class Barcode:
    """A Code 128 symbol of `module` dots a module."""

    x: int
    y: int
    height: int
    module: int
    data: str


Element = Text | Box | Barcode

# Handling code and instruction of each class.
HANDLING = {
    "bag": ("S1", "Soft: load last, nothing sharp beside it"),
    "book": ("F1", "Flat: stack up to ten"),
    "bottle": ("G2", "Glass, liquid: this side up"),
    "electronics": ("E3", "Fragile: no drop, lithium check"),
    "mug": ("G1", "Fragile: nothing on top"),
    "shoes": ("B1", "Box: stack up to six"),
    "toy-box": ("B2", "Box: stack up to four"),
    "tube": ("L1", "Long: lengthwise on the belt, do not bend"),
}
BY_HAND = ("H0", "The model is not sure: open and key in")


def plain(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return the value as one printable line of at most `longest` characters."""
    line = unicodedata.normalize("NFC", str(value)[: 4 * longest])
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else line[: longest - 3] + "..."


def code_for(parcel: str) -> str:
    """Return what the barcode says: the parcel's id, or a reference to it if no barcode here can hold it.

    A shortened id would be another parcel's, so that the reference is `X-` and 16 hex digits of its SHA-256.
    """
    if is_encodable(parcel) and len(parcel) <= LONGEST_CODE:
        return parcel
    return "X-" + hashlib.sha256(parcel.encode("utf-8", "surrogatepass")).hexdigest()[:16].upper()


def lay_out(prediction: Mapping[str, object], row: Mapping[str, object]) -> list[Element]:
    """Return the label's elements for one prediction and the row it was made for."""
    by_hand = bool(prediction.get("abstained")) or prediction.get("label") not in HANDLING
    guess = str(prediction.get("label"))
    code, instruction = BY_HAND if by_hand else HANDLING[guess]
    parcel = str(row.get("parcel_id") or "")
    elements: list[Element] = [
        Box(0, 0, WIDTH, 170, 170),
        _line(MARGIN, 52, 76, "CHECK BY HAND" if by_hand else guess.upper(), 540, inverse=True),
        _line(650, 38, 100, code, 130, inverse=True),
        _line(MARGIN, 200, 44, instruction),
        Box(MARGIN, 272, WIDTH - 2 * MARGIN, 4, 4),
        _line(MARGIN, 300, 26, "PARCEL"),
        _line(MARGIN, 332, 64, plain(parcel) or "no id"),
    ]
    elements += _facts(row)
    elements += _guesses(prediction, by_hand=by_hand)
    elements += _code(code_for(parcel))
    elements.append(_line(MARGIN, 1166, 22, f"prediction {plain(prediction.get('prediction_id') or 'not logged')}"))
    return elements


def _line(x: int, y: int, size: int, text: str, width: int = WIDTH - 2 * MARGIN, *, inverse: bool = False) -> Text:
    """Return the line, its letters made smaller until it fits the width."""
    letters = sum(CAPITAL if letter.isupper() else SMALL for letter in text) or SMALL
    fitting = int(width / letters)
    return Text(x, y, max(14, min(size, fitting)), text, inverse)


def _facts(row: Mapping[str, object]) -> list[Element]:
    price, weight = _number(row.get("price")), _number(row.get("weight_g"))
    facts = (
        ("SUPPLIER", plain(row.get("supplier") or "-", 14)),
        ("PRICE", "-" if price is None else f"EUR {price:,.2f}"),
        ("WEIGHT", "-" if weight is None else f"{weight / 1000:,.2f} kg"),
    )
    elements: list[Element] = []
    for place, (name, value) in enumerate(facts):
        x = MARGIN + 250 * place
        elements += [_line(x, 430, 26, name), _line(x, 462, 44, value, 232)]
    return elements


def _guesses(prediction: Mapping[str, object], *, by_hand: bool) -> list[Element]:
    """Return the three likeliest classes, each with its probability as a bar."""
    shares = prediction.get("probabilities")
    if not isinstance(shares, Mapping) or not shares:
        shares = {prediction.get("label"): prediction.get("probability")}
    known = {str(name): min(1.0, max(0.0, _number(share) or 0.0)) for name, share in shares.items()}
    ranked = sorted(known.items(), key=lambda item: (-item[1], item[0]))[:3]
    elements: list[Element] = [_line(MARGIN, 548, 26, "NOT SURE BETWEEN" if by_hand else "CONFIDENCE")]
    for place, (name, share) in enumerate(ranked):
        y = 588 + 60 * place
        elements.append(Box(MARGIN, y, 380, 40, 3))
        elements.append(Box(MARGIN, y, max(3, round(380 * share)), 40, 40))
        elements.append(_line(440, y, 34, f"{share:.1%} {plain(name, 20)}", 332))
    return elements


def _code(data: str) -> list[Element]:
    modules = sum(widths(data)) + 2 * QUIET
    module = 3 if 3 * modules <= WIDTH else 2
    x = (WIDTH - module * (modules - 2 * QUIET)) // 2
    return [
        Box(MARGIN, 790, WIDTH - 2 * MARGIN, 4, 4),
        Barcode(x, 830, 240, module, data),
        _line(x, 1088, 48, data, module * (modules - 2 * QUIET)),
    ]


def _number(value: object) -> float | None:
    """Return a finite number, or None for everything else."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9:
        return float(value)
    return None
