"""Code 128, code set B (ISO/IEC 15417): ASCII 32 to 126 as bars and spaces, with the check character."""

from __future__ import annotations

# Bar and space widths, in modules, of the symbol characters 0 to 105: six digits each, a bar first.
_PATTERNS = (
    "212222222122222221121223121322131222122213122312132212221213221312231212112232122132122231113222"
    "123122123221223211221132221231213212223112312131311222321122321221312212322112322211212123212321"
    "232121111323131123131321112313132113132311211313231113231311112133112331132131113123113321133121"
    "313121211331231131213113213311213131311123311321331121312113312311332111314111221411431111111224"
    "111422121124121421141122141221112214112412122114122411142112142211241211221114413111241112134111"
    "111242121142121241114212124112124211411212421112421211212141214121412121111143111341131141114113"
    "114311411113411311113141114131311141411131211412211214211232"
)
_START_B = 104
_STOP = "2331112"
QUIET = 10  # modules of white that a reader needs on either side


def is_encodable(text: str) -> bool:
    """Tell whether the text is not empty and has only characters of code set B."""
    return bool(text) and all(32 <= ord(character) <= 126 for character in text)


def widths(text: str) -> list[int]:
    """Return the widths of bars and spaces in turn, in modules, from the start character's first bar.

    The quiet zones are left to the caller. Raises ValueError for text outside code set B.
    """
    if not is_encodable(text):
        raise ValueError("code set B has the characters from space to ~, at least one of them")
    values = [_START_B, *(ord(character) - 32 for character in text)]
    check = (_START_B + sum(place * value for place, value in enumerate(values))) % 103
    symbols = [*(_PATTERNS[6 * value : 6 * value + 6] for value in (*values, check)), _STOP]
    return [int(width) for symbol in symbols for width in symbol]
