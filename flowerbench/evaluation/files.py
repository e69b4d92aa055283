"""An evaluation in a folder: as Markdown and as one page, its figures, and all of it as data."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from flowerbench import atomic
from flowerbench.evaluation.document import Evaluated
from flowerbench.report.blocks import Block, Figure, with_figures
from flowerbench.report.formats import html, markdown
from flowerbench.report.plots import svg
from flowerbench.trained import Trained

# Of a figure as PNG: sharp on a screen that shows two dots for one.
_DPI = 200


def write(folder: Path, trained: Trained, parts: Sequence[Evaluated], blocks: Sequence[Block], *, flips: bool) -> None:
    """Write it all; a figure that has nothing to show is left out. Raises OSError for what cannot be written."""
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    svgs: dict[str, str] = {}
    for block in blocks:
        if isinstance(block, Figure) and (drawn := block.draw()) is not None:
            svgs[block.name] = svg(drawn)
            atomic.write_text(figures / f"{block.name}.svg", svgs[block.name])
            png = io.BytesIO()
            drawn.savefig(png, format="png", dpi=_DPI)
            atomic.write(figures / f"{block.name}.png", partial(Path.write_bytes, data=png.getvalue()))
    shown = with_figures(blocks, svgs)
    atomic.write_text(folder / "evaluation.md", markdown.render(shown, "figures"))
    atomic.write_text(folder / "evaluation.html", html.render(shown, svgs))
    atomic.write_text(folder / "predictions.csv", _predictions(parts))
    content = _data(trained, parts, flips)
    atomic.write_text(folder / "evaluation.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _predictions(parts: Sequence[Evaluated]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    classes = parts[0].measures.classes
    writer.writerow(["part", "photo", "label", "prediction", "loss", *(f"p({name})" for name in classes)])
    for part in parts:
        measures = part.measures
        for row, loss, shares in zip(part.answers.itertuples(), measures.losses, measures.probabilities, strict=True):
            told = [part.judged.kind, row.photo, row.label, row.prediction, f"{loss:.6f}"]
            writer.writerow([*told, *(f"{share:.8f}" for share in shares)])
    return text.getvalue()


def _data(trained: Trained, parts: Sequence[Evaluated], flips: bool) -> dict[str, Any]:
    return {
        "run": trained.folder.as_posix(),
        "epoch": trained.epoch,
        "model": trained.config["model.name"],
        "image_size": trained.image_size,
        "device": str(trained.device),
        "precision": trained.config["precision"],
        "flips": flips,
        "classes": list(trained.classes),
        "parts": {part.judged.kind: _part(part) for part in parts},
    }


def _part(part: Evaluated) -> dict[str, Any]:
    measures = part.measures
    return {
        "photos": part.judged.root.as_posix(),
        "accuracy": measures.accuracy,
        "correct": measures.correct,
        "total": measures.total,
        "interval": list(measures.interval),
        "loss": float(measures.losses.mean()),
        "confidence": float(measures.confidences.mean()),
        "ece": measures.ece,
        "bins": _records(measures.bins.to_dict("records")),
        "per_class": dict(zip(measures.classes, _records(measures.per_class.to_dict("records")), strict=True)),
        "confusion": measures.confusion.tolist(),
    }


def _records(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Rows whose NaN, which JSON does not know, is null."""
    return [
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in rows
    ]
