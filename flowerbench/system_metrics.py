"""How busy the machine of a run is, as MLflow's own monitors measure it: the section system/ of a run's page."""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import Any

from flowerbench import mlflow_store
from flowerbench.errors import one_line
from flowerbench.messages import Message, message

log = logging.getLogger(__name__)

# Between samples, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise.
_SECONDS = 10


class Machine:
    """Samples of CPU, memory, disk, network and, where pynvml finds some, GPUs of this machine.

    A thread takes them and sends nothing, so that no store that is away holds it up, or a run; `taken` hands them on.
    """

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._samples: deque[Message] = deque()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._measure, name="system metrics", daemon=True)

    def start(self) -> None:
        """Begin; the first sample is of step `steps`, as many as there are of an earlier process of the run."""
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample, and end."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)  # seconds: a disk may not answer

    def taken(self) -> list[Message]:
        """What was measured since the last call, a line of the journal for each sample."""
        return [self._samples.popleft() for _ in range(len(self._samples))]

    def _measure(self) -> None:
        try:
            monitors, seconds = _monitors()
            for monitor in monitors:
                monitor.collect_metrics()  # the use of a CPU is that since the last time
                monitor.clear_metrics()
            is_last = False
            while not is_last:
                is_last = self._is_over.wait(seconds)
                values: dict[str, float] = {}
                for monitor in monitors:
                    monitor.collect_metrics()
                    values |= monitor.aggregate_metrics()
                    monitor.clear_metrics()
                metrics = {f"system/{name}": float(value) for name, value in values.items()}
                self._samples.append(message("system", step=self._steps, metrics=metrics))
                self._steps += 1
        except Exception as error:
            log.warning("No system metrics from here on: %s", one_line(error))


def _monitors() -> tuple[list[Any], float]:
    """MLflow's monitors, and the seconds between their samples.

    Its SystemMetricsMonitor would ask the store for the run before each sample, and end for good when it is away.
    """
    mlflow_store.load_mlflow()
    from mlflow.environment_variables import MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
    from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
    from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
    from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

    monitors = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
    try:
        monitors.append(GPUMonitor())
    except Exception as error:
        log.debug("no GPU is measured: %s", error)
    return monitors, MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL.get() or _SECONDS
