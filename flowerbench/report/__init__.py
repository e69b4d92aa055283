"""Compare runs: `markdown` is the whole report, `summary` the short form that a sweep prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from flowerbench.report.frame import Runs


def markdown(runs: Runs, rows: str | None = None, columns: str | None = None) -> str:
    """The report in Markdown: how to read it, the settings and the epochs behind them; of one run just its facts.

    `rows` and `columns` are config keys for the table of accuracies; without them it has the keys that vary, if
    they are two. Raises UsageError for a key that no run has.
    """
    from flowerbench.report import tables

    if runs.runs.empty:
        return f"{_NOTHING}\n"
    if len(runs.runs) == 1 and rows is None and columns is None:
        return _single(runs)
    parts = [f"# {_title(runs.runs)}", f"{len(runs.runs)} run{'s' * (len(runs.runs) > 1)}: {_count(runs.runs)}."]
    groups = tables.sections(runs.runs)
    if len(groups) > 1:
        parts.append(_NOT_COMPARABLE)
    mark = "##" if len(groups) == 1 else "###"
    for title, group in groups:
        if len(groups) > 1:
            parts.append(f"## {title}")
        parts += [f"{mark} How to read this", tables.notes(group), f"{mark} Settings", tables.settings_table(group)]
        if axes := _axes(group, rows, columns):
            parts += [f"{mark} Best accuracy by {axes[0]} and {axes[1]}", tables.pivot(group, *axes)]
        parts.append(f"{mark} Epochs")
        for name, run in group.iterrows():
            parts.append(f"{mark}# {run['settings']}")
            if run["status"] != "FINISHED":
                parts.append(tables.status(run))
            if run["epochs_done"]:
                parts.append(tables.epochs_table(runs.epochs[runs.epochs["run"] == name]))
    return "\n\n".join(parts) + "\n"


def summary(runs: Runs, rows: str | None = None, columns: str | None = None) -> str:
    """The table of settings, that of accuracies where two keys vary, and the ties, in Markdown."""
    from flowerbench.report import tables

    groups = tables.sections(runs.runs)
    parts = [_NOT_COMPARABLE] if len(groups) > 1 else []
    parts += [_NOTHING] if not groups else []
    for title, group in groups:
        parts += [f"{title}:"] if len(groups) > 1 else []
        parts.append(tables.settings_table(group))
        axes = _axes(group, rows, columns)
        parts += [tables.pivot(group, *axes)] if axes else []
        parts += tables.ties(group)
    return "\n\n".join(parts)


_NOTHING = "No run has begun."
_NOT_COMPARABLE = (
    "**These runs were judged on different photos or with a different validation protocol: "
    "numbers of different sections are not comparable.**"
)


def _axes(runs: pd.DataFrame, rows: str | None, columns: str | None) -> tuple[str, str] | None:
    """The keys of the table of accuracies; None where it would say what the settings say already."""
    from flowerbench.report import frame

    paper = ("batch_size", "epochs")
    if rows or columns:
        return rows or paper[0], columns or paper[1]
    keys = [key for key in frame.varying(runs) if key != "seed"]
    if set(paper) <= set(keys):
        return paper
    return (keys[0], keys[1]) if len(keys) == 2 else None


def _title(runs: pd.DataFrame) -> str:
    sweeps = [sweep for sweep in dict.fromkeys(runs["sweep"]) if sweep]
    if not sweeps:
        return "Runs"
    return f"Sweep {sweeps[0]}" if len(sweeps) == 1 else f"Sweeps {', '.join(sweeps[:-1])} and {sweeps[-1]}"


def _count(runs: pd.DataFrame) -> str:
    return ", ".join(f"{number} {status}" for status, number in runs["status"].value_counts(sort=False).items())


def _single(runs: Runs) -> str:
    from flowerbench.report import tables

    name, run = next(iter(runs.runs.iterrows()))
    facts = {
        "Protocol": run["protocol"],
        "Split": run["split"],
        "Last accuracy": tables.decimals(run["last_accuracy"]),
        "Started": run["started"],
        "Seconds": f"{run['seconds']:.1f}",
        "Folder": run["folder"],
    }
    known = [[key, value] for key, value in facts.items() if value not in (None, "nan")]
    parts = [
        f"# Run {name}",
        tables.settings_table(runs.runs),
        tables.pipe_table(["Fact", "Value"], known),
        "## How to read this",
        tables.notes(runs.runs),
        "## Epochs",
        tables.epochs_table(runs.epochs),
    ]
    return "\n\n".join(parts) + "\n"
