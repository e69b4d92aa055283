"""Learning rates by epoch, and what comes before and after a checkpoint."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from flowerbench import checks, optimizers, schedules
from flowerbench.errors import UsageError


def made(compose_config, *overrides: str):
    cfg = compose_config("optim.lr=1.0", "epochs=8", *overrides)
    network = nn.Linear(3, 2)
    optimizer = optimizers.build(cfg.optim, network, {"bias"}, 16)
    return optimizer, schedules.build(cfg.schedule, optimizer)


def rates(optimizer: torch.optim.Optimizer, schedule: schedules.Schedule, epochs: int = 8, loss: float = 1.0):
    found = []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step(loss)
    return found


EXPECTED = {
    "schedule=step": [1] * 7 + [0.1],
    "schedule=constant": [1] * 8,
    "schedule=multistep schedule.milestones=[2,5]": [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01],
    "schedule=exponential schedule.gamma=0.5": [0.5**epoch for epoch in range(8)],
    "schedule=plateau": [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01],
    "schedule=constant schedule.warmup_epochs=3": [0.25, 0.5, 0.75, 1, 1, 1, 1, 1],
    "schedule=plateau schedule.warmup_epochs=1": [0.5, 1, 1, 1, 0.1, 0.1, 0.1, 0.01],
}


@pytest.mark.parametrize("overrides", EXPECTED)
def test_the_rates_are_those_of_the_schedule(compose_config, overrides):
    assert rates(*made(compose_config, *overrides.split())) == pytest.approx(EXPECTED[overrides])


def test_a_cosine_falls_to_its_end_after_the_warm_up(compose_config):
    found = rates(*made(compose_config, "schedule=cosine", "schedule.warmup_epochs=2"))
    assert found[:3] == pytest.approx([1 / 3, 2 / 3 * 0.9619, 0.8536], abs=1e-3)
    assert found[-1] == pytest.approx(0.038, abs=1e-3)


def test_one_cycle_rises_and_falls_with_momentum_opposite(compose_config):
    optimizer, schedule = made(compose_config, "schedule=onecycle", "epochs=10", "optim.head_lr_multiplier=10")
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.04, 0.4])
    found = rates(optimizer, schedule, 10)
    assert max(found) == pytest.approx(1, abs=0.05)
    assert found.index(max(found)) in (2, 3)
    assert found[-1] < 1e-4


def test_one_cycle_has_a_warm_up_of_its_own(compose_config):
    with pytest.raises(UsageError, match=r"schedule\.warmup_epochs is not for OneCycleLR.*pct_start"):
        checks.check(compose_config("schedule=onecycle", "schedule.warmup_epochs=1"))
    restarts = "schedule={_target_: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts, T_0: 3, warmup_epochs: 1}"
    with pytest.raises(UsageError, match=r"warmup_epochs is not for CosineAnnealingWarmRestarts"):
        made(compose_config, "~schedule", f"+{restarts}")


@pytest.mark.parametrize("overrides", [*EXPECTED, "schedule=onecycle", "schedule=cosine schedule.warmup_epochs=4"])
def test_it_goes_on_from_a_checkpoint_as_if_nothing_had_been(compose_config, overrides):
    whole = rates(*made(compose_config, *overrides.split()))
    first, schedule = made(compose_config, *overrides.split())
    begun = rates(first, schedule, 3)
    second, again = made(compose_config, *overrides.split())
    second.load_state_dict(first.state_dict())
    again.load_state_dict(schedule.state_dict())
    assert begun + rates(second, again, 5) == whole
