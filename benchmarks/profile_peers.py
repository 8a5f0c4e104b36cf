"""Profile two tables with one peer, in the peer's own environment: `python profile_peers.py PEER REFERENCE CURRENT`.

Both files are Parquet. Printed is one line of JSON: seconds on the clock and of the processor, reading included and
the import of the peer not, the process's greatest memory in MB, and how many columns the peer calls
drifted with the thresholds that it ships.
"""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable


def evidently(reference_file: str, current_file: str) -> Callable[[], int]:
    """Return Evidently's summary of quality and its drift of each column, by the tests that it chooses."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset, DataSummaryPreset

    def dataset(path: str) -> Dataset:
        frame = pd.read_parquet(path)
        words = [name for name in frame if name.startswith("c")]
        definition = DataDefinition(
            numerical_columns=[name for name in frame if name not in words], categorical_columns=words
        )
        return Dataset.from_pandas(frame, data_definition=definition)

    def profiled() -> int:
        report = Report([DataSummaryPreset(), DataDriftPreset()])
        metrics = report.run(dataset(current_file), dataset(reference_file)).dict()["metrics"]
        return int(next(each["value"]["count"] for each in metrics if "DriftedColumnsCount" in each["metric_name"]))

    return profiled


def nannyml(reference_file: str, current_file: str) -> Callable[[], int]:
    """Return NannyML's drift of each column with its default distance, and its counts of missing and unseen values."""
    import nannyml as nml
    import pandas as pd

    def profiled() -> int:
        reference, current = pd.read_parquet(reference_file), pd.read_parquet(current_file)
        names = list(reference)
        words = [name for name in names if name.startswith("c")]
        drifted = 0
        for calculator in (
            nml.UnivariateDriftCalculator(column_names=names),
            nml.MissingValuesCalculator(column_names=names),
            nml.UnseenValuesCalculator(column_names=words),
        ):
            result = calculator.fit(reference).calculate(current).filter(period="analysis").to_df()
            if isinstance(calculator, nml.UnivariateDriftCalculator):
                drifted = int(result.xs("alert", axis=1, level=-1).any().sum())
        return drifted

    return profiled


PEERS = {"evidently": evidently, "nannyml": nannyml}
warnings.filterwarnings("ignore")

if __name__ == "__main__":
    profiled = PEERS[sys.argv[1]](*sys.argv[2:])
    wall, processor = time.perf_counter(), time.process_time()
    drifted = profiled()
    found = {"seconds": time.perf_counter() - wall, "processor": time.process_time() - processor, "drifted": drifted}
    print(json.dumps(found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
