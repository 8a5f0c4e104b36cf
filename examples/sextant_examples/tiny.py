"""A few hundred digits of four classes: enough for a whole life cycle in seconds."""

from __future__ import annotations

from sextant_examples.digits import write_digits
from sextant_examples.output import arguments

CLASSES = (0, 1, 4, 7)
ROWS = 480


def main() -> None:
    """Write the first digits of four classes into the folder named on the command line."""
    out = arguments(
        "sextant_examples.tiny", "Write 480 UCI digits of four classes as PNG files and a table."
    ).parse_args()
    print(f"{write_digits(out.out, classes=CLASSES, limit=ROWS)} digits in {out.out}")


if __name__ == "__main__":
    main()
