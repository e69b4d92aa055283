"""An evaluation as blocks: what it says, in which order, whatever it is written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from flowerbench.evaluation.measures import Measures
from flowerbench.evaluation.photos import OTHER, TEST, VALIDATION, Judged
from flowerbench.report import plots
from flowerbench.report.blocks import Block, Bullets, Figure, Heading, Paragraph, Table
from flowerbench.report.words import NONE, counted, decimals, percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

    from flowerbench.trained import Trained

# Photos on the sheet of the worst, and in the table of them.
_SHEET, _LISTED = 24, 10
# A table with more columns is read by nobody.
_MOST_CLASSES = 12
_TITLES = {VALIDATION: "Validation photos", TEST: "Test photos", OTHER: "Photos of another folder"}


@dataclass(frozen=True)
class Evaluated:
    """What a model was judged on, and what came of it."""

    judged: Judged
    measures: Measures

    @property
    def answers(self) -> pd.DataFrame:
        """The columns `photo`, `label` and `prediction`, by the names of the classes."""
        classes = pd.Index(self.measures.classes, dtype=object)
        labels, predictions = (classes[list(of)] for of in (self.measures.labels, self.measures.predictions))
        return pd.DataFrame({"photo": self.judged.paths, "label": labels, "prediction": predictions})

    @property
    def worst(self) -> pd.DataFrame:
        """The rows of `answers` of the highest loss, with the probabilities `p_label` and `p_prediction`."""
        measures = self.measures
        order = measures.worst(_SHEET)
        of_label = measures.probabilities[order, measures.labels[order]]
        rows = self.answers.iloc[order]
        return rows.assign(p_label=of_label, p_prediction=measures.confidences[order], loss=measures.losses[order])


def blocks(trained: Trained, parts: Sequence[Evaluated], *, flips: bool) -> list[Block]:
    """The whole evaluation: of each part the accuracy, the classes, the calibration and the worst photos."""
    made: list[Block] = [Heading(f"Evaluation of {trained.folder.name}", 1), _facts(trained, parts[0], flips)]
    for part in parts:
        made += _part(trained, part, flips)
    return made


def _facts(trained: Trained, part: Evaluated, flips: bool) -> Block:
    facts = {
        "Run": trained.folder.as_posix(),
        "Model": f"{trained.config['model.name']} after epoch {trained.epoch}",
        "Photos": part.judged.root.as_posix(),
        "Seen as": f"clean squares of {trained.image_size} pixels" + (", and mirrored" if flips else ""),
        "Computed": f"on {trained.device}, {trained.config['precision']}",
    }
    return Table(["Fact", "Value"], [[key, value] for key, value in facts.items()])


def _part(trained: Trained, part: Evaluated, flips: bool) -> Iterator[Block]:
    kind, measures = part.judged.kind, part.measures
    low, high = measures.interval
    yield Heading(_TITLES[kind], 2)
    yield Paragraph(
        f"**{percent(measures.accuracy)} right**: {measures.correct:,} of {counted(measures.total, 'photo')}, "
        f"95 % interval {percent(low)} to {percent(high)}."
    )
    yield Bullets(_notes(trained, part, flips))
    yield Heading("Classes", 3)
    yield _classes(measures)
    yield Figure(f"{kind}-classes", "Precision and recall of each class", partial(_per_class, part))
    yield Heading("Confusion", 3)
    if len(measures.classes) <= _MOST_CLASSES:
        yield _confusion(measures)
    yield Figure(f"{kind}-confusion", "What is taken for what", partial(_matrix, part))
    yield Heading("Calibration", 3)
    yield _calibration(measures)
    yield Figure(f"{kind}-reliability", "How often it is right, by how sure it is", partial(_reliability, part))
    yield Heading("Worst photos", 3)
    yield _worst(part)
    caption = "The photos of the highest loss: what they are → what they are taken for, and the probabilities of both"
    yield Figure(f"{kind}-worst", caption, partial(_sheet, part))


def _notes(trained: Trained, part: Evaluated, flips: bool) -> list[str]:
    """What must be known to read the accuracy."""
    judged, told = part.judged, []
    if judged.kind == VALIDATION:
        if trained.config["data.validation"] != "clean":
            best = "" if judged.expected is None else f", where its best accuracy was {decimals(judged.expected)}"
            told.append(
                f"Training validated on augmented photos{best}; here they are clean. That is another protocol: the two "
                "numbers cannot be compared."
            )
        told.append(
            "The model is that of the epoch which did best on these very photos, so the accuracy is a little too good; "
            "photos that nothing was chosen by say how good it is."
        )
    if judged.kind == TEST:
        told.append("The run chose nothing by these photos; to choose among runs by them would spoil that.")
    if judged.kind == OTHER:
        told.append("All photos of the folder were judged; whether some of them are also in training is not known.")
    if flips:
        as_then = "as in its validation" if trained.flips else "unlike in its validation"
        told.append(f"Probabilities are the mean over each photo and its mirror image, {as_then}.")
    return told


def _classes(measures: Measures) -> Table:
    rows = [
        [str(name), f"{int(row['photos']):,}", *(_number(row[key]) for key in ("precision", "recall", "f1"))]
        for name, row in measures.per_class.iterrows()
    ]
    return Table(["Class", "Photos", "Precision", "Recall", "F1"], rows)


def _number(value: float) -> str:
    return NONE if pd.isna(value) else decimals(value)


def _confusion(measures: Measures) -> Table:
    counts = measures.confusion
    rows = [[name, *map(str, line)] for name, line in zip(measures.classes, counts.tolist(), strict=True)]
    right = frozenset((place, place + 1) for place in range(len(rows)))
    return Table(["True class, taken for", *measures.classes], rows, bold=right)


def _calibration(measures: Measures) -> Table:
    """Confidence and accuracy side by side, and how far they are apart in the bins."""
    confidence = float(measures.confidences.mean())
    facts = {
        "Mean confidence": decimals(confidence),
        "Accuracy": decimals(measures.accuracy),
        "Expected calibration error (15 bins, Guo et al. 2017)": decimals(measures.ece),
        "Mean cross-entropy": decimals(float(measures.losses.mean())),
    }
    caption = "Of few photos the calibration error is above 0 even where confidence is as it should be."
    return Table(["Measure", "Value"], [[key, value] for key, value in facts.items()], caption=caption)


def _worst(part: Evaluated) -> Table:
    worst = part.worst.head(_LISTED)
    shown = worst.assign(p_label=worst["p_label"].map(percent), p_prediction=worst["p_prediction"].map(percent))
    rows = shown[["photo", "label", "p_label", "prediction", "p_prediction"]].astype(str).to_numpy().tolist()
    return Table(["Photo", "Class", "Its probability", "Taken for", "Probability"], rows)


def _per_class(part: Evaluated) -> Drawing:
    return plots.per_class(part.answers)


def _matrix(part: Evaluated) -> Drawing:
    return plots.confusion_matrix(part.answers)


def _reliability(part: Evaluated) -> Drawing:
    return plots.reliability(part.measures.bins)


def _sheet(part: Evaluated) -> Drawing | None:
    return plots.worst_photos(part.worst, part.judged.root)
