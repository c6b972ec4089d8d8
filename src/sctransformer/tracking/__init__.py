"""Runs in MLflow: where the store is, and what a run keeps. The registry of models is `sctransformer.registry`.

Importing this package, or the registry, switches MLflow's telemetry off and sets its defaults for a person who waits
at a terminal. That must happen before `mlflow` is imported, so it happens here and nowhere else.
"""

import os

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # MLflow's own defaults retry a server that is down for four minutes; these give up after some seconds.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A uv.lock in the current folder has nothing to do with what a registered model needs.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
