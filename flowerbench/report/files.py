"""A report in files: one of any format, or a folder with all of them and the figures."""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import atomic
from flowerbench.errors import UsageError, one_line
from flowerbench.report import document, plots
from flowerbench.report.analysis import Section
from flowerbench.report.blocks import Block, Figure, with_figures
from flowerbench.report.formats import data, html, latex, markdown
from flowerbench.report.frame import Runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

log = logging.getLogger(__name__)

SUFFIXES = (".md", ".html", ".tex", ".csv", ".json")


def write(
    runs: Runs,
    sections: Sequence[Section],
    out: Path,
    options: document.Options | None = None,
) -> None:
    """Write a file of the format that the suffix of `out` says, or into a folder all formats, tables and figures.

    A file stands alone: HTML holds its figures, Markdown and LaTeX have none then, CSV is the table of settings. In a
    folder, the figures of an earlier report that this one has not are removed. The same runs give the same bytes.
    Raises OSError for what cannot be written, and UsageError for a suffix such as .pdf, which no folder would have.
    """
    suffix = out.suffix.lower()
    if suffix not in SUFFIXES and re.fullmatch(r"\.[a-z]+", suffix) and not out.is_dir():
        raise UsageError(f"{out.name} is of no format of a report: {', '.join(SUFFIXES)}, or a folder for all of them")
    blocks = document.full(runs, sections, options)
    if suffix in SUFFIXES:
        atomic.write_text(out, _one(suffix, runs, sections, blocks))
        return
    _write_all(runs, sections, blocks, out)


def _one(suffix: str, runs: Runs, sections: Sequence[Section], blocks: Sequence[Block]) -> str:
    match suffix:
        case ".md":
            return markdown.render(blocks)
        case ".tex":
            return latex.render(blocks)
        case ".csv":
            return data.csv(data.tables(runs, sections)["settings"])
        case ".json":
            return data.as_json(runs, sections)
    svgs, _ = _draw(blocks)
    return html.render(with_figures(blocks, svgs), svgs)


def _write_all(runs: Runs, sections: Sequence[Section], blocks: Sequence[Block], folder: Path) -> None:
    figures = folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    svgs, pdfs = _draw(blocks, has_pdf=True)
    for name, svg in svgs.items():
        atomic.write_text(figures / f"{name}.svg", svg)
    for name, pdf in pdfs.items():
        atomic.write(figures / f"{name}.pdf", partial(Path.write_bytes, data=pdf))
    blocks = with_figures(blocks, svgs)
    atomic.write_text(folder / "report.html", html.render(blocks, svgs))
    atomic.write_text(folder / "report.tex", latex.render(blocks, "figures"))
    atomic.write_text(folder / "report.json", data.as_json(runs, sections))
    for name, table in data.tables(runs, sections).items():
        atomic.write_text(folder / f"{name}.csv", data.csv(table))
    gone = _figures_of(folder / "report.md") - svgs.keys()
    atomic.write_text(folder / "report.md", markdown.render(blocks, "figures"))
    for name in gone:
        for suffix in (".svg", ".pdf"):
            (figures / f"{name}{suffix}").unlink(missing_ok=True)


def _figures_of(report: Path) -> set[str]:
    """The figures that a report in Markdown shows; no other file in their folder is ours to remove."""
    try:
        return set(re.findall(r"\]\(figures/([\w-]+)\.svg\)", report.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return set()


def _draw(blocks: Sequence[Block], has_pdf: bool = False) -> tuple[dict[str, str], dict[str, bytes]]:
    """Every figure by its name, as SVG and, where asked for, as PDF; one that fails is left out, with a warning."""
    svgs: dict[str, str] = {}
    pdfs: dict[str, bytes] = {}
    for block in blocks:
        if not isinstance(block, Figure):
            continue
        try:
            if (figure := block.draw()) is not None:
                svgs[block.name], pdfs[block.name] = plots.svg(figure), _pdf(figure) if has_pdf else b""
        except Exception as error:
            log.warning("flowerbench: figure %s is left out: it cannot be drawn (%s)", block.name, one_line(error))
    return svgs, pdfs


def _pdf(figure: Drawing) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        # What matplotlib's own font lacks shows as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(file, format="pdf", metadata={"CreationDate": None})
    return file.getvalue()
