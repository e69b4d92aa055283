"""The command `python -m flowerbench.report`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flowerbench.errors import Parser, UsageError, leave_politely


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m flowerbench.report",
        description="Compare runs: the settings and their accuracies, and the epochs behind them, in Markdown.",
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a sweep folder, a run folder, or what MLflow knows: an experiment by name or id, a run by id, a sweep "
        "by name; several are joined (default: the newest sweep under ./multirun, else the newest run under ./outputs)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there instead of printing")
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the MLflow store (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)",
    )
    parser.add_argument("--rows", metavar="KEY", help="config key down the table of accuracies, such as optim.lr")
    parser.add_argument("--columns", metavar="KEY", help="config key across it")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the runs, and print or write their report."""
    with leave_politely():
        asked = _parser().parse_args(arguments)
        from flowerbench import report
        from flowerbench.report import frame

        runs = frame.load(*asked.sources, tracking_uri=asked.tracking_uri)
        text = report.markdown(runs, asked.rows, asked.columns)
        if asked.out is None:
            _print(text)
        else:
            _write(asked.out, text)


def _print(text: str) -> None:
    # A console of Windows may know no dash.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; without this, Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _write(file: Path, text: str) -> None:
    from flowerbench import atomic

    try:
        atomic.write_text(file, text)
    except OSError as error:
        raise UsageError(f"--out {file} cannot be written: {error.strerror}") from error


if __name__ == "__main__":
    main()
