"""Measure our train command and the plain script side by side, print tables, and write all of it as JSON."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import bench, machine, photos
from benchmarks.measures import Section
from benchmarks.plain import model_argument
from benchmarks.sections import SECTIONS
from benchmarks.settings import QUICK, Settings
from benchmarks.sides import Sides
from flowerbench import atomic, errors, interrupt, model
from flowerbench.errors import UsageError
from flowerbench.report.blocks import Block, Heading, Paragraph
from flowerbench.report.formats import markdown


def main(arguments: Sequence[str] | None = None) -> None:
    """The command `python -m benchmarks.run`."""
    given = sys.argv[1:] if arguments is None else arguments
    with errors.leave_politely(), interrupt.listening():
        asked = _parser().parse_args(given)
        settings = _checked(Settings(**_of_settings(asked)))
        now = datetime.now().astimezone()
        file = asked.json or Path("outputs", "benchmarks", f"{now:%Y-%m-%d_%H-%M-%S}.json")
        record: dict[str, Any] = {
            "command": shlex.join(["python", "-m", "benchmarks.run", *given]),
            "date": now.isoformat(timespec="seconds"),
            "is_quick": asked.quick,
            "settings": asdict(settings),
        }
        with tempfile.TemporaryDirectory(prefix="flowerbench-", ignore_cleanup_errors=True) as scratch:
            # What was cached before would be of use to one side only.
            os.environ["FLOWERBENCH_CACHE"] = str(Path(scratch, "cache"))
            for part in measured(settings, asked.only or _sections(asked.quick), Path(scratch), record):
                print(markdown.render(part), flush=True)
                file.parent.mkdir(parents=True, exist_ok=True)
                atomic.write_text(file, json.dumps(record, indent=2, default=str) + "\n")
        print(f"All values: {file}")


def _sections(is_quick: bool) -> list[str]:
    return [name for name in SECTIONS if not is_quick or name not in ("overhead", "accuracy")]


def measured(settings: Settings, names: Sequence[str], scratch: Path, record: dict[str, Any]) -> Iterator[list[Block]]:
    """Measure section by section; each is added to the record, and yielded as blocks when it is done."""
    sides = Sides(scratch, machine.device(settings.device).type, settings.validation, settings.workers, settings.ours)
    record["machine"] = bench.measured(sides, settings.matmul_seconds)
    record["sections"] = []
    yield _opening(record)
    split = photos.load(settings)
    under_way = bench.Bench(settings, split, sides, settings.with_bf16 and record["machine"]["has_bf16"])
    for name in [name for name in SECTIONS if name in names]:
        section: Section = SECTIONS[name](under_way)
        record["sections"].append(section.content())
        yield section.blocks()


def _opening(record: dict[str, Any]) -> list[Block]:
    here = record["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    place = f"{here['gpu']}, " if "gpu" in here else ""
    blocks: list[Block] = [
        Heading("flowerbench and a plain PyTorch script, side by side", 1),
        Paragraph(
            f"On {place}{here['cores']} cores of {here['cpu']} ({here['capability']}, {here['threads']} threads), "
            f"{here['memory_bytes'] / 1e9:.0f} GB, {here['system']}; {versions}; {record['date'][:10]}. "
            f"Products of fp32 matrices: {here['matmul'] / 1e9:,.0f} GFLOP/s."
        ),
        Paragraph(f"`{record['command']}`"),
    ]
    if record["is_quick"]:
        blocks.append(
            Paragraph("**The quick form: it shows that all works, and is too short for its numbers to count.**")
        )
    return blocks


def _checked(settings: Settings) -> Settings:
    """The settings; raises UsageError for what cannot be measured."""
    if settings.data and not settings.data.is_dir():
        raise UsageError(f"--data {settings.data} is no folder: name one that holds a folder of photos per class")
    if settings.weights and not settings.weights.is_file():
        raise UsageError(f"--weights {settings.weights} is no file: name a state dict, or leave it out")
    for name in (settings.model, settings.rate_model):
        if misfit := model.unknown_name(name) or ("tiny is not for the plain script" if name == "tiny" else None):
            raise UsageError(misfit.replace("model.name=", ""))
    return settings


def _of_settings(asked: argparse.Namespace) -> dict[str, Any]:
    """What the command sets: its own options before the quick form's before the defaults."""
    given = {field.name: getattr(asked, field.name, None) for field in fields(Settings)}
    if asked.model and asked.model_args is None:
        given["model_args"] = ()  # those of another model are not for this one
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return (QUICK if asked.quick else {}) | {name: value for name, value in given.items() if value is not None}


def _parser() -> errors.Parser:
    made = errors.Parser(prog="python -m benchmarks.run", description=__doc__)
    made.add_argument("--quick", action="store_true", help="small, without overhead and accuracy: two minutes")
    made.add_argument("--only", nargs="+", choices=SECTIONS, help="measure only these")
    made.add_argument("--json", type=Path, metavar="FILE", help="where all values go (default: in outputs/benchmarks)")
    made.add_argument("--photos", type=_count, metavar="N", help="use so many photos (default: all)")
    made.add_argument(
        "--repeats", type=_count, metavar="N", help="rounds or seeds of all but run and sweep (default: 3)"
    )
    made.add_argument("--device", choices=["auto", "cpu", "cuda"], help="default: a GPU where there is one")
    made.add_argument("--workers", type=_count, metavar="N", help="the plain script's (default: one per core)")
    made.add_argument("--ours", nargs="+", metavar="KEY=VALUE", help="further settings of our command")
    of_both = made.add_argument_group("all but rate and memory, of both sides")
    of_both.add_argument("--data", type=_path, metavar="FOLDER", help="a folder of photos per class (default: drawn)")
    of_both.add_argument("--model", metavar="NAME", help="a classifier of torchvision (default: mobilenet_v2)")
    of_both.add_argument("--model-args", nargs="*", type=model_argument, metavar="NAME=VALUE", help="width_mult=0.35")
    of_both.add_argument("--weights", type=_path, metavar="FILE", help="state dict to begin from (default: random)")
    of_both.add_argument("--image-size", type=_count, metavar="PX", help="default: 64")
    of_both.add_argument("--batch-sizes", type=_counts, metavar="N,N", help="default: 16,32; the run has the first")
    of_both.add_argument("--epochs", type=_counts, metavar="N,N", help="default: 20,25; the run has the last")
    of_both.add_argument("--short-epochs", type=_count, metavar="N", help="of overhead and accuracy (default: 8)")
    of_both.add_argument("--validation", choices=["augmented", "clean"], help="default: augmented, as in the paper")
    of_rate = made.add_argument_group("rate")
    of_rate.add_argument("--rate-model", metavar="NAME", help="default: resnet18, with random weights")
    of_rate.add_argument("--rate-image-size", type=_count, metavar="PX", help="default: 224")
    of_rate.add_argument("--rate-steps", type=_count, metavar="N", help="steps of an epoch (default: 24; GPU: all)")
    return made


def _path(text: str) -> Path:
    return Path(text).expanduser().resolve()  # the runs have folders of their own


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number, 1 or more")
    return int(text)


def _counts(text: str) -> tuple[int, ...]:
    return tuple(dict.fromkeys(_count(part) for part in text.split(",")))


if __name__ == "__main__":
    main()
