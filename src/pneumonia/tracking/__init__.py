"""Each run in MLflow: what went in, what came out, and the model.

MLflow reads some of its settings when it is imported, so they are set here, before any module of this package
imports it. A variable that the user has set keeps its value.
"""

import os

_ENVIRONMENT = {
    # A server that does not answer may cost a stage half a minute, not MLflow's quarter of an hour.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    # A server may ask to come back in an hour.
    "MLFLOW_HTTP_RESPECT_RETRY_AFTER_HEADER": "false",
    # Jitter would draw from the random generator of the process that trains.
    "MLFLOW_HTTP_REQUEST_BACKOFF_JITTER": "0",
    # MLflow reports its use to its makers; a hospital has to opt in to that, not out.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

for _name, _value in _ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)
