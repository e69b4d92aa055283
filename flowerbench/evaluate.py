"""The command `python -m flowerbench.evaluate`: how good a trained run is, and where it errs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import run_arguments
from flowerbench.errors import Parser, RunError, UsageError, leave_politely

if TYPE_CHECKING:
    from flowerbench.evaluation.document import Evaluated
    from flowerbench.evaluation.photos import Judged
    from flowerbench.trained import Trained


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m flowerbench.evaluate",
        description="Judge the model of a trained run: accuracy, classes, confusion, calibration and worst photos, on "
        "the photos that its training kept apart or on another folder.",
    )
    run_arguments.add_run(parser)
    parser.add_argument(
        "overrides",
        metavar="data.KEY=VALUE",
        nargs="*",
        help="data.root=FOLDER judges all photos of another folder, which holds the same classes; where it holds the "
        "very photos of the training, those that were kept apart",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write it all (default: evaluation in the run's folder)"
    )
    parser.add_argument(
        "--flips",
        action="store_true",
        help="take the mean of the probabilities over each photo and its mirror image, as where its validation did",
    )
    run_arguments.add_batches(parser)
    run_arguments.add_store(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the model, print what came of it, and write that and more into a folder."""
    with leave_politely():
        asked = _parser().parse_intermixed_args(arguments)
        if asked.batch_size is not None and asked.batch_size < 1:
            raise UsageError(f"--batch-size {asked.batch_size} is not possible: a whole number, 1 or more")
        from flowerbench import terminal, trained
        from flowerbench.evaluation import document, files, photos
        from flowerbench.report.formats import markdown

        found = trained.load(trained.find(asked.run, asked.tracking_uri), asked.device)
        flips = asked.flips or found.flips
        parts = [
            judge(found, judged, batch_size=asked.batch_size, flips=flips)
            for judged in photos.choose(found, asked.overrides)
        ]
        blocks = document.blocks(found, parts, flips=flips)
        out = asked.out or found.folder / "evaluation"
        try:
            files.write(out, found, parts, blocks, flips=flips)
        except OSError as error:
            raise UsageError(f"{out} cannot be written ({error.strerror}): name another folder with --out") from error
        with terminal.output():
            print(markdown.render(blocks))
            print(f"With figures: {out / 'evaluation.html'}")


def judge(trained: Trained, judged: Judged, *, batch_size: int | None = None, flips: bool = False) -> Evaluated:
    """The model's answers to the photos. Raises RunError for one that can no longer be read."""
    import numpy as np

    from flowerbench import answers, terminal
    from flowerbench.evaluation.document import Evaluated
    from flowerbench.evaluation.measures import Measures

    found = []
    named = [(path, judged.root / path) for path in judged.paths]
    with terminal.progress(is_shown=True) as bar:
        task = bar.add_task(f"Judging {judged.kind} photos", total=len(named))
        for batch in answers.stream(trained, named, batch_size or answers.batch_size(trained), flips=flips):
            if bad := next((answer for answer in batch if answer.trouble), None):
                raise RunError(f"{judged.root / bad.photo} cannot be read: {bad.trouble}")
            found += [answer.probabilities for answer in batch]
            bar.advance(task, len(batch))
    return Evaluated(judged, Measures(trained.classes, np.array(judged.labels), np.stack(found)))


if __name__ == "__main__":
    main()
