"""Processor, memory, disk, network and GPUs of this machine while a run trains, as MLflow measures them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from sctransformer.tracking.store import tracking_uri

SECONDS = 5.0
"""Between two samples."""


@contextmanager
def system_metrics(run_id: str) -> Iterator[None]:
    """Log `system/...` to the run while the block lasts; what cannot be logged is left out without a word."""
    logging.getLogger("mlflow.system_metrics.system_metrics_monitor").setLevel(logging.ERROR)
    monitor = SystemMetricsMonitor(
        run_id, sampling_interval=SECONDS, samples_before_logging=1, resume_logging=True, tracking_uri=tracking_uri()
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
