"""val_predictions.csv and test_predictions.csv: what a model says of each photo."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flowerbench import atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from flowerbench.data.sources import Photos

VAL, TEST = "val_predictions.csv", "test_predictions.csv"


def write(file: Path, indices: Sequence[int], probabilities: NDArray[np.float32], photos: Photos) -> None:
    """One row for each of these photos: its path, its class, the predicted one, and the probability of each class.

    `probabilities` has the shape (photos, classes), its rows in the order of `indices`.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["photo", "label", "prediction", *(f"p({name})" for name in photos.classes)])
    for index, row in zip(indices, probabilities, strict=True):
        label, prediction = photos.classes[photos.labels[index]], photos.classes[int(row.argmax())]
        writer.writerow([photos.paths[index], label, prediction, *(f"{p:.6f}" for p in row)])
    atomic.write_text(file, text.getvalue())
