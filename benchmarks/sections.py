"""What is measured: photos per second, start-up, the paper's run and its sweep, each on both sides in turn."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmarks import machine
from benchmarks.bench import OFTEN, OURS, PLAIN, SELDOM, Bench, Runs, tell
from benchmarks.measures import Row, Section
from benchmarks.sides import Task, one_after_another

AGAIN, PROCESSES = "flowerbench, photos known", "flowerbench, launcher=processes"
BF16, MLFLOW = "flowerbench, precision=bf16", "flowerbench, tracking=mlflow"


def rate(bench: Bench) -> Section:
    """Photos per second over a few steps, and the share of the machine's rate that training reaches."""
    s, sides, runs, task = bench.settings, bench.sides, Runs(), bench.rate_task
    flop = machine.flop_per_photo(task.model, task.image_size)
    matmul = []
    for number in range(1, s.repeats + 1):
        tell(f"photos per second, round {number} of {s.repeats}")
        matmul.append(bench.matmul_rate())
        runs.add(PLAIN, sides.plain(task))
        runs.add(OURS, sides.train(task))
        if bench.has_bf16:
            runs.add(BF16, sides.train(task, "precision=bf16"))
    training = runs.each(lambda run: run.rate("train", run.later))
    share = {
        side: [100 * rate * flop / limit for rate, limit in zip(rates, matmul, strict=True)]
        for side, rates in training.items()
    }
    rows = [
        Row("training, photos/s", training, "more"),
        Row("training in the first epoch, photos/s", runs.each(lambda run: run.rate("train", run.epochs[:1])), "more"),
        Row("evaluation, photos/s", runs.each(lambda run: run.rate("val", run.later)), "more"),
        Row("training, % of the matmul rate", share, "more"),
    ]
    photos_seen = round(runs.of[OURS][0].epochs[0]["train_photos"])
    note = (
        f"{_words(task)} of {photos_seen} photos; the first epoch counts only where that is said. A photo takes "
        f"{flop / 1e9:.1f} GFLOP, forward and backward, and this machine multiplies fp32 matrices at "
        f"{_spread(matmul)} GFLOP/s, measured before each round."
    )
    return Section("rate", "Photos per second", note, tuple(runs.of), rows, runs.raw())


def memory(bench: Bench) -> Section:
    """The most memory that is held at one time: apart from the other measures, for looking at it costs time."""
    sides, runs, task = bench.sides, Runs(), bench.rate_task
    for number in range(1, bench.settings.repeats + 1):
        tell(f"memory, round {number} of {bench.settings.repeats}")
        runs.add(PLAIN, sides.plain(task, watch=OFTEN))
        runs.add(OURS, sides.train(task, watch=OFTEN))
        if bench.has_bf16:
            runs.add(BF16, sides.train(task, "precision=bf16", watch=OFTEN))
    note = f"{_words(task)}, of the command and all its children together."
    return Section("memory", "Memory", note, tuple(runs.of), _memory(runs), runs.raw())


def startup(bench: Bench) -> Section:
    """Seconds until the first step of the paper's run, with an empty cache folder and with one that was used."""
    sides, runs = bench.sides, Runs()
    for number in range(1, bench.settings.repeats + 1):
        tell(f"start-up, round {number} of {bench.settings.repeats}")
        cache = sides.fresh("cache")
        runs.add(PLAIN, sides.plain(bench.task, steps=1))
        runs.add(OURS, sides.train(bench.task, cache=cache, steps=1))
        runs.add(AGAIN, sides.train(bench.task, cache=cache, steps=1))
    rows = [
        Row("until the first step is taken, s", runs.each(lambda run: run.until_first_step), "less"),
        Row("of that after all imports, s", runs.each(lambda run: run.after_imports), "less"),
    ]
    count = len(bench.split.train) + len(bench.split.val)
    note = (
        f"{_words(bench.task)}, {count} photos. {OURS} looks at all photos before it trains, and "
        "keeps in its cache folder what it needs not do again."
    )
    return Section("startup", "Start-up", note, (PLAIN, OURS, AGAIN), rows, runs.raw())


def overhead(bench: Bench) -> Section:
    """What a run takes besides its epochs, without MLflow and with it, when its photos are known."""
    sides, runs, task = bench.sides, Runs(), replace(bench.task, epochs=bench.settings.short_epochs)
    cache = sides.fresh("cache")
    sides.train(task, cache=cache, steps=1)
    for number in range(1, bench.settings.repeats + 1):
        tell(f"overhead, round {number} of {bench.settings.repeats}")
        runs.add(PLAIN, sides.plain(task))
        runs.add(OURS, sides.train(task, "reuse=off", cache=cache))
        runs.add(MLFLOW, sides.train(task, "reuse=off", "tracking.uri=sqlite:///mlflow.db", cache=cache))
    rows = [
        Row("all besides epochs and imports, s", runs.each(lambda run: run.besides_imports), "less"),
        Row("all besides epochs, s", runs.each(lambda run: run.besides), "less"),
        Row("epoch, s", runs.every(lambda run: run.seconds(run.later)), "less"),
    ]
    note = f"{_words(task)}, photos known. MLflow's store is a new SQLite file."
    return Section("overhead", "What a run takes besides", note, (PLAIN, OURS, MLFLOW), rows, runs.raw())


def accuracy(bench: Bench) -> Section:
    """The accuracy that the same training comes to with torchvision's transforms and with ours, over several seeds."""
    sides, runs, task = bench.sides, Runs(), replace(bench.task, epochs=bench.settings.short_epochs)
    for seed in range(bench.settings.repeats):
        tell(f"accuracy, seed {seed}")
        runs.add(PLAIN, sides.plain(task, seed=seed))
        runs.add(OURS, sides.train(task, f"seed={seed}"))
    rows = [
        Row("best validation accuracy", runs.each(lambda run: run.accuracy), digits=4),
        Row("validation accuracy of the last epoch", runs.each(lambda run: run.epochs[-1]["val_accuracy"]), digits=4),
        Row("training loss of the last epoch", runs.each(lambda run: run.epochs[-1]["train_loss"]), digits=4),
    ]
    seeds = f"{bench.settings.repeats} seeds" if bench.settings.repeats > 1 else "1 seed"
    note = f"{_words(task)}, {seeds}, {len(bench.split.val)} validation photos. {PLAIN} has torchvision's transforms."
    return Section("accuracy", "Accuracy", note, (PLAIN, OURS), rows, runs.raw())


def run(bench: Bench) -> Section:
    """The paper's run, from the command to its end."""
    task, runs = bench.task, Runs()
    runs.add(PLAIN, bench.plain_run(task.batch_size, task.epochs))
    tell(f"{OURS}, batch size {task.batch_size}, {task.epochs} epochs")
    runs.add(OURS, bench.sides.train(task, watch=SELDOM))
    rows = [
        Row("the whole run, s", runs.each(lambda run: run.usage.seconds), "less"),
        Row("epoch, s", runs.every(lambda run: run.seconds(run.later)), "less"),
        Row("all besides epochs, s", runs.each(lambda run: run.besides), "less"),
        Row("training, photos/s", runs.each(lambda run: run.rate("train", run.later)), "more"),
        Row("evaluation, photos/s", runs.each(lambda run: run.rate("val", run.later)), "more"),
        *_memory(runs),
        Row("best validation accuracy", runs.each(lambda run: run.accuracy), digits=4),
    ]
    note = f"{_words(task)}. An epoch and photos/s are of all epochs but the first."
    return Section("run", "The paper's run", note, (PLAIN, OURS), rows, runs.raw())


def sweep(bench: Bench) -> Section:
    """The paper's sweep: the plain script's runs one after another, ours as one command, by two launchers."""
    s = bench.settings
    launchers: dict[str, str | None] = {OURS: None}
    if importlib.util.find_spec("hydra_plugins.hydra_joblib_launcher"):
        launchers[PROCESSES] = "processes"
    else:
        tell("hydra/launcher=processes is left out: pip install '.[joblib]'")
    grid = [(batch_size, epochs) for batch_size in s.batch_sizes for epochs in s.epochs]
    ours = {}
    # In turn: a machine that is slower for a while is so for both.
    for half, (side, launcher) in enumerate(launchers.items()):
        for point in grid[half * len(grid) // 2 : (half + 1) * len(grid) // 2]:
            bench.plain_run(*point)
        tell(f"sweep, {side}")
        ours[side] = bench.sides.sweep(bench.task, s.batch_sizes, s.epochs, launcher, SELDOM)
    runs = {point: bench.plain_run(*point) for point in grid}
    sweeps = {PLAIN: one_after_another(runs), **ours}
    rows = [
        Row("the whole sweep, s", {side: [done.seconds] for side, done in sweeps.items()}, "less"),
        Row("epochs trained", {side: [done.trained] for side, done in sweeps.items()}, digits=0),
        Row("peak of memory, MB", {side: [(done.peak_bytes or 0) / 1e6] for side, done in sweeps.items()}, "less"),
    ]
    for point in grid:
        name = f"best validation accuracy, batch_size={point[0]} epochs={point[1]}"
        rows.append(Row(name, {side: [done.accuracies[point]] for side, done in sweeps.items()}, digits=4))
    note = (
        f"batch_size={_listed(s.batch_sizes)} epochs={_listed(s.epochs)}, otherwise as the paper's run. {OURS} begins "
        "with an empty cache folder and writes its report; the plain script's runs are one after another."
    )
    raw = [{"side": PLAIN, "batch_size": b, "epochs_asked": e, **run.raw()} for (b, e), run in runs.items()]
    raw += [{"side": side, **done.raw()} for side, done in ours.items()]
    return Section("sweep", "The paper's sweep", note, tuple(sweeps), rows, raw)


SECTIONS: Mapping[str, Callable[[Bench], Section]] = {
    "rate": rate,
    "memory": memory,
    "startup": startup,
    "overhead": overhead,
    "accuracy": accuracy,
    "run": run,
    "sweep": sweep,
}


def _memory(runs: Runs) -> list[Row]:
    host = Row("peak of memory, MB", runs.each(lambda run: (run.usage.peak_bytes or 0) / 1e6), "less")
    gpu = runs.every(lambda run: [] if run.gpu_bytes is None else [run.gpu_bytes / 1e6])
    return [host, *([Row("peak of the GPU's memory, MB", gpu, "less")] if any(gpu.values()) else [])]


def _words(task: Task) -> str:
    arguments = "".join(f" {name}={value}" for name, value in task.model_args)
    weights = f"weights {task.weights.name}" if task.weights else "random weights"
    return (
        f"{task.model}{arguments} ({weights}) at {task.image_size} px, batch size {task.batch_size}, "
        f"{task.epochs} epochs"
    )


def _listed(values: Sequence[int]) -> str:
    return ",".join(map(str, values))


def _spread(rates: Sequence[float]) -> str:
    return Row("", {"": [rate / 1e9 for rate in rates]}).cell("")
