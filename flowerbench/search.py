"""A search's study in its database, and the run that is a trial of it: it reports its epochs, and may be stopped early.

The loop that asks for trials is `hydra_plugins/flowerbench/optuna_sweeper.py`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from flowerbench.errors import Pruned, UsageError
from flowerbench.mlflow_store import reason, without_password
from flowerbench.search_space import made

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from flowerbench.config import Search
    from flowerbench.history import Row

log = logging.getLogger(__name__)

# Seconds between two signs of life of a trial, and from the last one until it is given to another driver.
BEAT, GRACE = 5, 30
# What a trial and a study are told about themselves.
PRUNED, PRUNER, SETTINGS = "flowerbench.pruned", "flowerbench.pruner", "flowerbench.settings"


def reporter(
    search: Search, epochs: int, ends: Callable[[Sequence[Row]], object] = lambda rows: None
) -> Callable[[Row], None]:
    """What to call after each of `epochs` epochs, with its row of history.csv; it raises Pruned to stop the run there.

    `ends` tells whether a run is over after the epochs whose rows it is given: nothing is left to stop then.

    Without a trial it does nothing. A storage that goes away costs a warning, and nothing else.
    """
    if search.trial is None:
        return lambda row: None
    assert search.storage
    assert search.study
    storage = open_storage(search.storage)
    import optuna
    from hydra.utils import instantiate
    from sqlalchemy.exc import SQLAlchemyError

    try:
        study_id = storage.get_study_id_from_name(search.study)
        trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, search.trial)
    except KeyError:
        raise UsageError(
            f"trial {search.trial} of study {search.study} is not in {without_password(search.storage)}: "
            "machines that search together need one storage, such as postgresql+psycopg2://…"
        ) from None
    pruner = instantiate(storage.get_study_user_attrs(study_id)[PRUNER])
    study = optuna.load_study(study_name=search.study, storage=storage, pruner=pruner)

    has_warned = False
    rows: list[Row] = []

    def report(row: Row) -> None:
        nonlocal has_warned
        epoch = int(row["epoch"])
        rows.append(row)
        try:
            storage.set_trial_intermediate_value(trial_id, epoch, row["val_accuracy"])
            # After the last epoch there is nothing left to save.
            if epoch >= epochs or ends(rows) or not pruner.prune(study, storage.get_trial(trial_id)):
                return
            why = f"pruned after epoch {epoch} of {epochs}"
            storage.set_trial_user_attr(trial_id, PRUNED, why)
        except (optuna.exceptions.OptunaError, SQLAlchemyError) as error:
            if not has_warned:
                log.warning("the search does not hear of epoch %d (%s); going on", epoch, root(error))
            has_warned = True
            return
        raise Pruned(why)

    return report


def open_storage(url: str) -> RDBStorage:
    """Optuna's storage in a database, made where it is not there yet; any number of processes may do so at once.

    Raises UsageError where it cannot be used.
    """
    try:
        import optuna
        from sqlalchemy.exc import DBAPIError
    except ImportError:
        raise UsageError("a search needs Optuna: in the checkout, pip install '.[optuna]'") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    # We keep the sign of life ourselves, as the loop over trials is ours.
    warnings.filterwarnings("ignore", "Heartbeat of storage is supposed")
    is_file, tries = url.startswith("sqlite"), 4
    while True:
        tries -= 1
        try:
            return optuna.storages.RDBStorage(
                url,
                engine_kwargs={"connect_args": {"timeout": 60}} if is_file else {"pool_pre_ping": True},
                heartbeat_interval=BEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )
        except Exception as error:
            # Two that make the tables of a new database at once are in each other's way, but not twice.
            if tries and isinstance(error, DBAPIError):
                time.sleep(random.uniform(0.2, 1))
                continue
            raise UsageError(
                f"hydra.sweeper.storage={without_password(url)} cannot be used ({root(error)}): "
                "name a database such as sqlite:///optuna.db or postgresql+psycopg2://user:password@host/name"
            ) from error


def open_study(
    storage: RDBStorage, name: str, direction: Any, sampler: Any, pruner: Any, settings: dict[str, Any]
) -> Study:
    """The study of that name: a new one, or one that goes on. Raises UsageError for a search over other `settings`."""
    import optuna

    parts: dict[str, Any] = {"sampler": made("sampler", sampler), "pruner": made("pruner", pruner)}
    try:
        study = optuna.create_study(study_name=name, storage=storage, direction=direction, **parts)
    except optuna.exceptions.DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage, **parts)
        # Else it would suggest again what the study's first trials were.
        study.sampler.reseed_rng()
        before = study.user_attrs.get(SETTINGS, settings)
        if (before, study.direction.name.lower()) != (settings, direction):
            raise UsageError(f"hydra.sweeper.study_name={name} is a search over other settings: name another") from None
    study.set_user_attr(SETTINGS, settings)
    study.set_user_attr(PRUNER, OmegaConf.to_container(pruner, resolve=True))
    return study


def count_done(trials: Sequence[FrozenTrial]) -> int:
    """The number of trials that count towards n_trials: what failed does not."""
    return sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in trials)


@contextmanager
def signs_of_life(storage: RDBStorage, trials: Sequence[Trial]) -> Iterator[None]:
    """Within the block, tell the storage every few seconds that somebody is at these trials."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            for trial in list(trials):
                try:
                    storage.record_heartbeat(trial._trial_id)
                except Exception as error:
                    log.debug("no sign of life could be given: %s", error)
        storage.remove_session()

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def root(error: BaseException) -> str:
    """What the database said, in one short line: Optuna and SQLAlchemy have wrapped it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return reason(error)
