"""The command `python -m flowerbench.data`."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from flowerbench.errors import FAILED, Parser, Told, UsageError, leave_politely


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m flowerbench.data", description="Check a folder of photos, or make one from lists.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser(
        "check",
        help="say what is wrong with a folder of photos",
        description="Say what is wrong with a folder of photos, and what is worth a look. Exit code 1: files that "
        "cannot be read, identical photos under two classes, or photos of one part (train, val, test) in another.",
    )
    check.add_argument("root", type=Path, metavar="ROOT", help="the folder of class folders, or of train/, val/, test/")
    check.add_argument("--html", type=Path, metavar="FILE", help="write a web page that shows the photos, too")
    check.add_argument(
        "--near",
        type=int,
        metavar="BITS",
        help="photos are nearly identical where so many bits at most of their 256-bit hashes differ (default: 48)",
    )
    check.set_defaults(run=_check)

    prepare = commands.add_parser(
        "prepare",
        help="make class folders from lists or a CSV table",
        description="Copy photos into class folders, DST/train/CLASS and so on, or DST/CLASS where no parts are named. "
        "SRC is left as it is.",
    )
    prepare.add_argument("source", type=Path, metavar="SRC", help="the folder that the lists' paths start from")
    prepare.add_argument("target", type=Path, metavar="DST", help="the folder to make")
    prepare.add_argument(
        "--list",
        type=Path,
        action="append",
        metavar="FILE",
        help="lines `path class`, or a .csv with columns such as path, class and split; may be repeated "
        "(default: train.txt, val.txt and test.txt of SRC or SRC/meta, else its CSV files)",
    )
    prepare.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="the classes' names, one a line, that numbers in the lists count from 0 (default: classes.txt of SRC)",
    )
    prepare.add_argument("--link", action="store_true", help="hard links instead of copies, which take no room")
    prepare.set_defaults(run=_prepare)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is asked for."""
    with leave_politely():
        asked = _parser().parse_args(arguments)
        asked.run(asked)


def _check(asked: argparse.Namespace) -> None:
    from flowerbench import atomic, terminal
    from flowerbench.data import findings, looks, near, page, sources
    from flowerbench.report.formats import html, markdown

    distance = near.NEAR if asked.near is None else asked.near
    if not 0 <= distance < near.BITS:
        raise UsageError(f"--near {distance}: a whole number from 0, below {near.BITS}")
    photos = sources.in_folder(asked.root)
    seen = looks.of(photos)
    found = findings.found(photos, seen, distance)
    if asked.html is not None:
        shown = html.render(page.blocks(photos, seen, found, with_pictures=True), {})
        try:
            atomic.write_text(asked.html, shown)
        except OSError as error:
            raise UsageError(f"--html {asked.html} cannot be written: {error.strerror}") from error
    with terminal.output():
        print(markdown.render(page.blocks(photos, seen, found, with_pictures=False)), end="")
    if any(finding.is_wrong for finding in found):
        raise Told(FAILED)


def _prepare(asked: argparse.Namespace) -> None:
    from flowerbench import terminal
    from flowerbench.data import prepare
    from flowerbench.report.blocks import Table
    from flowerbench.report.formats.markdown import pipe_table

    prepare.refuse_target(asked.source, asked.target)
    copies = prepare.plan(asked.source, asked.list or (), asked.classes)
    prepare.carry_out(copies, asked.target, is_linked=asked.link)
    parts = [part for part in ("train", "val", "test") if any(copy.part == part for copy in copies)] or [""]
    counts = Counter((copy.label, copy.part or "") for copy in copies)
    rows = [
        [label, *(f"{counts[label, part]:,}" for part in parts)] for label in sorted({copy.label for copy in copies})
    ]
    with terminal.output():
        print(pipe_table(Table(["Class", *(part or "photos" for part in parts)], rows)))
        print(f"\n{len(copies):,} photos are in {asked.target}: python -m flowerbench.data check {asked.target}")


if __name__ == "__main__":
    main()
