"""The report as blocks: what it says, in which order, whatever it is written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from flowerbench.data import sources
from flowerbench.report import epochs, notes, pivot, plots, tables
from flowerbench.report.analysis import Section
from flowerbench.report.blocks import Block, Bullets, Figure, Heading, Paragraph, Table
from flowerbench.report.frame import Runs
from flowerbench.report.keys import is_unset
from flowerbench.report.reference import Reference
from flowerbench.report.words import counted, outcome

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

# The epochs of more runs than this would bury the rest.
_MOST_RUNS = 8
_NOTHING = "No run has begun."


@dataclass(frozen=True)
class Options:
    """What to show beside: which epochs (`epochs.selection`), and whose published numbers."""

    epochs: Sequence[str] = epochs.NAMED
    reference: Reference | None = None


def full(runs: Runs, sections: Sequence[Section], options: Options | None = None) -> list[Block]:
    """The whole report: its conclusion, the settings, how to read them, the epochs behind them, and figures."""
    options = options or Options()
    if runs.runs.empty:
        return [Paragraph(_NOTHING)]
    blocks: list[Block] = [Heading(_title(runs.runs), 1), Paragraph(_count(runs.runs))]
    if len(runs.runs) == 1:
        blocks.append(_facts(runs.runs))
    several = len(sections) > 1
    blocks += _refusal(sections)
    for number, section in enumerate(sections, start=1):
        blocks += [Heading(section.title, 2)] if several else []
        blocks += _section(section, options, 3 if several else 2, f"{number}-" if several else "")
    return blocks


def short(sections: Sequence[Section]) -> list[Block]:
    """What a sweep prints at its end: the conclusion and the settings."""
    blocks = _refusal(sections)
    for section in sections:
        blocks += [Paragraph(f"{section.title}:")] if len(sections) > 1 else []
        blocks += [tables.settings(section, is_short=True), *map(Paragraph, section.conclusion)]
    return blocks or [Paragraph(_NOTHING)]


def _refusal(sections: Sequence[Section]) -> list[Block]:
    """Why sections are not compared with each other, where there are several."""
    if len(sections) < 2:
        return []
    protocols = list(dict.fromkeys(section.protocol or "not known" for section in sections))
    splits = list(dict.fromkeys(section.split or "not known" for section in sections))
    reasons = [f"by different validation protocols ({', '.join(protocols)})"] if len(protocols) > 1 else []
    reasons += [f"on different photos (splits {', '.join(splits)})"] if len(splits) > 1 else []
    why = " and ".join(reasons)
    return [Paragraph(f"**Not compared: these runs were judged {why}. Only runs of one section can be compared.**")]


def _section(section: Section, options: Options, level: int, prefix: str) -> Iterator[Block]:
    reference = options.reference
    if len(section.runs.runs) > 1:
        yield Heading("Conclusion", level)
        yield Bullets(section.conclusion)
    yield Heading("Settings", level)
    yield tables.settings(section, reference)
    if len(section.settings) > 1:
        yield Figure(f"{prefix}settings", "Accuracy of the settings", partial(_dots, section))
    if section.axes:
        rows, columns = section.axes
        yield Heading(f"Best accuracy by {rows} and {columns}", level)
        yield pivot.table(section, rows, columns)
        if len(section.settings) > 1:
            yield Figure(f"{prefix}pivot", f"Accuracy by {rows} and {columns}", partial(_heat_map, section))
    yield Heading("How to read this", level)
    yield Bullets(notes.notes(section, reference))
    if section.comparison.pairs:
        yield Heading("Compared with the best", level)
        yield tables.pairs(section.comparison)
    if (cost := tables.cost(section)).rows:
        yield Heading("Cost", level)
        yield cost
    if len(section.settings) > 1:
        yield Figure(f"{prefix}seconds", "Accuracy against seconds of training", partial(_seconds, section))
    yield from _answers(section, level, prefix)
    yield from _epochs(section, options, level, prefix)


def _dots(section: Section) -> Drawing:
    return plots.settings(section.table)


def _seconds(section: Section) -> Drawing:
    return plots.accuracy_by_seconds(section.table.rename(columns={"train_seconds": "seconds"}))


def _heat_map(section: Section) -> Drawing:
    assert section.axes is not None
    return plots.heat_map(pivot.values(section, *section.axes), *section.axes)


def _answers(section: Section, level: int, prefix: str) -> Iterator[Block]:
    """What the best setting's models confuse, and the photos that all find hard; figures only."""
    runs, best = section.runs, section.comparison.best
    if best is None:
        return
    name = next(iter(best.repeats.values()))
    if (answers := runs.predictions(name)) is None:
        return
    yield Heading("Mistakes", level)
    of = f"{runs.runs['settings'][name]} at its best epoch"
    yield Figure(f"{prefix}confusion", f"What is taken for what by {of}", partial(plots.confusion_matrix, answers))
    yield Figure(f"{prefix}classes", f"Precision and recall of each class by {of}", partial(plots.per_class, answers))
    yield Figure(f"{prefix}mistakes", "The photos most often wrong, over all runs", partial(_wrong_photos, section))


def _wrong_photos(section: Section) -> Drawing | None:
    names = [name for setting in section.settings for name in setting.repeats.values()]
    read = [answers for name in names if (answers := section.runs.predictions(name)) is not None]
    config = section.runs.runs.loc[names[0]]
    root = sources.place({str(key): value for key, value in config.items() if not is_unset(value)})
    return plots.wrong_photos(plots.mistakes(read), root) if root and read else None


def _epochs(section: Section, options: Options, level: int, prefix: str) -> Iterator[Block]:
    """The epochs of every run, of many runs those of the best."""
    yield Heading("Epochs", level)
    runs = section.runs.runs
    reference = options.reference if options.reference and options.reference.is_comparable(runs) else None
    shown = runs
    if runs["best_accuracy"].count() > _MOST_RUNS:
        shown = runs.loc[runs["best_accuracy"].nlargest(_MOST_RUNS).index]
        yield Paragraph(f"Those of the {_MOST_RUNS} runs with the highest accuracy; `--where` picks others.")
    for number, (name, run) in enumerate(shown.iterrows(), start=1):
        if len(runs) > 1:
            yield Heading(str(run["settings"]), level + 1)
        if run["status"] != "FINISHED":
            yield Paragraph(outcome(run))
        history = section.runs.epochs[section.runs.epochs["run"] == name]
        if history.empty:
            continue
        published = reference.accuracies_of_epochs(dict(run.items())) if reference else {}
        yield epochs.table(history, options.epochs, reference.title if reference else "", published)
        yield Figure(f"{prefix}run-{number}", f"Epochs of {run['settings']}", partial(plots.curves, history))


def _facts(runs: pd.DataFrame) -> Block:
    run = runs.iloc[0]
    facts = {
        "Protocol": run["protocol"],
        "Split": run["split"],
        "Started": run["started"],
        "Seconds": None if pd.isna(run["seconds"]) else f"{run['seconds']:.1f}",
        "Folder": run["folder"],
    }
    return Table(["Fact", "Value"], [[key, str(value)] for key, value in facts.items() if value is not None])


def _title(runs: pd.DataFrame) -> str:
    if len(runs) == 1:
        return f"Run {runs.index[0]}"
    sweeps = [sweep for sweep in dict.fromkeys(runs["sweep"]) if sweep]
    if not sweeps:
        return "Runs"
    return f"Sweep {sweeps[0]}" if len(sweeps) == 1 else f"Sweeps {', '.join(sweeps[:-1])} and {sweeps[-1]}"


def _count(runs: pd.DataFrame) -> str:
    ended = ", ".join(f"{number} {status}" for status, number in runs["status"].value_counts(sort=False).items())
    return f"{counted(len(runs), 'run')}: {ended}."
