"""Ask one detector about windows that lie in a file, and write how often it alerted and how long it took.

Started by `python -m benchmarks.monitoring` in each detector's own environment:
`python measure.py DETECTOR WINDOWS.npz RESULT.json [MOST]`, at most so many windows of a cell. Seconds are of the
processor, over all threads, so that what else a machine does counts for nobody.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from detectors import DETECTORS

MOST_SECONDS = 600.0  # for one table and shift; a slower detector is asked about fewer windows, and the count is told


def main(name: str, windows: str, result: str, most: str = "0") -> int:
    """Measure each table and shift of the file."""
    found = []
    with np.load(windows) as file:
        cells = json.loads(str(file["cells"]))
        for number, cell in enumerate(cells):
            categories = {int(place): int(values) for place, values in file[f"categories-{cell['table']}"]}
            detect = DETECTORS[name](file[f"reference-{cell['table']}"], categories)
            rows = file[f"windows-{number}"][: int(most) or None]
            alerts, asked, begun, spent = 0, 0, time.perf_counter(), time.process_time()
            for window in rows:
                alerts += detect(window)
                asked += 1
                if time.perf_counter() - begun > MOST_SECONDS:
                    break
            seconds = time.process_time() - spent
            found.append({**cell, "detector": name, "alerts": alerts, "windows": asked, "seconds": seconds})
            each = f"{1000 * seconds / asked:.2f} ms"
            print(name, cell["table"], cell["shift"], f"{alerts}/{asked}", each, flush=True)
            Path(result).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
