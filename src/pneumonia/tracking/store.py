"""Where the runs are kept: a database in the repository's root, or what MLFLOW_TRACKING_URI names."""

import logging
import os
import sys
import textwrap
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from alembic.util import CommandError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as mlflow_database
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

EXPERIMENT = "pneumonia"
DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"

LOCK_SECONDS = 60
"""Setting up a new database takes one process about 2 seconds, and up to eight of them queue for it."""


@dataclass(frozen=True, slots=True)
class Store:
    """An open tracking store and the experiment in it that the runs belong to."""

    client: MlflowClient
    experiment_id: str


def repository_root(checkout: Path) -> Path:
    """Root of the original repository: DVC_ROOT, which DVC sets for its stages; else the checkout itself.

    In `dvc exp run --temp` and `--queue` the checkout is a copy that is deleted afterwards.
    """
    return Path(os.environ.get("DVC_ROOT") or checkout).resolve()


def tracking_uri(root: Path) -> str:
    """URI of the tracking store: MLFLOW_TRACKING_URI, or the database in `root`.

    A relative SQLite path counts from `root`, not from the working directory, which may be a temporary copy.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{DATABASE}"
    path = sqlite_path(uri)
    return uri if path is None or path.is_absolute() else sqlite_uri(root / path)


def sqlite_uri(path: Path) -> str:
    """URI of an SQLite database as SQLAlchemy reads it.

    Only what it would take for syntax is escaped: MLflow makes the parent folder from the URI as it stands.
    """
    return "sqlite:///" + path.as_posix().replace("%", "%25").replace("?", "%3F")


def sqlite_path(uri: str) -> Path | None:
    """Path in the URI of an SQLite database file; None for all other stores."""
    if not uri.startswith("sqlite:///"):
        return None
    database = make_url(uri).database
    return Path(database) if database and database != ":memory:" else None


def shown(uri: str) -> str:
    """The URI without user name and password, for messages."""
    try:
        parts = urlsplit(uri)
    except ValueError:
        return "an address that is none"
    return uri.replace(f"{parts.netloc}", parts.netloc.rpartition("@")[2], 1) if parts.netloc else uri


def experiment_name() -> str:
    """The MLflow experiment that runs go to: MLFLOW_EXPERIMENT_NAME, or `pneumonia`."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def open_store(root: Path, experiment: str | None = None) -> Store:
    """Open the tracking store, and make it and its experiment where they do not exist yet.

    Args:
        root: of the original repository; absolute.
        experiment: the MLflow experiment; None: `experiment_name()`.

    Raises:
        failures(): the store cannot be opened.
    """
    uri = tracking_uri(root)
    with _alone(uri):
        client = _connect(uri)
        experiment_id = _experiment(client, root, uri, experiment or experiment_name())
    return Store(client, experiment_id)


def find_store(root: Path) -> Store | None:
    """Open the tracking store to read it; None where there is no database or no experiment yet.

    Args:
        root: of the original repository; absolute.

    Raises:
        failures(): the store cannot be opened.
    """
    uri = tracking_uri(root)
    path = sqlite_path(uri)
    if path and not path.exists():
        return None
    with _alone(uri):
        client = _connect(uri)
        experiment = client.get_experiment_by_name(experiment_name())
    return Store(client, str(experiment.experiment_id)) if experiment else None


def failures() -> tuple[type[Exception], ...]:
    """Everything that a store which is down, full, broken or misconfigured raises through MLflow.

    Connections, time-outs, files and locks raise OSError; a missing driver or cloud library ImportError; an
    address that is none ValueError; the cloud libraries' own errors come on top where the process has loaded
    them.
    """
    clouds = {
        "botocore.exceptions": ("BotoCoreError", "ClientError"),
        "boto3.exceptions": ("Boto3Error",),
        "google.api_core.exceptions": ("GoogleAPIError",),
        "azure.core.exceptions": ("AzureError",),
    }
    loaded = [(sys.modules[module], names) for module, names in clouds.items() if module in sys.modules]
    return (
        MlflowException,
        SQLAlchemyError,
        CommandError,
        OSError,
        ImportError,
        ValueError,
        *(getattr(module, name) for module, names in loaded for name in names),
    )


def _alone(uri: str) -> AbstractContextManager[object]:
    """Two processes that set up a new SQLite database at once break its schema for good."""
    path = sqlite_path(uri)
    return FileLock(f"{path}.lock", timeout=LOCK_SECONDS) if path else nullcontext()


def reason(error: BaseException) -> str:
    """The first cause, in one line: MLflow's own sentence names an address and a stack of retries."""
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    return textwrap.shorten(str(error), 160, placeholder=" ...") or type(error).__name__


def _connect(uri: str) -> MlflowClient:
    # What MLflow logs as an error it also raises; here a sentence is made of it, there a traceback.
    for name, level in (
        ("mlflow", logging.CRITICAL),
        ("alembic", logging.WARNING),
        ("urllib3", logging.ERROR),
    ):
        logging.getLogger(name).setLevel(level)
    # MLflow's ten attempts with doubling pauses are 100 seconds for a database that is down.
    mlflow_database.MAX_RETRY_COUNT = 3
    return MlflowClient(tracking_uri=uri)


def _experiment(client: MlflowClient, root: Path, uri: str, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        location = None if _is_server(uri) else (root / ARTIFACTS).as_uri()
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            # Another client of the server was quicker.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    return str(experiment.experiment_id)


def _is_server(uri: str) -> bool:
    """Whether a server keeps the artifacts: all but databases, which only know of them."""
    return not uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))
