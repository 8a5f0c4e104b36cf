"""The `monitor` pipeline: one bounded pass over what the servers logged in a window, run by a schedule.

KFP 2.17 reads annotations as objects, so this file does without `from __future__ import annotations`.
"""

from kfp import dsl

from sextant_pipelines import steps
from sextant_pipelines.stages import uncached


@dsl.pipeline(  # type: ignore[untyped-decorator]
    name="monitor", description="Drift, predictions and quality of one window of logged traffic."
)
def monitor(run_uri: str, run_id: str, window: str = "") -> None:
    """Judge the window, by default the last whole one and labels in the last due; conclude, close whatever happened."""
    with dsl.ExitHandler(uncached(steps.close(run_uri=run_uri)), name="always-close"):
        watched = uncached(steps.monitor(run_uri=run_uri, run_id=run_id, window=window))
        uncached(steps.conclude(run_uri=run_uri).after(watched))
