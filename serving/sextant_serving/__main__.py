"""`python -m sextant_serving`."""

from __future__ import annotations

import sys

from sextant_serving.allocator import start_with_huge_pages

if __name__ == "__main__":
    start_with_huge_pages()
    from sextant_serving.server import main

    sys.exit(main())
