"""Blocks as a LaTeX document: booktabs tables, and figures as PDF."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from flowerbench.report.blocks import Block, Bullets, Figure, Gallery, Heading, Paragraph, Table, with_figures
from flowerbench.report.formats.latex_tables import tabular
from flowerbench.report.formats.latex_text import plain, running

_HEADINGS = {
    1: r"\section*{%s}", 2: r"\subsection*{%s}", 3: r"\subsubsection*{%s}", 4: r"\subsubsection*{\mdseries\itshape %s}",
}  # fmt: skip


def render(blocks: Sequence[Block], figures: str | None = None) -> str:
    """The blocks as a document that pdflatex compiles; figures are those of the folder `figures`, left out without one.

    Letters that its fonts lack, those beyond Latin, are shown by a question mark.
    """
    preamble = (files("flowerbench.report") / "templates" / "preamble.tex").read_text(encoding="utf-8")
    shown = with_figures(blocks, ()) if figures is None else blocks
    body = "\n\n".join(_block(block, figures or "") for block in shown)
    return f"{preamble}\n\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"


def _block(block: Block, figures: str) -> str:
    match block:
        case Heading(text, level):
            return r"\need" + _HEADINGS[level] % plain(text)
        case Paragraph(text):
            return running(text)
        case Bullets(items):
            return "\n".join(
                [r"\begin{itemize}\itemsep=0pt", *(rf"\item {running(item)}" for item in items), r"\end{itemize}"]
            )
        case Gallery():
            return _block(Bullets(block.items()), figures)
        case Figure(name, caption):
            return rf"\drawing{{{figures}/{name}.pdf}}{{{running(caption)}}}"
        case Table():
            legend = rf"{{\small Bold: {running(block.bold_means)}.}}" if block.bold and block.bold_means else ""
            return "\n\n".join(filter(None, [running(block.caption), tabular(block) if block.rows else "", legend]))
