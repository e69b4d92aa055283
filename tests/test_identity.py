from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowerbench.identity import flat, identity, safe_name

FACTS = {"photos": "a", "split": "b", "weights": "c"}


@given(st.text(max_size=300))
def test_a_name_is_safe_as_a_folder_everywhere(text):
    name = safe_name(text)
    assert 1 <= len(name) <= 100
    assert all(c.isascii() and (c.isalnum() or c in "._-+") for c in name)


@given(st.lists(st.text(alphabet="ab/=,: .~", min_size=1, max_size=12), min_size=2, max_size=2, unique=True))
def test_different_settings_have_different_names(pair):
    plain = [text.replace("=", "-").replace(",", "_") for text in pair]
    if plain[0] != plain[1]:
        assert safe_name(pair[0]) != safe_name(pair[1])


def test_a_name_is_readable():
    assert safe_name("batch_size=16,epochs=20") == "batch_size-16_epochs-20"
    assert safe_name("") == "defaults"
    assert safe_name("data.root=/a/b,epochs=2").startswith("data.root-ab_epochs-2_")


def test_flat_keys_are_dotted_and_resolved(compose_config):
    params = flat(compose_config("schedule=cosine", "epochs=7"))
    assert params["batch_size"] == 16
    assert params["schedule.T_max"] == 7
    assert params["data.augmentation.rotation"] == 30
    assert params["model.kwargs"] == {}


@pytest.mark.parametrize(
    "override",
    [
        "batch_size=32",
        "epochs=20",
        "seed=1",
        "image_size=160",
        "precision=bf16",
        "optim.lr=0.1",
        "optim=adamw",
        "schedule=cosine",
        "data.validation=augmented",
        "data.augmentation.rotation=10",
        "optim.nesterov=true",
    ],
)
def test_what_changes_the_numbers_changes_the_identity(compose_config, override):
    assert identity(compose_config(override), FACTS) != identity(compose_config(), FACTS)


@pytest.mark.parametrize(
    "override",
    [
        "tracking=none",
        "device=cpu",
        "data.root=/elsewhere",
        "data.workers=3",
        "tracking.experiment=other",
        "model.weights=w.pth",
    ],
)
def test_what_does_not_change_the_numbers_does_not(compose_config, override):
    assert identity(compose_config(override), FACTS) == identity(compose_config(), FACTS)


@pytest.mark.parametrize("fact", list(FACTS))
def test_photos_split_and_weights_belong_to_it(compose_config, fact):
    assert identity(compose_config(), FACTS | {fact: "other"}) != identity(compose_config(), FACTS)
