"""MLflow, a copy of what the run folders hold: told of every epoch, in a journal first, so that it may be away."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import messages, mlflow_notes, mlflow_pages, mlflow_store
from flowerbench.errors import Pruned, RunError, UsageError, one_line
from flowerbench.mlflow_store import without_password
from flowerbench.outbox import Outbox
from flowerbench.tracker import Tracker

if TYPE_CHECKING:
    from flowerbench.config import Tracking

log = logging.getLogger(__name__)

# What `flowerbench.sync` may take with a journal before it is a mistake to want it.
_PATIENCE = 10


@contextmanager
def run(
    tracking: Tracking,
    *,
    params: Mapping[str, Any],
    name: str,
    folder: Path,
    sweep: Path | None = None,
    tags: Mapping[str, Any] | None = None,
) -> Iterator[Tracker]:
    """One run in MLflow, child of the sweep's of the folder `sweep`; what leaves the block is its end, and goes on.

    `params` is the flat config. A folder that has a journal for the same experiment goes on with its run. At the end
    the files of the folder follow, and figures drawn from them. Raises UsageError for a store that cannot be used;
    one that is away costs a warning, and what it missed is sent later.
    """
    if tracking.uri is None:
        yield Tracker()
        return
    above = None if sweep is None else os.path.relpath(sweep, folder)
    opening = [messages.start(tracking, name, tags or {}, above), *messages.params(params)]
    tracker = Tracker(_owned(folder), tracking.uri, opening)
    try:
        tracker.begin()
        if tracking.system_metrics:
            tracker.measure()
        yield tracker
        tracker.end("FINISHED", has_model=tracking.log_model)
    except Pruned as error:
        tracker.end("KILLED", one_line(error))
        raise
    except Exception as error:
        trace = "".join(traceback.format_exception(error))
        tracker.end("FAILED", one_line(error), trace, is_bug=not isinstance(error, UsageError | RunError))
        raise
    except BaseException:
        tracker.end("KILLED")
        raise
    finally:
        tracker.release()


# The journals of the sweeps that this process drives.
_driven: dict[Path, Outbox] = {}


def start_sweep(tracking: Tracking, folder: Path, name: str, points: int, varying: Sequence[str] = ()) -> str | None:
    """Start the run whose children are the sweep's runs, or go on with it; its id, if it has one. Raises as `run`.

    It is called after the keys that the sweep varies, and by its name.
    """
    if tracking.uri is None:
        return None
    about = {"flowerbench.kind": "sweep", "flowerbench.sweep": name, "flowerbench.points": points}
    about |= {"flowerbench.varying": ",".join(varying), "flowerbench.folder": folder.absolute().as_posix()}
    title = f"{', '.join(varying)[:100]} ({name})" if varying else name
    box = _driven.get(folder.absolute()) or _owned(folder)
    sweep = Tracker(box, tracking.uri, [messages.start(tracking, title, about, None)])
    try:
        sweep.begin()
    except BaseException:
        sweep.release()
        raise
    _driven[folder.absolute()] = box
    return sweep.run_id


def finish_sweep(tracking: Tracking, folder: Path, note: str, status: str) -> str | None:
    """Give the sweep's run its note, in Markdown, its end and its report; then send what is left below the folder.

    `status` is FINISHED, FAILED or KILLED. Runs that are still in a process are left to it. Returns where MLflow's
    pages show the sweep's run, unless they lack something.
    """
    if tracking.uri is None:
        return None
    from flowerbench import sync

    box = _driven.pop(folder.absolute(), None) or _owned(folder)
    if box.is_for(mlflow_store.address(tracking.uri), tracking.experiment):
        text = mlflow_notes.fitting(without_password(note), _REST)
        box.add(*messages.ending(text, status))
    box.release()
    missing = [found.trouble for found in sync.deliver_below(folder, [tracking.uri]) if found.trouble]
    if missing:
        say = "MLflow lacks something of %d runs of this sweep (%s); send it with: python -m flowerbench.sync %s"
        log.warning(say, len(missing), missing[0], folder)
        return None
    return _page(tracking.uri, Outbox(folder).run_id)


_REST = "*This note holds no more: the rest is in the report, among the artifacts.*"


def _page(uri: str, run_id: str | None) -> str | None:
    if run_id is None:
        return None
    try:
        experiment = mlflow_store.client(uri).get_run(run_id).info.experiment_id
    except Exception as error:
        log.debug("no address of run %s: %s", run_id, mlflow_store.reason(error))
        return None
    return mlflow_pages.address(without_password(uri), experiment, run_id)


def _owned(folder: Path) -> Outbox:
    box = Outbox(folder)
    if not box.own(_PATIENCE):
        raise UsageError(f"{folder} is in use by another process: wait for its end, or name another folder")
    return box
