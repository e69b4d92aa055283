"""What runs differ in, and what of it tells them apart."""

from __future__ import annotations

from pathlib import Path

from flowerbench.report import frame, keys
from tests.report.helpers import config, steps, write_plan, write_run


def vary(home: Path, *configs: dict[str, object], named: tuple[str, ...] = ()) -> frame.Runs:
    for number, told in enumerate(configs):
        write_run(home / str(number), told, steps([90]))
    if named:
        (home / "sweep.json").write_text(f'{{"varying": {list(named)}, "points": []}}'.replace("'", '"'))
    return frame.load(home)


def test_a_group_that_a_sweep_varied_stands_for_what_it_settles(tmp_path: Path):
    classes = {"sgd": ("torch.optim.SGD", 0.001), "adamw": ("torch.optim.AdamW", 0.0003)}
    points = [[f"optim={name}", f"seed={seed}"] for name in classes for seed in (0, 1)]
    home = write_plan(tmp_path, ["optim", "seed"], points)
    for choice, seed in points:
        target, rate = classes[choice.removeprefix("optim=")]
        told = config(optim={"_target_": target, "lr": rate}) | {"seed": int(seed[-1])}
        write_run(home / f"{choice}_{seed}".replace("=", "-"), told, steps([90]))
    assert list(frame.load(home).runs["settings"]) == [
        f"batch_size=16, epochs=4, {choice}, {seed}" for choice, seed in points
    ]


def test_an_experiment_that_a_sweep_varied_stands_for_all_that_it_settles(tmp_path: Path):
    overlays = {"small": (0.001, 0.0), "best": (0.0008, 0.1)}
    points = [[f"experiment={name}", f"data.val_fraction={part}"] for name in overlays for part in (0.2, 0.3)]
    home = write_plan(tmp_path, ["experiment", "data.val_fraction"], points)
    for choice, part in points:
        rate, smoothing = overlays[choice.removeprefix("experiment=")]
        told = config(optim={"lr": rate}, data={"val_fraction": float(part.rpartition("=")[2])})
        told["regularization"] = {"label_smoothing": smoothing}
        write_run(home / f"{choice}_{part}".replace("=", "-"), told, steps([90]))
    assert list(frame.load(home).runs["settings"]) == [
        f"batch_size=16, epochs=4, {choice}, {part}" for choice, part in points
    ]


def test_a_run_that_chose_no_experiment_shows_its_settings(tmp_path: Path):
    chosen = write_plan(tmp_path / "chosen", ["experiment"], [["experiment=small"], ["experiment=best"]])
    for name, rate in (("small", 0.001), ("best", 0.0008)):
        write_run(chosen / f"experiment-{name}", config(optim={"lr": rate}), steps([90]))
    write_run(tmp_path / "other", config(optim={"lr": 0.05}), steps([90]))
    assert list(frame.load(tmp_path).runs["settings"]) == [
        "batch_size=16, epochs=4, experiment=small, optim.lr=0.001",
        "batch_size=16, epochs=4, experiment=best, optim.lr=0.0008",
        "batch_size=16, epochs=4, optim.lr=0.05",
    ]


def test_a_point_that_never_began_shows_what_it_would_have_had(tmp_path: Path):
    home = write_plan(tmp_path / "chosen", ["experiment"], [["experiment=small"], ["experiment=best"]])
    for name, rate in (("small", 0.001), ("best", 0.0008)):
        write_run(home / f"experiment-{name}", config(optim={"lr": rate}), steps([90]))
    write_plan(tmp_path / "never", ["experiment"], [["experiment=small", "optim.lr=0.5"]])
    assert list(frame.load(tmp_path).runs["settings"]) == [
        "batch_size=16, epochs=4, experiment=small, optim.lr=0.001",
        "batch_size=16, epochs=4, experiment=best, optim.lr=0.0008",
        "experiment=small, optim.lr=0.5",
    ]


def test_a_seed_that_an_experiment_sets_is_a_seed(tmp_path: Path):
    home = write_plan(tmp_path, ["experiment"], [["experiment=a"], ["experiment=b"]])
    for name, seed in (("a", 3), ("b", 4)):
        write_run(home / f"experiment-{name}", config() | {"seed": seed}, steps([90]))
    assert keys.varying(frame.load(home).runs, ["experiment"]) == ["experiment", "seed"]


def test_settings_are_what_runs_differ_in(tmp_path: Path):
    runs = vary(
        tmp_path,
        config(16, 20, optim={"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}, model={"weights": None}),
        config(16, 20, optim={"_target_": "torch.optim.AdamW", "lr": 0.1}, model={"weights": "imagenet"}),
    )
    assert list(runs.runs["settings"]) == [
        "batch_size=16, epochs=20, optim=SGD, optim.momentum=0.9, model.weights=null",
        "batch_size=16, epochs=20, optim=AdamW, model.weights=imagenet",
    ]


def test_places_and_devices_are_no_settings_unless_a_sweep_varied_them(tmp_path: Path):
    told = [config(device=d, data={"root": d, "workers": n}, tracking={"uri": d}) for n, d in enumerate(("cpu", "mps"))]
    runs = vary(tmp_path / "a", *told).runs
    assert keys.varying(runs) == []
    assert list(runs["settings"]) == ["batch_size=16, epochs=4 (0)", "batch_size=16, epochs=4 (1)"]
    runs = vary(tmp_path / "b", *told, named=("device",)).runs
    assert list(runs["settings"]) == ["batch_size=16, epochs=4, device=cpu", "batch_size=16, epochs=4, device=mps"]


def test_a_schedule_as_long_as_the_run_is_no_setting_of_its_own(tmp_path: Path):
    runs = vary(tmp_path / "tied", *(config(16, n, schedule={"T_max": "${epochs}"}) for n in (20, 25))).runs
    assert keys.varying(runs) == ["epochs"]
    runs = vary(tmp_path / "free", *(config(16, 20, schedule={"T_max": n}) for n in (20, 25))).runs
    assert keys.varying(runs) == ["schedule.T_max"]


def test_numbers_are_equal_however_written(tmp_path: Path):
    assert keys.varying(vary(tmp_path, *(config(optim={"lr": lr}) for lr in (1, 1.0))).runs) == []
