"""Use of CPU, memory, disk, network and GPUs during training, measured by MLflow."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from sctransformer.tracking.location import tracking_uri

INTERVAL_SECONDS = 5.0
"""Time between two samples."""


@contextmanager
def system_metrics(run_id: str) -> Iterator[None]:
    """Log `system/...` to the run while the block lasts; values that cannot be logged are dropped silently."""
    logging.getLogger("mlflow.system_metrics.system_metrics_monitor").setLevel(logging.ERROR)
    monitor = SystemMetricsMonitor(
        run_id,
        sampling_interval=INTERVAL_SECONDS,
        samples_before_logging=1,
        resume_logging=True,
        tracking_uri=tracking_uri(),
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
