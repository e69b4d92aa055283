"""Text as LaTeX shows it as it stands, and how wide that is about."""

from __future__ import annotations

import re

_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "^": r"\textasciicircum{}", "~": r"\textasciitilde{}", "`": r"\textasciigrave{}", '"': r"\textquotedbl{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "-": "-{}", "'": "'{}", ",": ",{}",
    # At the beginning of a row they would be an argument of the row before.
    "[": "{[}", "]": "{]}", "*": "{*}",
    "\N{EN DASH}": r"\textendash{}", "\N{EM DASH}": r"\textemdash{}", "…": r"\textellipsis{}",
    "→": r"$\to$", "≤": r"$\le$", "≥": r"$\ge$", "\N{MINUS SIGN}": "$-$",
    # A macro of the preamble.
    "\N{ZERO WIDTH SPACE}": r"\maybreak{}",
}  # fmt: skip
# Of the Latin letters up to U+017E, those that the T1 fonts lack; and what they have beyond: quotation marks and €.
_LACKING, _BEYOND = "ĦħĲĳĸĿŀŉŦŧ", "\u2018\u2019\u201a\u201c\u201d\u201e\u20ac"


def running(text: str) -> str:
    """Running text: what stands between backticks is code, what between two pairs of asterisks is bold."""
    parts = re.split(r"(`[^`]*`|\*\*.+?\*\*)", text)
    return "".join(
        rf"\texttt{{{plain(part[1:-1])}}}"
        if part.startswith("`")
        else rf"\textbf{{{running(part[2:-2])}}}"
        if part.startswith("**")
        else plain(part)
        for part in parts
    )


def plain(text: str) -> str:
    """Plain text that may go on in a new line within long words."""
    return escape(re.sub(r"(?<=[=/])(?=\w)|(?<=\w{24})(?=\w)", "\N{ZERO WIDTH SPACE}", text))


def escape(text: str) -> str:
    """Plain text such that LaTeX shows it as it stands, in one line; letters that its fonts lack as question marks."""
    return "".join(_SPECIAL.get(c) or (c if _is_in_font(c) else "?") for c in re.sub(r"\s+", " ", text))


def _is_in_font(character: str) -> bool:
    is_latin = character.isprintable() and character <= "\u017e" and character not in _LACKING
    return is_latin or character in _BEYOND


def ems(text: str, is_bold: bool = False) -> float:
    """How wide a text is about, as a multiple of the size of its font, Latin Modern at 8 points."""
    width = sum(
        0.85 if c in "mwMW%@=±+<>~" else 0.38 if c in "ijlfrst.,:;'|!()[] -" else 0.75 if c.isupper() else 0.55
        for c in text
    )
    return 1.15 * width if is_bold else width
