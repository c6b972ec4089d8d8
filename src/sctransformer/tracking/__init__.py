"""Runs in MLflow: the store, writing and reading runs. The registry of models is `sctransformer.registry`.

Importing this package, or the registry, disables MLflow's telemetry and sets defaults for interactive use. This must
happen before `mlflow` is imported, so it happens here and nowhere else.
"""

import os

_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # By default MLflow retries an unreachable server for four minutes; these settings give up after some seconds.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # A uv.lock in the current folder is unrelated to the requirements of a registered model.
    "MLFLOW_UV_AUTO_DETECT": "false",
}
for _name, _value in _DEFAULTS.items():
    os.environ.setdefault(_name, _value)
