"""The handling label: what a scanner and a printer read from it is what was predicted, whatever the id holds."""

from __future__ import annotations

import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sextant_examples.parcels.code128 import widths
from sextant_examples.parcels.label import render
from sextant_examples.parcels.label_layout import LONGEST_CODE, code_for
from sextant_examples.parcels.label_zpl import field_data

PREDICTION: dict[str, object] = {
    "label": "electronics",
    "probability": 0.973,
    "probabilities": {"electronics": 0.973, "toy-box": 0.02, "book": 0.007},
    "abstained": False,
    "fallback": None,
    "prediction_id": "p-1",
}
ROW: dict[str, object] = {"parcel_id": "P-001234", "supplier": "birchway", "price": 129.9, "weight_g": 1480.0}
HOSTILE = ["P^XZ^XA^FDowned", "~JA", "P_5E", "P\n^FS", "\\&", ">0>:>;", "漢字é", "x" * 10_000, "\ud800", "\x00", ""]

# The bar and space widths of code set B by character, transcribed apart from the encoder and in another form:
# bit patterns of eleven modules of the first and last characters and of digits and capitals, 1 for a bar.
KNOWN_PATTERNS = {
    " ": "11011001100",
    "-": "10011011100",
    "0": "10011101100",
    "1": "10011100110",
    "2": "11001110010",
    "9": "11100101100",
    "A": "10100011000",
    "P": "11101110110",
    "Z": "11101100010",
    "a": "10010110000",
    "~": "10001011110",
}
START_B, STOP = "11010010000", "1100011101011"


def _scan(png: bytes) -> str:
    """Return the modules along the middle of the barcode, 1 for black, as a scanner would sample them."""
    page = np.asarray(Image.open(io.BytesIO(png)).convert("L"))
    line = page[950] < 128
    black = np.flatnonzero(line)
    dots = line[black[0] : black[-1] + 1]
    edges = np.flatnonzero(np.diff(dots.astype(int))) + 1
    runs = np.diff([0, *edges, len(dots)])
    module = int(min(runs))
    assert (runs % module == 0).all()
    return "".join(("1" if place % 2 == 0 else "0") * int(run // module) for place, run in enumerate(runs))


def _decode(modules: str) -> str:
    """Decode code set B by the check character and the definition that a symbol has three bars and three spaces."""
    assert modules.startswith(START_B)
    assert modules.endswith(STOP)
    body = modules[len(START_B) : -len(STOP)]
    symbols = [body[start : start + 11] for start in range(0, len(body), 11)]
    table = _table()
    values = [table[symbol] for symbol in symbols]
    *data, check = values
    assert check == (104 + sum(place * value for place, value in enumerate(data, start=1))) % 103
    return "".join(chr(value + 32) for value in data)


def _table() -> dict[str, int]:
    """Return value by bit pattern, read off one-character symbols and held against the transcribed patterns.

    Check characters also take values that no character has; longer symbols show those.
    """
    table: dict[str, int] = {}
    for value in range(95):
        for spaces in range(4):
            bits = _bits(" " * spaces + chr(value + 32))
            data, check = bits[-13 - 22 : -13 - 11], bits[-13 - 11 : -13]
            assert table.setdefault(data, value) == value
            assert table.setdefault(check, (104 + (spaces + 1) * value) % 103) == (104 + (spaces + 1) * value) % 103
    for character, pattern in KNOWN_PATTERNS.items():
        assert table[pattern] == ord(character) - 32
    return table


def _bits(text: str) -> str:
    return "".join(("1" if place % 2 == 0 else "0") * width for place, width in enumerate(widths(text)))


def test_every_symbol_has_eleven_modules_and_its_own_even_pattern() -> None:
    """ISO/IEC 15417: three bars and three spaces a character, an even number of black modules."""
    table = _table()
    assert len(table) == 103
    assert all(len(symbol) == 11 and symbol.count("1") % 2 == 0 for symbol in table)
    assert all(re.fullmatch("1+0+1+0+1+0+", symbol) for symbol in table)


@pytest.mark.parametrize("parcel", ["P-001234", "A", "x ~9", "Z" * LONGEST_CODE])
def test_the_printed_barcode_reads_back_as_the_parcel(parcel: str) -> None:
    """A scanner's line through the picture decodes to the id."""
    label = render(PREDICTION, {**ROW, "parcel_id": parcel})["label.png"]
    assert isinstance(label, bytes)
    assert _decode(_scan(label)) == parcel


def test_the_barcode_keeps_its_quiet_zones() -> None:
    """Ten modules of white on either side, for the longest id too."""
    label = render(PREDICTION, {**ROW, "parcel_id": "W" * LONGEST_CODE})["label.png"]
    assert isinstance(label, bytes)
    line = np.asarray(Image.open(io.BytesIO(label)).convert("L"))[950] < 128
    black = np.flatnonzero(line)
    assert min(black[0], len(line) - 1 - black[-1]) >= 20


def test_the_picture_prints_at_four_by_six_inch() -> None:
    """812 x 1218 dots of one bit at 203 dots an inch."""
    label = render(PREDICTION, ROW)["label.png"]
    assert isinstance(label, bytes)
    page = Image.open(io.BytesIO(label))
    assert (page.size, page.mode) == ((812, 1218), "1")
    assert page.info["dpi"] == pytest.approx((203, 203), abs=0.5)


def test_zpl_is_one_format_with_the_parcel_in_its_code_128_field() -> None:
    """The printer gets ^XA to ^XZ, the label's size, and the id in ^BC."""
    zpl = render(PREDICTION, ROW)["label.zpl"]
    assert isinstance(zpl, str)
    lines = zpl.splitlines()
    assert (lines[0], lines[-1]) == ("^XA", "^XZ")
    assert "^PW812" in lines
    assert "^LL1218" in lines
    assert re.search(r"\^BCN,240,N,N,N,N\^FH_\^FDP-001234\^FS", zpl)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("field", ["parcel_id", "supplier"])
def test_hostile_text_cannot_reach_the_printer_as_a_command(field: str, text: str) -> None:
    """Whatever a field holds, the label has the commands that its layout has, and no others."""
    zpl = render(PREDICTION, {**ROW, field: text})["label.zpl"]
    assert isinstance(zpl, str)
    assert zpl.isascii()
    assert len(zpl) < 4000
    usual = render(PREDICTION, ROW)["label.zpl"]
    assert isinstance(usual, str)
    assert _commands(zpl) == _commands(usual)


def _commands(zpl: str) -> list[str]:
    assert "~" not in zpl
    return re.findall(r"\^(?:A0|[A-Z]{2})", zpl)


@given(text=st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_field_data_decodes_to_the_text(text: str) -> None:
    """Undoing the hex pairs gives the text back, and nothing in between can start a command."""
    field = field_data(text)
    assert field.startswith("^FH_^FD")
    assert field.endswith("^FS")
    body = field.removeprefix("^FH_^FD").removesuffix("^FS")
    assert not set(body) & set("^~\n\r\\")
    decoded = re.sub(rb"_([0-9A-F]{2})", lambda pair: bytes([int(pair[1], 16)]), body.encode())
    assert decoded == text.encode("utf-8", "replace")


@pytest.mark.parametrize("parcel", ["x" * (LONGEST_CODE + 1), "é", "a\nb", ""])
def test_an_id_no_barcode_can_hold_becomes_a_reference(parcel: str) -> None:
    """A cut id could be another parcel's; a digest is none's."""
    assert re.fullmatch("X-[0-9A-F]{16}", code_for(parcel))


def test_different_long_ids_get_different_references() -> None:
    """The reference is of the whole id."""
    assert code_for("x" * 40 + "1") != code_for("x" * 40 + "2")


def test_an_abstained_answer_asks_for_a_check_by_hand() -> None:
    """The class is not printed as if it were known."""
    zpl = render({**PREDICTION, "abstained": True}, ROW)["label.zpl"]
    assert isinstance(zpl, str)
    assert "^FDCHECK BY HAND^FS" in zpl
    assert "^FDELECTRONICS^FS" not in zpl
    assert "^FDH0^FS" in zpl


def test_a_class_without_a_handling_code_is_checked_by_hand() -> None:
    """A model with more classes than the warehouse has lanes does not invent one."""
    assert "CHECK BY HAND" in str(render({**PREDICTION, "label": "piano"}, ROW)["label.zpl"])


@pytest.mark.parametrize("row", [{}, {"price": float("nan"), "weight_g": "heavy"}, {"parcel_id": 12, "supplier": None}])
def test_missing_columns_still_give_a_label(row: dict[str, object]) -> None:
    """What is not known is left out; the label is printed."""
    label = render({"label": "mug", "probability": 0.9, "abstained": False}, row)
    assert "^FDMUG^FS" in str(label["label.zpl"])
