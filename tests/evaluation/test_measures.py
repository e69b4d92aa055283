"""What answers come to."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from flowerbench.evaluation.measures import BINS, Measures


def measures(labels: list[int], probabilities: list[list[float]]) -> Measures:
    names = tuple("abcdef"[: len(probabilities[0])])
    return Measures(names, np.array(labels), np.array(probabilities, dtype=np.float32))


def directly(found: Measures) -> float:
    """ECE as Guo et al. (2017) write it in their equations 2 and 3: over bins ((m-1)/M, m/M]."""
    error = 0.0
    for m in range(1, BINS + 1):
        inside = [
            i
            for i in range(found.total)
            if (m - 1) / BINS < max(map(float, found.probabilities[i])) <= (m / BINS if m < BINS else 1)
        ]
        if inside:
            accuracy = sum(int(found.predictions[i] == found.labels[i]) for i in inside) / len(inside)
            confidence = sum(max(map(float, found.probabilities[i])) for i in inside) / len(inside)
            error += len(inside) / found.total * abs(accuracy - confidence)
    return error


@given(st.data())
def test_the_calibration_error_is_that_of_its_definition(data: st.DataObject):
    photos, classes = data.draw(st.integers(1, 40)), data.draw(st.integers(2, 6))
    raw = data.draw(arrays.arrays(np.float64, (photos, classes), elements=st.floats(0.01, 1)))
    labels = data.draw(st.lists(st.integers(0, classes - 1), min_size=photos, max_size=photos))
    found = measures(labels, (raw / raw.sum(1, keepdims=True)).tolist())
    assert found.ece == pytest.approx(directly(found), abs=1e-9)
    assert found.bins["photos"].sum() == photos
    assert found.bins["correct"].sum() == found.correct


def test_a_sure_model_that_is_right_is_calibrated_and_one_that_is_wrong_is_not():
    assert measures([0, 1], [[1, 0], [0, 1]]).ece == 0
    assert measures([1, 0], [[1, 0], [0, 1]]).ece == 1
    half = measures([0, 1, 0, 1], [[0.75, 0.25]] * 4)
    assert half.ece == pytest.approx(0.25)
    assert len(half.bins) == 15
    assert half.bins.loc[half.bins["photos"] > 0, ["photos", "correct", "confidence"]].to_numpy().tolist() == [
        [4, 2, 0.75]
    ]


def test_classes_are_measured_apart():
    found = measures([0, 0, 0, 1, 1], [[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.8, 0], [0.3, 0.7, 0], [0.8, 0.2, 0]])
    assert (found.correct, found.accuracy) == (3, 0.6)
    assert found.interval == pytest.approx((0.2307, 0.8824), abs=1e-4)
    assert found.confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    rows = found.per_class
    assert rows["photos"].tolist() == [3, 2, 0]
    assert rows["precision"].tolist()[:2] == pytest.approx([2 / 3, 1 / 2])
    assert rows["recall"].tolist()[:2] == pytest.approx([2 / 3, 1 / 2])
    assert rows["f1"].tolist()[:2] == pytest.approx([2 / 3, 1 / 2])
    assert rows.loc["c", ["precision", "recall"]].isna().all()


def test_the_worst_photos_are_those_of_the_highest_loss():
    found = measures([0, 1, 0], [[0.5, 0.5], [0.9, 0.1], [0, 1]])
    assert found.losses[:2] == pytest.approx([math.log(2), math.log(10)], rel=1e-6)
    assert math.isfinite(found.losses[2])
    assert found.worst(2).tolist() == [2, 1]
