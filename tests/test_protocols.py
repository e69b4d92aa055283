from __future__ import annotations

import pytest

from flowerbench import checks
from flowerbench.errors import UsageError
from flowerbench.identity import flat
from flowerbench.protocols import named


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "clean"),
        (["data/protocol=paper"], "augmented"),
        (["experiment=paper"], "augmented"),
        (["experiment=paper", "data.validation=clean"], "clean"),
        (["data.validation=augmented"], "augmented"),
        (["data/protocol=holdout"], "holdout"),
        (["data/protocol=kfold", "data.fold=0"], "5-fold"),
        (["data/protocol=kfold", "data.folds=10", "data.validation=augmented"], "10-fold, augmented"),
    ],
)
def test_a_protocol_has_a_name_that_tells_it_from_others(compose_config, overrides, name):
    assert named(flat(compose_config(*overrides))) == name


def test_an_unknown_protocol_has_none_and_a_run_of_before_its_own():
    assert named({}) is None
    assert named({"data.validation": "augmented", "data.val_fraction": 0.2}) == "augmented"


def test_what_the_protocols_set(compose_config):
    def keys(*overrides: str) -> tuple:
        data = compose_config(*overrides).data
        return data.validation, data.stratify, data.val_fraction, data.test_fraction, data.folds

    assert keys() == keys("data/protocol=clean") == ("clean", True, 0.2, 0.0, None)
    assert keys("data/protocol=paper") == keys("experiment=paper") == ("augmented", False, 0.2, 0.0, None)
    assert keys("data/protocol=holdout") == ("clean", True, 0.2, 0.2, None)
    assert keys("data/protocol=kfold") == ("clean", True, 0.2, 0.0, 5)
    assert keys("experiment=paper", "data/protocol=holdout") == keys("data/protocol=holdout")
    assert keys("data/protocol=holdout", "data.test_fraction=0.1", "data.stratify=false")[1:4] == (False, 0.2, 0.1)
    assert keys("experiment=quickstart") == ("clean", False, 0.2, 0.0, None), "the README shows its numbers"
    assert compose_config("experiment=paper").data.near_distance is None


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (
            ["data/protocol=holdout", "data.val_fraction=0.8"],
            "=0.8 and test_fraction=0.2 leave nothing",
        ),
        (["data/protocol=kfold"], "data.folds=5 is 5 runs: add --multirun"),
        (["data/protocol=kfold", "data.fold=5"], "data.fold=5 is not allowed: a whole number from 0 to 4"),
        (["data/protocol=kfold", "data.fold=0", "data.test_fraction=0.1"], "data.folds=5 is not allowed with"),
        (["data.fold=1"], "data.fold=1 needs data.folds"),
        (["data.folds=1"], "data.folds=1 is not allowed: a whole number, 2 or more"),
        (["data.test_fraction=1"], "data.test_fraction=1.0 is not allowed: a number from 0, below 1"),
        (["data.near_distance=-1"], "data.near_distance=-1 is not allowed: bits, 0 to 64"),
    ],
)
def test_what_cannot_be_meant_is_refused(compose_config, overrides, told):
    with pytest.raises(UsageError, match=told):
        checks.check(compose_config(*overrides))


def test_drawn_flowers_look_alike_and_are_no_copies(compose_config):
    assert compose_config("data=synthetic").data.near_distance is None
    assert compose_config("data=synthetic", "data/protocol=kfold").data.near_distance is None
    assert compose_config("data=flowers", "data/protocol=holdout").data.near_distance is not None
