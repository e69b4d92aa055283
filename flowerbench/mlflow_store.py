"""An MLflow store: made once however many runs start, never blocking for long, its errors told in a line."""

from __future__ import annotations

import getpass
import logging
import os
import re
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from flowerbench import mlflow_pages
from flowerbench.errors import UsageError
from flowerbench.identity import safe_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)

# Unless the user set them. MLflow's own defaults block for four minutes when its server is gone.
SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",  # seconds
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",  # a project of somebody's in the working folder says nothing of a model
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


def create_store(uri: str, experiment: str) -> str:
    """The id of the experiment, made where it is not there yet, as is a local database for it.

    Any number of processes may do so at once. Artifacts of a local database go beside it. Raises UsageError
    for a store or an experiment that cannot be used, and MLflow's own exception when the store is away.
    """
    database = _database(uri)
    # Not under the lock, where others wait.
    load_mlflow()
    try:
        if database is None:
            return _experiment(client(uri), experiment, None)
        database.parent.mkdir(parents=True, exist_ok=True)
        artifacts = (database.parent / "mlruns" / safe_name(experiment)).as_uri()
        with _lock(database, timeout=60):
            return _experiment(client(uri), experiment, artifacts)
    except Exception as error:
        if not _is_mistake(error):
            raise
        raise UsageError(
            f"tracking.uri={without_password(uri)} cannot be used ({reason(error)}): "
            "name a database such as sqlite:///mlflow.db, a server's http address, or null for no tracking"
        ) from error


@contextmanager
def turn(uri: str) -> Iterator[None]:
    """Let the processes that write to a local database take turns: SQLite refuses one that comes between."""
    database = _database(uri)
    with _lock(database, timeout=10) if database else nullcontext():
        yield


def _lock(database: Path, timeout: float) -> FileLock:
    # MLflow's own lock is in the temporary folder, which other machines and jobs do not share.
    return FileLock(database.with_name(f".{database.name}.lock"), timeout=timeout, poll_interval=0.01)


def address(uri: str) -> str:
    """The uri by which a store is known: with no password in it, and from whatever folder."""
    if (database := _database(uri)) is None:
        return without_password(uri)
    mark, options = uri.partition("?")[1:]
    return f"{uri.partition(':')[0]}:///{database.as_posix()}{mark}{options}"


def is_there(uri: str) -> bool:
    """True when the store answers."""
    try:
        client(uri).search_experiments(max_results=1)
    except Exception:
        return False
    return True


def _database(uri: str) -> Path | None:
    """The file of a local store."""
    if uri and not uri.startswith("sqlite"):
        return None
    path = uri.partition(":///")[2].partition("?")[0]
    if path in ("", ":memory:"):
        raise UsageError(f"tracking.uri={uri} names no file: sqlite:///mlflow.db does")
    return Path(path).absolute()


def client(uri: str) -> MlflowClient:
    """A client of the store whose calls, those of a server at least, fail within seconds when it is away."""
    load_mlflow()
    from mlflow import MlflowClient

    return MlflowClient(uri)


def load_mlflow() -> None:
    """Import MLflow, which takes seconds, with our settings: most of them hold from the import on."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow.store.db.utils

    # Ten tries to open a database, its default, take two minutes; there is no setting for it.
    mlflow.store.db.utils.MAX_RETRY_COUNT = 1


def _experiment(store: MlflowClient, name: str, artifacts: str | None) -> str:
    from mlflow.exceptions import MlflowException

    found = store.get_experiment_by_name(name)
    if found is None:
        try:
            tags = mlflow_pages.experiment_tags()
            return str(store.create_experiment(name, artifact_location=artifacts, tags=tags))
        except MlflowException as error:
            # Another process was faster.
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = store.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        raise UsageError(
            f"tracking.experiment={name} was deleted in MLflow: bring it back with "
            f"`mlflow experiments restore --experiment-id {found.experiment_id}`, or name another experiment"
        )
    if mlflow_pages.KIND not in found.tags:  # it was made elsewhere: what it says of itself stays
        for key, value in mlflow_pages.experiment_tags().items():
            if key not in found.tags:
                store.set_experiment_tag(found.experiment_id, key, value)
    return str(found.experiment_id)


def _is_mistake(error: Exception) -> bool:
    """True when waiting would not help: the store cannot be meant, or cannot be used as it is."""
    if isinstance(error, ImportError | PermissionError | FileNotFoundError | NotADirectoryError):
        return True
    told = (
        "out-of-date database schema",
        "not a database",
        "unable to open database file",
        "Can't load plugin",
    )
    refused = getattr(error, "error_code", None) == "INVALID_PARAMETER_VALUE"
    return refused or any(words in str(error) for words in told)


def warn(uri: str, error: Exception) -> None:
    """Tell what MLflow raised."""
    log.warning("MLflow at %s: %s; going on, the run folder has everything", without_password(uri), reason(error))


def reason(error: BaseException) -> str:
    """What went wrong, in one short line."""
    text = without_password(" ".join(str(error).split()))
    # What the network said comes last, after what each layer of MLflow's client added.
    if "Caused by" in text:
        text = text.rpartition(": ")[2].strip("\"')")
    return textwrap.shorten(text, 220, placeholder="…") or type(error).__name__


def without_password(text: str) -> str:
    """The text with the user and password taken out of every address in it."""
    return re.sub(r"://[^/@\s]*@", "://***@", text)


def source_tags() -> dict[str, str]:
    """Who runs what, in the tags where MLflow's pages look for it."""
    found = {"mlflow.source.name": "flowerbench.train", "mlflow.source.type": "LOCAL"}
    try:
        found["mlflow.user"] = getpass.getuser()
    except (KeyError, OSError, ImportError):
        log.debug("this system has no name for the user")
    try:
        git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=2, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return found
    return found | ({"mlflow.source.git.commit": git.stdout.strip()} if git.returncode == 0 else {})
