"""The label in ZPL II, the language of thermal label printers (Zebra, ZPL II Programming Guide)."""

from __future__ import annotations

from collections.abc import Iterable

from sextant_examples.parcels.label_layout import HEIGHT, WIDTH, Barcode, Box, Element, Text

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 .,:-/%")


def write_label(elements: Iterable[Element]) -> str:
    """Return one label from ^XA to ^XZ, a command a line, in ASCII."""
    head = ["^XA", "^CI28", f"^PW{WIDTH}", f"^LL{HEIGHT}", "^LH0,0"]
    return "\n".join([*head, *(_command(element) for element in elements), "^XZ"]) + "\n"


def field_data(text: str) -> str:
    """Return ^FH and ^FD with the text: every byte of its UTF-8 that could be read as a command is a hex pair."""
    encoded = text.encode("utf-8", "replace")
    return "^FH_^FD" + "".join(chr(byte) if byte in _SAFE else f"_{byte:02X}" for byte in encoded) + "^FS"


def _command(element: Element) -> str:
    place = f"^FO{element.x},{element.y}"
    if isinstance(element, Text):
        reverse = "^FR" if element.inverse else ""
        return f"{place}{reverse}^A0N,{element.size},{element.size}{field_data(element.text)}"
    if isinstance(element, Box):
        line = min(element.line, element.width, element.height) if _is_filled(element) else element.line
        return f"{place}^GB{element.width},{element.height},{line},B,0^FS"
    return _barcode(place, element)


def _is_filled(box: Box) -> bool:
    return 2 * box.line >= min(box.width, box.height)


def _barcode(place: str, barcode: Barcode) -> str:
    """Return ^BC in mode N, whose start character is that of code set B; there, `>` is written `>0`."""
    data = field_data(barcode.data.replace(">", ">0"))
    return f"{place}^BY{barcode.module},3.0,{barcode.height}^BCN,{barcode.height},N,N,N,N{data}"
