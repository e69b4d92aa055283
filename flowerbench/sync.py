"""The command `python -m flowerbench.sync`: what MLflow missed while it was away, sent to it now."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from flowerbench.errors import FAILED, Parser, UsageError, leave_politely
from flowerbench.history import read_history
from flowerbench.messages import ending, message, metrics
from flowerbench.mlflow_notes import of_run
from flowerbench.outbox import JOURNAL, Outbox


@dataclass(frozen=True)
class Found:
    """What became of a journal: how much was sent, whether it is a process's still, and what kept the rest back."""

    folder: Path
    sent: int = 0
    is_running: bool = False
    trouble: str | None = None


def deliver_below(folder: Path, uris: Sequence[str]) -> Iterator[Found]:
    """Deliver every journal in the folder that has something left; a run whose process died without an end gets one.

    `uris` are those of stores that may have passwords, which a journal does not hold.
    """
    away: dict[str, str] = {}
    for file in sorted(folder.rglob(JOURNAL), key=lambda file: file.parent):
        box = Outbox(file.parent)
        if not box.messages or (box.next is None and box.is_ended):
            continue
        if not box.own(timeout=0):
            yield Found(file.parent, is_running=True)
            continue
        try:
            if box.messages:
                yield _deliver(box, uris, away)
        finally:
            box.release()


def _deliver(box: Outbox, uris: Sequence[str], away: dict[str, str]) -> Found:
    from flowerbench import delivery, mlflow_store

    if not box.is_ended:
        _end(box, "KILLED", "its process was killed")
    waiting, store = len(box.waiting), box.about_run[0]["uri"]
    uri = with_password(box, uris)
    trouble = away.get(store)
    if uri is None:
        trouble = f"set MLFLOW_TRACKING_URI to {store} with its password"
    elif trouble is None:
        try:
            delivery.deliver(box, uri)
        except Exception as error:
            trouble = f"MLflow at {store}: {mlflow_store.reason(error)}"
            # Each other run would wait as long for the same answer.
            if not mlflow_store.is_there(uri):
                away[store] = trouble
    return Found(box.folder, waiting - len(box.waiting), trouble=trouble)


def end(folder: Path, status: str, reason: str) -> None:
    """Note in a run's journal, if it has one without an end, how it ended; sent with the next delivery."""
    box = Outbox(folder)
    if box.own(timeout=10):
        try:
            if box.messages and not box.is_ended:
                _end(box, status, reason)
        finally:
            box.release()


def _end(box: Outbox, status: str, reason: str) -> None:
    """Give a run the end that its process could not, with the epochs that it could not tell of."""
    last = box.messages[-1]["time"]
    told = {said["step"] for said in box.about_run if said["do"] == "epoch"}
    for row in read_history(box.folder / "history.csv"):
        if (step := int(row["epoch"])) not in told:
            box.add(message("epoch", step=step, metrics=metrics(row.__getitem__)) | {"time": last})
    if box.about_run[0]["tags"].get("flowerbench.kind") == "sweep":
        said = [message("end", status=status)]
    else:
        said = ending(of_run(box.about_run, box.folder, status, reason), status, reason)
    box.add(*(line | {"time": last} for line in said))


def with_password(box: Outbox, uris: Sequence[str]) -> str | None:
    """The uri of a journal's store as it was given: among `uris`, in the environment or in the folder's config."""
    from omegaconf import OmegaConf

    from flowerbench import mlflow_store

    store: str = box.about_run[0]["uri"]
    if "://***@" not in store:
        return store
    known = [*uris, os.environ.get("MLFLOW_TRACKING_URI")]
    for file in (box.folder / ".hydra" / "config.yaml", box.folder / "multirun.yaml"):
        if file.is_file():
            known.append(OmegaConf.select(OmegaConf.load(file), "tracking.uri"))
    return next((uri for uri in known if uri and mlflow_store.without_password(uri) == store), None)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m flowerbench.sync",
        description="Send MLflow what it missed while it was away, from the journals in the run folders. Runs that "
        "were killed are ended there as KILLED; those still running are left to themselves.",
    )
    parser.add_argument(
        "folders",
        nargs="*",
        type=Path,
        metavar="FOLDER",
        help="a run, a sweep, or what holds them (default: ./multirun and ./outputs)",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Send what is left, with a line for each run that had something; exit code 1 when something remains."""
    with leave_politely():
        asked: list[Path] = _parser().parse_args(arguments).folders
        for folder in asked:
            if not folder.is_dir():
                raise UsageError(f"{folder} is no folder: name one that holds runs")
        folders = asked or [folder for folder in (Path("multirun"), Path("outputs")) if folder.is_dir()]
        founds = []
        for folder in folders:
            for found in deliver_below(folder, []):
                print(_line(found), flush=True)
                founds.append(found)
        running, left = sum(found.is_running for found in founds), sum(bool(found.trouble) for found in founds)
        print(f"{len(founds) - running - left} runs brought up to date, {left} not, {running} still running")
    if left:
        sys.exit(FAILED)


def _line(found: Found) -> str:
    if found.is_running:
        return f"{found.folder}: still running, it sends by itself"
    sent = f"{found.folder}: {found.sent} messages sent"
    return f"{sent}, the rest is kept ({found.trouble})" if found.trouble else sent


if __name__ == "__main__":
    main()
