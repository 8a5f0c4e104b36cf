"""`python -m sextant_serving`."""

from __future__ import annotations

import sys

from sextant_serving.server import main

if __name__ == "__main__":
    sys.exit(main())
