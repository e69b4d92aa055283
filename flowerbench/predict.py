"""The command `python -m flowerbench.predict`: what a trained run takes photos for."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flowerbench import run_arguments
from flowerbench.errors import FAILED, Parser, Told, UsageError, leave_politely

if TYPE_CHECKING:
    from flowerbench.answers import Answer
    from flowerbench.trained import Trained

# A photo, its classes from the likeliest on with their probabilities, and the file that explains it.
_Best = list[tuple[str, float]]
_Row = Callable[[str, _Best, str | None], None]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m flowerbench.predict",
        description="Say what a trained run takes photos for. Files that cannot be read are named and left out; "
        "the exit code is 1 then.",
    )
    run_arguments.add_run(parser)
    parser.add_argument(
        "photos", metavar="PHOTOS", nargs="+", help="files, folders with all below them, or - for paths from stdin"
    )
    parser.add_argument(
        "--format", choices=("table", "jsonl", "csv"), default="table", help="of the lines (default: %(default)s)"
    )
    parser.add_argument(
        "--top", type=int, default=3, metavar="K", help="classes to name for each photo (default: %(default)s)"
    )
    parser.add_argument(
        "--explain",
        type=Path,
        metavar="DIR",
        help="also write a picture of each photo there: which places speak for its likeliest class (Grad-CAM)",
    )
    run_arguments.add_batches(parser)
    run_arguments.add_store(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, a line per photo as soon as it is known; exit code 1 when a file could not be read."""
    with leave_politely():
        asked = _parser().parse_intermixed_args(arguments)
        for name, number in (("--top", asked.top), ("--batch-size", asked.batch_size)):
            if number is not None and number < 1:
                raise UsageError(f"{name} {number} is not possible: a whole number, 1 or more")
        from flowerbench import terminal, trained

        found = trained.load(trained.find(asked.run, asked.tracking_uri), asked.device)
        with terminal.output():
            if _predict(found, asked):
                raise Told(FAILED)


def _predict(trained: Trained, asked: argparse.Namespace) -> int:
    """Print the answers; how many files could not be read."""
    from flowerbench import answers, explain, terminal

    explainer = explain.explainer(trained) if asked.explain else None
    if asked.explain:
        _make(asked.explain)
    photos, total = _photos(asked.photos)
    top = min(asked.top, len(trained.classes))
    write = {"table": _table, "jsonl": _json_lines, "csv": _csv}[asked.format](trained.classes, top)
    bad = done = 0
    # On a terminal the lines themselves are the progress.
    with terminal.progress(is_shown=not sys.stdout.isatty()) as bar:
        task = bar.add_task("Predicting", total=total)
        for batch in answers.stream(trained, photos, asked.batch_size or answers.batch_size(trained)):
            good = [answer for answer in batch if not answer.trouble]
            files: Iterator[str | None] = iter([None] * len(good))
            if explainer and good:
                files = iter(_explained(explainer, good, asked.explain, done))
            for answer in batch:
                if answer.trouble:
                    bad += 1
                    print(f"flowerbench: {answer.photo} cannot be read: {answer.trouble}", file=sys.stderr)
                    continue
                done += 1
                write(answer.photo, _best(trained, answer, top), next(files))
            sys.stdout.flush()
            bar.advance(task, len(batch))
    return bad


def _photos(asked: Sequence[str]) -> tuple[Iterable[tuple[str, Path]], int | None]:
    """The files that are asked for, and how many there are, unless stdin names them."""
    from flowerbench.data.images import SUFFIXES

    if "-" in asked:
        if len(asked) > 1:
            raise UsageError("- reads the paths from stdin: name no others beside it")
        lines = (line.rstrip("\r\n") for line in sys.stdin)
        return ((line, Path(line)) for line in lines if line), None
    files: list[Path] = []
    for path in map(Path, asked):
        if not path.is_dir():
            files.append(path)
            continue
        below = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.is_dir())
        shown = [file for file in below if not any(part.startswith(".") for part in file.relative_to(path).parts)]
        if not shown:
            raise UsageError(f"{path} holds no photos ({', '.join(sorted(SUFFIXES))})")
        files += shown
    return [(str(file), file) for file in files], len(files)


def _best(trained: Trained, answer: Answer[str], top: int) -> _Best:
    order = (-answer.probabilities).argsort(kind="stable")[:top]
    return [(trained.classes[index], float(answer.probabilities[index])) for index in order]


def _explained(explainer: Any, good: Sequence[Answer[str]], folder: Path, done: int) -> list[str]:
    """The files of the pictures, numbered as the lines are: two folders may hold photos of one name."""
    likeliest = [int(answer.probabilities.argmax()) for answer in good]
    files = []
    pictures = explainer.pictures([answer.square for answer in good], likeliest)
    for number, (answer, picture) in enumerate(zip(good, pictures, strict=True), start=done + 1):
        file = folder / f"{number:05}_{Path(answer.photo).stem}.png"
        try:
            picture.save(file)
        except OSError as error:
            raise UsageError(f"--explain {folder} cannot be written: {error.strerror or error}") from error
        files.append(str(file))
    return files


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--explain {folder} cannot be written: {error.strerror}") from error


def _table(classes: Sequence[str], top: int) -> _Row:
    """Columns of a width that is known before the photos are: so their names come last."""
    width = max(map(len, (*classes, "class")))
    print("  ".join([f"{'class':<{width}}  {'share':>7}"] * top), "photo", sep="  ")

    def write(photo: str, best: _Best, file: str | None) -> None:
        cells = [f"{name:<{width}}  {100 * share:>5.1f} %" for name, share in best]
        print(*cells, f"{photo} ({file})" if file else photo, sep="  ")

    return write


def _json_lines(classes: Sequence[str], top: int) -> _Row:
    def write(photo: str, best: _Best, file: str | None) -> None:
        named = [{"class": name, "probability": round(share, 8)} for name, share in best]
        line = {"photo": photo, "prediction": best[0][0], "probability": round(best[0][1], 8), "top": named}
        print(json.dumps(line | ({"explanation": file} if file else {}), ensure_ascii=False))

    return write


def _csv(classes: Sequence[str], top: int) -> _Row:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    heads = [f"{name}_{number}" for number in range(1, top + 1) for name in ("class", "probability")]
    writer.writerow(["photo", *heads, "explanation"])

    def write(photo: str, best: _Best, file: str | None) -> None:
        cells = [cell for name, share in best for cell in (name, f"{share:.8f}")]
        writer.writerow([photo, *cells, file or ""])

    return write


if __name__ == "__main__":
    main()
