"""How to read the numbers of a section: what they were measured on, and what each column means."""

from __future__ import annotations

from flowerbench.report import comparison, evidence, stats
from flowerbench.report.analysis import Section
from flowerbench.report.keys import REPEATED
from flowerbench.report.measures import LAST_EPOCHS
from flowerbench.report.reference import Reference
from flowerbench.report.words import percent

_PROTOCOLS = {
    "clean": "Validation photos are clean: resized and cropped, never augmented.",
    "augmented": "Validation photos are augmented as the training photos are, so a new draw would give new numbers.",
}


def _protocol(name: str | None) -> list[str]:
    """What the protocol of this name means (`protocols.named`)."""
    dealt_out, _, prepared = (name or "").rpartition(", ")
    if not dealt_out and prepared not in _PROTOCOLS:
        dealt_out, prepared = prepared, "clean"
    folds = dealt_out.removesuffix("-fold")
    is_known = prepared in _PROTOCOLS and (dealt_out in ("", "holdout") or folds.isdigit())
    if not name or not is_known:
        return [f"The validation protocol is {name or 'not known'}."]
    lines = [_PROTOCOLS[prepared]]
    if dealt_out == "holdout":
        lines.append("The test photos were seen once, after the last epoch, by the model of the best one.")
    elif dealt_out:
        lines.append(f"Each photo is validated in one of {folds} folds, by models that were trained on the others.")
    return lines


def notes(section: Section, reference: Reference | None = None) -> list[str]:
    """A list of sentences: protocol, what a photo is worth, intervals, tests, and what may be missing."""
    settings, runs = section.settings, section.runs.runs
    lines = _protocol(section.protocol)
    lines.append(
        "The best accuracy is the best of a run's epochs, on the very photos it is chosen on: it flatters. The last "
        f"epoch, and the mean of the last {LAST_EPOCHS}, do not."
    )
    if any(setting.is_tested for setting in settings):
        lines.append("The number to trust is that of the test photos: they chose nothing.")
        if not section.comparison.is_by_test:
            lines.append("Settings are compared by validation photos, as not all of them have seen test photos.")
        elif section.comparison.pairs:
            lines.append(
                "Settings are compared by the test photos. Who picks one for that has chosen by them, and its number "
                "flatters again: pick by validation, then look."
            )
    totals = sorted({setting.total for setting in settings if setting.total})
    lines += [f"One photo of {total} is {1 / total:.2g}." for total in totals]
    if any(setting.interval for setting in settings):
        kinds = {setting.n > 1 for setting in settings if setting.interval}
        of = {True: "for the mean of several runs Student's", False: "for one run Wilson's"}
        lines.append(f"Intervals cover 95 %: {', '.join(of[kind] for kind in sorted(kinds))}.")
    if any(setting.n > 1 for setting in settings):
        lines.append("± is the standard deviation between the runs of a setting, n their number.")
    if apart := sorted({setting.apart for setting in settings if setting.n > 1 and not _repeats(setting.apart)}):
        lines.append(f"As asked for, runs that differ in {' and '.join(apart)} count as repeats of one setting.")
    if pairs := section.comparison.pairs:
        tests = ", ".join(sorted({_TESTS[pair.test] for pair in pairs}))
        level = percent(stats.LEVEL, 0)
        together = f"{level} over all {len(pairs)} pairs together, by Holm's correction" if len(pairs) > 1 else level
        lines.append(
            f"Bold settings cannot be told from the best. Pairs of settings are tested at {together}: {tests}."
        )
        is_by_best = not section.comparison.is_by_test
        if is_by_best and runs.loc[runs["status"] == "FINISHED", "epochs_done"].nunique() > 1:
            lines.append(
                "A longer run is tested by the best of as many of its last epochs as the other has: each epoch more is "
                "one more chance of a lucky best."
            )
    left_out = sum(setting.n > 0 for setting in settings) - len(section.comparison.settings)
    if left_out:
        lines.append(f"Only the best {comparison.MOST} settings are compared; {left_out} more are listed.")
    if (runs["status"] == "RUNNING").any():
        lines.append("RUNNING may also be a run that was killed so hard that nothing could note it.")
    if reference:
        lines += reference.remarks(runs)
    return lines


def _repeats(apart: str) -> bool:
    """Whether runs that differ in these keys repeat a setting anyway."""
    return set(apart.split(", ")) <= {"", *REPEATED}


_TESTS = {
    evidence.MCNEMAR: "McNemar's exact test on the same photos",
    evidence.FISHER: "Fisher's exact test on the counts, as the answers to the single photos are not known",
    evidence.CROSSED: "over the repeats that both have, such as seeds, and over repeats and photos",
    evidence.FOLDS: "Student's over the folds, corrected for the photos that they train on in common",
    evidence.NO_TEST: "none where photos were not counted",
}
