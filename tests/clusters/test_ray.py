"""A sweep on a Ray cluster of two nodes, one of which is lost."""

from __future__ import annotations

import pytest

from tests.clusters.conftest import is_whole

pytestmark = [pytest.mark.long, pytest.mark.alone, pytest.mark.timeout(400)]

EPOCHS = 100


def test_the_sweep_completes_when_a_node_is_lost(ray_nodes, sweep, photos, alone, monkeypatch):
    address, raylet = ray_nodes
    monkeypatch.setenv("RAY_ADDRESS", address)
    running = sweep("hydra/launcher=ray_cluster", "tracking=none", *photos, f"epochs={EPOCHS}", "seed=0,1,2,3")
    running.wait_for("two points are under way", lambda: len(running.under_way()) == 2)
    before = {name: running.epochs(name) for name in running.under_way()}
    raylet.kill()
    code, output, errors = running.finish()
    assert code == 0, output + errors
    assert running.statuses() == {f"seed-{seed}": "FINISHED" for seed in range(4)}
    assert all(is_whole(running, name, EPOCHS) for name in running.runs())
    # The seconds of every epoch stand in its row, so these epochs were not trained again.
    assert {name: running.epochs(name)[: len(rows)] for name, rows in before.items()} == before
    assert running.numbers("seed-1") == alone(f"epochs={EPOCHS}", "seed=1")
