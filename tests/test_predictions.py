"""The tables of what a model says of each photo."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from flowerbench import predictions
from flowerbench.data.sources import Photos


def test_a_table_names_photos_and_classes_whatever_they_are_called(tmp_path: Path):
    photos = Photos(tmp_path, ('1, "a"', "2"), ("1/é.png", "1/b,c.png", "2/d.png"), (0, 0, 1), ("x",) * 3, (None,) * 3)
    probabilities = np.array([[0.25, 0.75], [0.5, 0.5]], dtype=np.float32)
    predictions.write(tmp_path / "table.csv", (2, 1), probabilities, photos)
    with (tmp_path / "table.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["photo", "label", "prediction", 'p(1, "a")', "p(2)"]
    assert rows == [
        ["2/d.png", "2", "2", "0.250000", "0.750000"],
        ["1/b,c.png", '1, "a"', '1, "a"', "0.500000", "0.500000"],
    ], "of equals the first"
