"""The command that makes the parcels."""

from __future__ import annotations

import os

from sextant_examples.output import arguments
from sextant_examples.parcels.table import SHIFTS
from sextant_examples.parcels.write import write_parcels


def main() -> None:
    """Write the parcels into the folder named on the command line."""
    parser = arguments("sextant_examples.parcels", "Draw parcels on a warehouse belt, with their table and measures.")
    parser.add_argument("--rows", type=int, default=6000, help="rows of the table (default: 6000)")
    parser.add_argument("--seed", type=int, default=2026, help="everything follows from it (default: 2026)")
    parser.add_argument("--shift", choices=SHIFTS, default="none", help="a later month, changed (default: none)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count() or 1, help="processes that draw (default: one a core)"
    )
    parser.add_argument("--no-pictures", action="store_true", help="the table and the measures alone, in a second")
    options = parser.parse_args()
    if options.rows < 1 or options.workers < 1 or options.seed < 0:
        parser.error("--rows and --workers are at least 1, --seed at least 0")
    write_parcels(
        options.out,
        rows=options.rows,
        seed=options.seed,
        shift=options.shift,
        workers=options.workers,
        pictures=not options.no_pictures,
    )
    print(f"{options.rows} parcels in {options.out}")


if __name__ == "__main__":
    main()
