"""LaTeX: any name can be written, and what is written can be compiled onto the page."""

from __future__ import annotations

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowerbench.report import analysis, files, frame
from flowerbench.report.blocks import Block, Bullets, Figure, Heading, Paragraph, Table
from flowerbench.report.formats import latex, latex_text
from tests.report.helpers import KEPT_SWEEP

# What our commands stand for, each with an empty group behind it.
COMMANDS = {
    "textbackslash": "\\", "textasciicircum": "^", "textasciitilde": "~", "textasciigrave": "`", "textquotedbl": '"',
    "textless": "<", "textgreater": ">", "textbar": "|", "textendash": "–", "textemdash": "—", "textellipsis": "…",
    "maybreak": "",
}  # fmt: skip
FORMULAS = {r"\to": "→", r"\le": "≤", r"\ge": "≥", "-": "−"}
TOKEN = re.compile(r"\\([a-z]+)\{\}|\\([&#%_{}$])|\$([^$]+)\$|\{([\[\]*])\}|([-',])\{\}|([^\\{}$&#%_^~\[\]*])")


def read_back(tex: str) -> str:
    """The text that LaTeX shows for ours; fails for what would mean something else to it."""
    text, position = "", 0
    while position < len(tex):
        found = TOKEN.match(tex, position)
        assert found, tex[position:]
        command, special, formula, *rest = found.groups()
        text += COMMANDS[command] if command else FORMULAS[formula] if formula else special or next(filter(None, rest))
        position = found.end()
    return text


@given(st.text())
@example("\\{}$&#%_^~<>|`'\"--- ,, [*] → ≤ ≥ – — …")
@example("a\tb\n\nc")
def test_any_text_is_shown_as_it_stands(text: str):
    expected = re.sub(r"\s+", " ", text)
    shown = read_back(latex_text.escape(text))
    assert len(shown) == len(expected)
    for ours, theirs in zip(shown, expected, strict=True):
        assert ours == theirs or (ours == "?" and not theirs.isascii()) or not theirs.isprintable()


def test_latin_letters_keep_their_accents():
    assert latex_text.escape("Gänseblümchen, Łąka, čeština, ñandú") == "Gänseblümchen,{} Łąka,{} čeština,{} ñandú"
    assert latex_text.escape("玫瑰") == "??"


def test_what_stands_in_backticks_is_code_and_in_asterisks_bold():
    assert r"\texttt{batch\_size=\maybreak{}16}" in latex.render([Paragraph("See `batch_size=16`.")])
    assert r"\textbf{50\%}" in latex.render([Paragraph("It is **50%**.")])


def test_figures_are_left_out_without_a_folder_and_so_are_headings_above_nothing():
    blocks: list[Block] = [Heading("Runs", 1), Heading("Mistakes", 2), Figure("confusion", "What", lambda: None)]
    blocks.append(Bullets(["An end"]))
    assert r"\drawing{figures/confusion.pdf}{What}" in latex.render(blocks, "figures")
    alone = latex.render([*blocks[:3], Heading("End", 2), Paragraph("Over.")])
    assert "confusion" not in alone
    assert "Mistakes" not in alone
    assert "End" in alone


def test_only_long_tables_go_on_over_pages():
    def table(rows: int) -> str:
        return latex.render([Table(["Epoch", "Loss"], [[str(i), "0.5"] for i in range(rows)])])

    assert r"\begin{longtable}" not in table(10)
    assert r"\begin{longtable}" in table(60)
    assert r"\endhead" in table(60)


def test_bold_cells_are_bold_and_explained():
    tex = latex.render([Table(["a", "b"], [["x", "1"], ["y", "2"]], frozenset({(1, 1)}), "Below", "The best")])
    assert r"y & \textbf{2} \\" in tex
    assert tex.index("Below") < tex.index("y & ") < tex.index("Bold: The best.")


def compiled(folder: Path, tex: str | None = None) -> str:
    """The log of compiling report.tex in a folder until the tables are settled."""
    if tex is not None:
        (folder / "report.tex").write_text(tex, encoding="utf-8")
    for package in ("booktabs.sty", "longtable.sty", "microtype.sty", "lmodern.sty"):
        if shutil.which("pdflatex") is None or subprocess.run(["kpsewhich", package], capture_output=True).returncode:
            pytest.skip(f"pdflatex with {package} is not here")
    for _ in range(3):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "report.tex"]
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=200)
        log = (folder / "report.log").read_text(encoding="utf-8", errors="replace")
        assert done.returncode == 0, log[-2000:]
    # TeX breaks its lines after 79 characters.
    return log.replace("\n", "")


def hostile_blocks(names: Sequence[str]) -> list[Block]:
    """Every name as a heading, in text, as code, and at all places of a table."""
    tables = [
        Table([name, "b", name], [[name, name, "1"], ["[x]", name, "2"], ["*", "y", "3"]], frozenset({(0, 0), (0, 1)}))
        for name in names
    ]
    return [
        Heading("Names", 1),
        *(Heading(name, level) for name in names for level in (2, 3, 4)),
        *(Paragraph(f"{name} `{name}` **{name}**".replace("``", "")) for name in names),
        Bullets(names),
        *tables,
    ]


@pytest.mark.long
def test_names_of_any_characters_compile(tmp_path: Path):
    latin = [chr(c) for c in range(0x20, 0x180) if chr(c).isprintable() and unicodedata.category(chr(c)) != "Cf"]
    names = ["".join(latin[i : i + 20]) for i in range(0, len(latin), 20)]
    names += [
        "a_b#c%d&e$f\\g{h}i~j^k",
        "{",
        "}",
        "\\",
        "$",
        "[",
        "]*",
        "%",
        "--",
        "''",
        "玫瑰 роза ورد",
        "\u2018\u201c€™",
        "a" * 200,
    ]
    log = compiled(tmp_path, latex.render(hostile_blocks(names)))
    assert "Missing character" not in log
    assert "Output written on report.pdf" in log


@pytest.mark.long
def test_tables_of_any_width_and_length_stay_on_the_page(tmp_path: Path):
    label = "batch_size=16, epochs=20, model=mobilenet_v2, optim.lr=0.0001, schedule.gamma=0.1"
    reason = "FAILED: the loss is nan in epoch 2: lower optim.lr, or set precision=fp32, and look at the photos"
    row = [label, "0.8772 ± 0.0040 (n=3)", "0.848 to 0.902", "16 to 22", "500 to 512/570", "0.8649", reason, "FINISHED"]
    header = [
        "Settings",
        "Best Accuracy Rate",
        "95 % Interval",
        "Best Epoch",
        "Correct/Total",
        "Last",
        "Status",
        "More",
    ]
    blocks: list[Block] = [Heading("Tables", 1)]
    for count in (1, 5, 60):
        blocks += [
            Heading(f"{count} settings", 2),
            Table(header, [row] * count, frozenset((i, 1) for i in range(count)), "", "The best"),
            Heading(f"{count} epochs", 2),
            Table(["Epoch", "Loss"], [[str(i), "0.5"] for i in range(count)]),
            Heading(f"{count} columns", 2),
            Table([f"epochs={i}" for i in range(count)], [["0.8772"] * count] * 3),
            Heading(f"{count} letters", 2),
            Table(["Name", "Value"], [["m" * count, "W" * count]]),
        ]
    log = compiled(tmp_path, latex.render(blocks))
    assert "Overfull \\hbox" not in log
    pages = re.search(r"report\.pdf \((\d+) pages", log)
    assert pages
    assert int(pages[1]) > 5


@pytest.mark.long
def test_the_report_of_the_kept_sweep_compiles_with_its_figures(tmp_path: Path):
    runs = frame.load(KEPT_SWEEP)
    files.write(runs, analysis.sections(runs), tmp_path / "report")
    log = compiled(tmp_path / "report")
    assert "Overfull \\hbox" not in log
    drawn = {path.name for path in (tmp_path / "report" / "figures").glob("*.pdf")}
    assert {"settings.pdf", "run-1.pdf"} <= drawn
    assert all(f"<use figures/{name}" in log.replace("<use  ", "<use ") or f"figures/{name}" in log for name in drawn)
