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
        description="Compare runs: which settings are better, and whether the difference is real.",
    )
    parser.add_argument(
        "sources",
        nargs="*",
        metavar="SOURCE",
        help="a sweep folder, a run folder, or what MLflow knows: an experiment by name or id, a run by id, a sweep "
        "by name; several are joined (default: the newest sweep under ./multirun, else the newest run under ./outputs)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="PATH",
        help="instead of printing, write a file that ends in .md, .html, .tex, .csv or .json, or a folder with all of "
        "them and the figures",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="the MLflow store (default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db)",
    )
    parser.add_argument(
        "--where", metavar="CONDITIONS", help="only these runs: 'batch_size=16 and epochs>=20', 'status=FINISHED'"
    )
    parser.add_argument(
        "--group-by",
        metavar="KEYS",
        help="config keys that make a setting, separated by commas; runs that agree in them are repeats of it "
        "(default: the keys that vary, but for the seed)",
    )
    parser.add_argument("--rows", metavar="KEY", help="config key down the table of accuracies, such as optim.lr")
    parser.add_argument("--columns", metavar="KEY", help="config key across it")
    parser.add_argument(
        "--epochs",
        default="first,lr-change,best,last",
        metavar="LIST",
        help="the epochs of each run to show: first, lr-change, best, last, or numbers such as 20 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--reference",
        metavar="NAME",
        help="published numbers to show beside: paper, or a .yaml file like flowerbench/report/references/paper.yaml",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the runs, and print or write their report."""
    with leave_politely():
        asked = _parser().parse_args(arguments)
        if asked.out == Path():
            raise UsageError("--out names nothing: a file that ends in .md, .html, .tex, .csv or .json, or a folder")
        from flowerbench.report import analysis, document, epochs, files, frame, reference
        from flowerbench.report.formats import markdown

        options = document.Options(
            epochs.selection(asked.epochs), reference.load(asked.reference) if asked.reference else None
        )
        runs = frame.load(*asked.sources, tracking_uri=asked.tracking_uri, where=asked.where)
        keys = [key.strip() for key in asked.group_by.split(",")] if asked.group_by else None
        sections = analysis.sections(runs, keys, asked.rows, asked.columns)
        if asked.out is None:
            _print(markdown.render(document.full(runs, sections, options)))
            return
        try:
            files.write(runs, sections, asked.out, options)
        except OSError as error:
            raise UsageError(f"--out {asked.out} cannot be written: {error.strerror}") from error


def _print(text: str) -> None:
    # A console of Windows may know no dash.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:
        # The reader, such as `head`, has had enough; without this, Python would complain at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
