"""TrivialAugment and random erasing: a photo's numbers depend on its draws alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from flowerbench.data import augment, stronger


@pytest.fixture
def photos() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(6, 3, 40, 40, generator=generator) * 255).round()


def test_a_photo_is_changed_alike_in_any_batch(photos):
    draws = augment.more(0, 1, 6, stronger.COLUMNS)
    whole = stronger.recoloured(photos.clone(), draws)
    for index in range(6):
        alone = stronger.recoloured(photos[index : index + 1].clone(), draws[index : index + 1])
        assert torch.equal(alone[0], whole[index])
    assert not torch.equal(whole, photos)
    assert whole.min() >= 0
    assert whole.max() <= 255


def test_what_others_draw_stays_as_it_was(photos):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    stronger.recoloured(photos.clone(), augment.more(0, 1, 6, stronger.COLUMNS))
    assert torch.equal(torch.rand(3), expected)


def test_a_rectangle_is_erased_in_the_share_of_photos_that_is_asked_for():
    draws = augment.more(3, 1, 2000, stronger.COLUMNS)
    erased = stronger.erased(torch.ones(2000, 1, 24, 24), draws, 0.25)
    is_erased = (erased == 0).flatten(1).any(1)
    assert is_erased.float().mean().item() == pytest.approx(0.25, abs=0.03)
    areas = (erased[is_erased] == 0).flatten(1).float().mean(1)
    assert areas.min() > 0.005
    assert areas.max() <= 0.40
    assert areas.mean().item() == pytest.approx(0.175, abs=0.02)
    for photo in erased[is_erased][:50]:
        rows, columns = (photo[0] == 0).any(1), (photo[0] == 0).any(0)
        assert (photo[0] == 0).sum() == rows.sum() * columns.sum(), "one rectangle"


def test_nothing_is_erased_at_probability_zero(photos):
    draws = augment.more(0, 1, 6, stronger.COLUMNS)
    assert torch.equal(stronger.erased(photos.clone(), draws, 0.0), photos)


def test_the_draws_of_a_photo_are_those_of_its_epoch():
    assert np.array_equal(augment.more(1, 2, 5, 3), augment.more(1, 2, 5, 3))
    assert not np.array_equal(augment.more(1, 2, 5, 3), augment.more(1, 3, 5, 3))
    assert not np.array_equal(augment.more(1, 2, 5, augment.COLUMNS), augment.table(1, 2, 5))
