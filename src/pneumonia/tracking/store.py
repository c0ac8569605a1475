"""Where the runs are kept: a database in the repository's root, or what MLFLOW_TRACKING_URI names."""

import logging
import os
import re
import sys
import textwrap
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from alembic.util import CommandError
from filelock import FileLock
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.store.db import utils as mlflow_database
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlLoggedModel, SqlRun
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import create_engine, func, literal, make_url, update
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
    """The URI without user name, password and options, for messages.

    No parser is asked: of a password with / ? # or @ in it, each takes a part for something else.
    """
    if uri.startswith(("sqlite:///", "file:")):  # an @ is in a folder's name
        return uri.partition("?")[0]
    scheme, colon, rest = uri.partition(":")
    address = rest.lstrip("/")
    user, _, place = address.rpartition("@")
    if re.search(r"[?#&]\w+=", user):
        place = "..."  # the @ is in an option, or what looks like options is in a password
    return scheme + colon + "/" * (len(rest) - len(address)) + re.split("[?#]", place)[0]


def experiment_name() -> str:
    """The MLflow experiment that runs go to: MLFLOW_EXPERIMENT_NAME, or `pneumonia`."""
    return os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT


def open_store(root: Path, experiment: str | None = None) -> Store:
    """Open the tracking store, and make it and its experiment where they do not exist yet.

    In a checkout that was copied or moved, what it records from now on goes into its own folder.

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
    """The first cause, in one line: MLflow's own sentence names an address and a stack of retries.

    A word of the address that `shown` leaves out is left out here, too: what cannot be parsed is quoted.
    """
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        error = cause
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    secrets = {word for word in re.split(r"\W+", uri) if word not in shown(uri)}
    text = re.sub(rf"\b({'|'.join(secrets)})\b", "***", str(error)) if secrets else str(error)
    return textwrap.shorten(text, 160, placeholder=" ...") or type(error).__name__


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
    if _is_elsewhere(experiment.artifact_location, root, uri):
        _bring_home(experiment.artifact_location, root, uri)
    return str(experiment.experiment_id)


def _is_elsewhere(location: str, root: Path, uri: str) -> bool:
    """Whether the store came along when a checkout was copied or moved, and names the folder it was in.

    That folder is gone, or is a checkout with a store of its own; any other was chosen by whoever made the
    experiment.
    """
    database = sqlite_path(uri)
    if database is None or database.resolve() != (root / DATABASE).resolve():
        return False
    if not location.startswith("file:"):
        return False
    folder = Path(local_file_uri_to_path(location))
    if folder.name != ARTIFACTS or folder.resolve() == (root / ARTIFACTS).resolve():
        return False
    return not folder.parent.exists() or (folder.parent / DATABASE).exists()


def _bring_home(location: str, root: Path, uri: str) -> None:
    """Let a store that came along keep its artifacts here, where those that it has came along, too.

    MLflow's client sets an experiment's folder when it makes one and never again.
    """
    places = [SqlExperiment.artifact_location]
    if (root / ARTIFACTS).is_dir():
        places += [SqlRun.artifact_uri, SqlLoggedModel.artifact_location]
    home = literal((root / ARTIFACTS).as_uri())
    engine = create_engine(uri)
    with engine.begin() as connection:
        for place in places:
            within = func.substr(place + "/", 1, len(location) + 1) == f"{location}/"
            moved = home + func.substr(place, len(location) + 1)
            connection.execute(update(place.class_).where(within).values({place: moved}))
    engine.dispose()


def _is_server(uri: str) -> bool:
    """Whether a server keeps the artifacts: all but databases, which only know of them."""
    return not uri.startswith(("sqlite", "postgresql", "mysql", "mssql"))
