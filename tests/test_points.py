from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from flowerbench import config, drive, points
from flowerbench.errors import UsageError
from flowerbench.points import Point


@pytest.fixture
def plan() -> Callable[..., tuple[list[str], list[Point]]]:
    """The plan of a multirun with these overrides."""

    def planned(*overrides: str) -> tuple[list[str], list[Point]]:
        config.register()
        with initialize_config_dir(str(config.folder()), version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            cfg = loader.load_configuration("config", list(overrides), run_mode=RunMode.MULTIRUN)
            assert isinstance(cfg, DictConfig)
            return points.plan(cfg)

    return planned


def values(planned: list[Point], *keys: str) -> list[tuple]:
    return [tuple(point.config[key] for key in keys) for point in planned]


def test_a_grid_is_all_combinations(plan):
    varying, planned = plan("batch_size=16,32", "epochs=20,25", "seed=3")
    assert varying == ["batch_size", "epochs"]
    assert values(planned, "batch_size", "epochs", "seed") == [(16, 20, 3), (16, 25, 3), (32, 20, 3), (32, 25, 3)]
    assert planned[0].folder == "batch_size-16_epochs-20"


def test_repeats_count_the_seed_up(plan):
    varying, planned = plan("batch_size=16,32", "repeats=3", "seed=7")
    assert varying == ["batch_size", "seed"]
    assert values(planned, "batch_size", "seed") == [(b, s) for b in (16, 32) for s in (7, 8, 9)]
    assert planned[1].folder == "batch_size-16_seed-8"
    assert not any("repeats" in override for override in planned[0].overrides), "a point is one run"


def test_a_cross_validation_is_a_point_for_every_fold(plan, tmp_path):
    varying, planned = plan("data/protocol=kfold", "batch_size=16,32", "data.folds=3", "repeats=2")
    assert varying == ["batch_size", "seed", "data.fold"]
    found = [(p.config.batch_size, p.config.seed, p.config.data.fold) for p in planned]
    assert found == [(b, s, f) for b in (16, 32) for s in (0, 1) for f in range(3)]
    assert planned[4].folder == "batch_size-16_data.fold-1_seed-1"
    assert [p.config.data.fold for p in plan("data/protocol=kfold", "data.fold=3", "seed=1")[1]] == [3]
    assert [p.config.data.fold for p in plan("data/protocol=kfold", "data.fold=1,4")[1]] == [1, 4]
    (tmp_path / "p.yaml").write_text("- {data/protocol: kfold, data.folds: 2}\n- {data/protocol: clean}\n")
    varying, planned = plan(f"points={tmp_path / 'p.yaml'}")
    assert varying == ["data/protocol", "data.folds", "data.fold"]
    assert [(p.config.data.folds, p.config.data.fold) for p in planned] == [(2, 0), (2, 1), (None, None)]


FILES = {
    "points.csv": "batch_size,optim.lr,optim\n16,0.001,\n32, 0.01 ,adamw\n",
    "points.yaml": "- {batch_size: 16, optim.lr: 0.001}\n- {batch_size: 32, optim.lr: 0.01, optim: adamw}\n",
}


@pytest.mark.parametrize("name", FILES)
def test_points_may_be_a_list(plan, tmp_path, name):
    (tmp_path / name).write_text(FILES[name])
    varying, planned = plan(f"points={tmp_path / name}", "epochs=2,3")
    assert varying == ["epochs", "batch_size", "optim.lr", "optim"]
    found = [(p.config.epochs, p.config.batch_size, p.config.optim.lr, p.config.optim._target_[-5:]) for p in planned]
    assert found == [(e, *rest) for e in (2, 3) for rest in ((16, 0.001, "m.SGD"), (32, 0.01, "AdamW"))]
    assert len({point.folder for point in planned}) == 4


def test_values_of_a_list_may_be_anything(plan, tmp_path):
    (tmp_path / "p.yaml").write_text(
        "- {model.weights: null, data.augmentation.scale: [0.5, 1.0], data.name: 'a b, c', +optim.foreach: true}\n"
    )
    _, (point,) = plan(f"points={tmp_path / 'p.yaml'}")
    cfg = point.config
    assert (cfg.model.weights, list(cfg.data.augmentation.scale), cfg.data.name) == (None, [0.5, 1.0], "a b, c")
    assert cfg.optim.foreach is True


@pytest.mark.parametrize(
    ("name", "text", "more", "told"),
    [
        ("p.csv", "batch_size\n16\n", ["batch_size=8,16"], "batch_size is swept on the command line and in points="),
        ("p.csv", "", [], "names no point"),
        ("p.csv", "batch_size,epochs\n16,2,3\n", [], "more cells than"),
        ("p.txt", "batch_size\n16\n", [], "is neither .csv nor .yaml"),
        ("p.yaml", "batch_size: 16\n", [], "must be a list of points"),
        ("p.yaml", "- {batch_size: 16\n", [], "cannot be read"),
        ("p.csv", "seed\n1\n", ["repeats=2"], "repeats counts seeds up, and seed is swept as well"),
        ("p.csv", "batch_size\n0\n", [], "batch_size=0 is not allowed"),
        ("p.csv", "batch_size;epochs\n16;2\n", [], "point 1: .* is not a key and its value"),
        ("p.csv", 'batch_size\n"16,32"\n', [], "point 1: batch_size=16,32 is several values"),
        ("p.csv", "seed\n1\n", ["hydra/sweeper=basic"], "are for hydra/sweeper=grid"),
        ("p.csv", "batch_size\n16\n16\n", [], "names a point more than once"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(plan, tmp_path, name, text, more, told):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told):
        plan(f"points={tmp_path / name}", *more)


def test_a_list_that_is_not_there_is_refused(plan, tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        plan(f"points={tmp_path / 'none.csv'}")


def test_the_order_trains_one_of_each_trajectory_first(plan):
    _, planned = plan("batch_size=16,32", "epochs=25,20", "schedule=step,cosine")
    found = [(p.config.batch_size, p.config.epochs, "T_max" in p.config.schedule) for p in drive.in_order(planned)]
    own, shared = [row for row in found if row[2]], [row for row in found if not row[2]]
    assert shared == [(16, 20, False), (32, 20, False), (16, 25, False), (32, 25, False)]
    assert len(own) == 4
    assert found.index(shared[2]) >= 6, "whatever waits for nothing comes first"


def test_what_is_carried_out_otherwise_is_the_same_point(plan):
    def settings(*overrides: str) -> str:
        return plan(*overrides)[1][0].settings

    same = settings("seed=1")
    for override in ("data.workers=3", "reuse=off", "tracking=none", "cache.max_gb=1", "on_error=stop", "dry_run=true"):
        assert settings("seed=1", override) == same, override
    for override in ("data.root=elsewhere", "device=cpu", "epochs=3", "data=synthetic"):
        assert settings("seed=1", override) != same, override


def test_files_are_named_from_the_working_folder(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("p.csv").write_text("seed\n4\n")
    assert values(plan("points=p.csv")[1], "seed") == [(4,)]
