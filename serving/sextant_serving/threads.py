"""A variant's own threads, and when a shadow's gives way to those that somebody waits for."""

from __future__ import annotations

import logging
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

_log = logging.getLogger(__name__)

LOWEST = 19  # the nice value of some 1.5 % of a core that a thread of nice value 0 wants too
# A batch holds the interpreter's lock for an estimated 0.2 ms. Descheduled meanwhile it would hold everybody up,
# so only one that computes far longer without the lock may be.
LONG_SECONDS = 0.002


@dataclass(frozen=True)
class Threads:
    """A variant's own threads, so that none waits for another's device or store."""

    device: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "device"))
    lookup: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "lookup"))

    def give_way(self, batch_seconds: float) -> None:
        """Give the device thread the lowest priority for good, if batches take it so long on the processor."""
        if batch_seconds >= LONG_SECONDS:
            self.device.submit(_lower_priority)

    def stop(self) -> None:
        """Let what is running end and begin nothing else."""
        for executor in (self.device, self.lookup):
            executor.shutdown(wait=False, cancel_futures=True)


def _lower_priority() -> None:
    """Lower the calling thread's priority, and that of threads which it will start; Linux alone has one a thread."""
    if sys.platform != "linux":
        return
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOWEST)
    except OSError as error:  # a sandbox may forbid it, which is no reason to have no shadow
        _log.warning("a shadow's thread keeps its priority: %s", error.strerror)
