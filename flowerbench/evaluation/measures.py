"""What a model's answers come to: how many are right, of which class, and whether it is as sure as it should be."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flowerbench.report import stats

if TYPE_CHECKING:
    import pandas as pd

BINS = 15


@dataclass(frozen=True)
class Measures:
    """Of photos with these `labels`, shape (photos,), and `probabilities` of the `classes`, (photos, classes)."""

    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    probabilities: NDArray[np.float32]

    @cached_property
    def predictions(self) -> NDArray[np.int64]:
        """The likeliest class of each photo."""
        likeliest: NDArray[np.int64] = self.probabilities.argmax(1)
        return likeliest

    @property
    def total(self) -> int:
        return len(self.labels)

    @cached_property
    def correct(self) -> int:
        return int((self.predictions == self.labels).sum())

    @property
    def accuracy(self) -> float:
        return self.correct / self.total

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy: Wilson 1927."""
        return stats.wilson(self.correct, self.total)

    @cached_property
    def losses(self) -> NDArray[np.float64]:
        """The cross-entropy of each photo."""
        of_label = self.probabilities[np.arange(self.total), self.labels].astype(np.float64)
        losses: NDArray[np.float64] = -np.log(np.maximum(of_label, np.finfo(np.float32).tiny))
        return losses

    @cached_property
    def confidences(self) -> NDArray[np.float64]:
        """The probability of each photo's likeliest class."""
        likeliest: NDArray[np.float64] = self.probabilities.max(1).astype(np.float64)
        return likeliest

    @cached_property
    def per_class(self) -> pd.DataFrame:
        """`photos`, `precision`, `recall` and `f1` of each class, by scikit-learn; NaN where there is none."""
        import pandas as pd
        from sklearn.metrics import precision_recall_fscore_support

        order = range(len(self.classes))
        precision, recall, f1, photos = precision_recall_fscore_support(
            self.labels, self.predictions, labels=list(order), zero_division=np.nan
        )
        table = {"photos": photos, "precision": precision, "recall": recall, "f1": f1}
        return pd.DataFrame(table, index=list(self.classes))

    @cached_property
    def confusion(self) -> NDArray[np.int64]:
        """How many photos of each class (rows) were given which class (columns)."""
        from sklearn.metrics import confusion_matrix

        counted: NDArray[np.int64] = confusion_matrix(
            self.labels, self.predictions, labels=list(range(len(self.classes)))
        )
        return counted

    @cached_property
    def bins(self) -> pd.DataFrame:
        """The photos by their confidence, in equal bins from `low`, excluded, to `high`, included.

        `photos` fall into each, `correct` of which are right; `confidence` is their mean, NaN for an empty bin.
        """
        import pandas as pd

        edges = np.linspace(0, 1, BINS + 1)
        place = np.digitize(self.confidences, edges[1:-1], right=True)
        photos = np.bincount(place, minlength=BINS)
        sums = np.bincount(place, self.confidences, BINS)
        confidence = np.divide(sums, photos, out=np.full(BINS, np.nan), where=photos > 0)
        correct = np.bincount(place[self.predictions == self.labels], minlength=BINS)
        table = {"low": edges[:-1], "high": edges[1:], "photos": photos, "correct": correct, "confidence": confidence}
        return pd.DataFrame(table)

    @property
    def ece(self) -> float:
        """The expected calibration error: the mean distance of confidence and accuracy over the bins, by their photos.

        Guo et al., On Calibration of Modern Neural Networks (ICML 2017).
        """
        used = self.bins[self.bins["photos"] > 0]
        gaps = (used["correct"] / used["photos"] - used["confidence"]).abs()
        return float((gaps * used["photos"]).sum() / self.total)

    def worst(self, most: int) -> NDArray[np.int64]:
        """The photos of the highest loss, the highest first."""
        return (-self.losses).argsort(kind="stable")[:most]
