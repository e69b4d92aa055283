"""Where the time of an epoch goes: a table of the first epoch that a run trains, and a trace of some of its steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function

from flowerbench import atomic
from flowerbench.assembly import Assembly
from flowerbench.config import Config
from flowerbench.data.batches import Batches
from flowerbench.engine import BatchStream, Epoch, OnBatch
from flowerbench.history import Row, last_epoch, row_of
from flowerbench.report.blocks import Block, Paragraph, Table
from flowerbench.report.formats import markdown

log = logging.getLogger(__name__)

PHOTOS, FORWARD, BACKWARD, STEP = "waiting for photos", "forward", "backward", "optimiser step"
EVALUATION, COPY, REST, PROFILER = "evaluation", "copying the state", "the rest", "the profiler itself"
# Batches in the trace, the last of training and the first of evaluation; the very first are slower than others.
_SKIPPED, _TRAINED, _EVALUATED = 2, 10, 5
_OPERATORS = 15


class Watch:
    """Watches the first epoch that is trained and writes what it saw into `folder`; without one it does nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._clock = _Clock()
        self._beside: dict[str, float] = {}
        self._epoch: Epoch | None = None
        self._operators: Table | None = None

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *error: object) -> None:
        """Tell of the epoch, now that what was done for it in another thread is over, too."""
        if self._folder is None or self._epoch is None or self._operators is None:
            return
        beside = ", ".join(f"{what} {self._clock.shown(seconds)}" for what, seconds in self._beside.items())
        told: list[Block] = [self._clock.table(f"Where the time of epoch {self._epoch.epoch} went")]
        told.append(Paragraph(f"In another thread, beside the training of the next epoch: {beside}."))
        atomic.write_text(self._folder / "table.md", markdown.render([*told, self._operators]))
        log.info("%sThe operators, and a trace for ui.perfetto.dev: %s", markdown.render(told), self._folder)

    @contextmanager
    def beside(self, what: str) -> Iterator[None]:
        """Within, another thread does something for an epoch; the first time counts."""
        began = time.perf_counter()
        yield
        self._beside.setdefault(what, time.perf_counter() - began)

    def epochs(
        self, made: Assembly, cfg: Config, on_batch: OnBatch, *, done: Sequence[Row], micro_batch: int | None = None
    ) -> Iterator[Epoch]:
        """The epochs of `made`, the first of them watched."""
        has_ended = len(done) == cfg.epochs or last_epoch(done, cfg.best_by, cfg.patience) is not None
        if self._folder is not None and not has_ended:
            with (
                _Trace(self._folder, made.device, cfg.batch_size * made.accumulate) as trace,
                self._clock.following(made) as followed,
            ):

                def traced(part: str, done: int, total: int) -> None:
                    with self._clock.during(PROFILER):
                        trace.on_batch(part, done, total)
                    on_batch(part, done, total)

                epoch = next(followed.epochs(cfg, traced, done=done, micro_batch=micro_batch))
                self._clock.turn(COPY)
                yield epoch
            self._epoch, self._operators, done = epoch, trace.operators, [*done, row_of(epoch)]
        elif self._folder is not None:
            log.info("No epoch is left to train, so none is profiled: reuse=off on_done=rerun trains them again")
        yield from made.epochs(cfg, on_batch, done=done, micro_batch=micro_batch)


class _Clock:
    """Adds up the seconds of phases, of which there is one at a time; each is a label in the trace."""

    def __init__(self) -> None:
        phases = (PHOTOS, FORWARD, BACKWARD, STEP, EVALUATION, COPY, REST, PROFILER)
        self._seconds = dict.fromkeys(phases, 0.0)
        self._is_on_gpu = False
        self._phase: str | None = None
        self._since = 0.0
        self._label = ExitStack()

    def turn(self, phase: str | None) -> None:
        """End the phase that there is, and begin another."""
        if phase == self._phase:
            return
        if self._is_on_gpu:
            torch.accelerator.synchronize()  # what was begun belongs to the phase that began it
        now = time.perf_counter()
        self._label.close()
        if self._phase is not None:
            self._seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now
        if phase is not None:
            self._label.enter_context(record_function(phase))

    @contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Within, it is that phase."""
        before = self._phase
        self.turn(phase)
        yield
        self.turn(before)

    @contextmanager
    def following(self, made: Assembly) -> Iterator[Assembly]:
        """Within, the clock follows what is trained with the assembly that this gives, by hooks of torch."""

        def forward_begins(network: nn.Module, _: Any) -> None:
            if network.training:
                self.turn(FORWARD)

        def forward_ends(network: nn.Module, *_: Any) -> None:
            if network.training:
                self.turn(BACKWARD)

        hooks = [
            made.learner.register_forward_pre_hook(forward_begins),
            made.learner.register_forward_hook(forward_ends),
            made.optimizer.register_step_pre_hook(lambda *_: self.turn(STEP)),
            made.optimizer.register_step_post_hook(lambda *_: self.turn(REST)),
        ]
        self._is_on_gpu = made.device.type != "cpu"
        self.turn(REST)
        try:
            yield replace(made, stream=cast(Batches, _Stream(made.stream, self)))
        finally:
            self.turn(None)
            for hook in hooks:
                hook.remove()

    def table(self, caption: str) -> Table:
        """The phases with their seconds and their shares of the whole."""
        whole = sum(self._seconds.values())
        rows = [[phase, *_cells(seconds, whole, 2)] for phase, seconds in self._seconds.items()]
        return Table(["Phase", "Seconds", "Share"], [*rows, ["all", *_cells(whole, whole, 2)]], caption=caption)

    def shown(self, seconds: float) -> str:
        """Seconds that were not the training's, with their share of what was."""
        return "{} s ({})".format(*_cells(seconds, sum(self._seconds.values()), 2))


@dataclass(frozen=True)
class _Stream:
    """Batches that tell the clock when they are waited for."""

    batches: Batches
    clock: _Clock

    def train(self, epoch: int, indices: Sequence[int]) -> BatchStream:
        return self._timed(self.batches.train(epoch, indices), FORWARD)

    def val(self, epoch: int, indices: Sequence[int]) -> BatchStream:
        return self._timed(self.batches.val(epoch, indices), EVALUATION)

    def _timed(self, batches: BatchStream, then: str) -> Iterator[tuple[Tensor, Tensor]]:
        self.clock.turn(PHOTOS)
        for batch in batches:
            self.clock.turn(then)
            yield batch
            self.clock.turn(PHOTOS)
        self.clock.turn(REST)


class _Trace:
    """A trace of a few batches, in `folder`, and the operators in it that took longest."""

    def __init__(self, folder: Path, device: torch.device, batch_size: int) -> None:
        self._folder, self._batch_size = folder, batch_size
        self._is_on_gpu = device.type == "cuda"
        kinds = [ProfilerActivity.CPU, ProfilerActivity.CUDA] if self._is_on_gpu else [ProfilerActivity.CPU]
        self._profile = profile(activities=kinds)
        self._is_recording = False
        self.operators: Table | None = None

    def __enter__(self) -> _Trace:
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_recording:
            self._profile.stop()

    def on_batch(self, part: str, done: int, total: int) -> None:
        """Begin, or end, where it is time to: `done` of `total` photos are."""
        left, size = total - done, self._batch_size
        if self._is_recording:
            if part == "val" and (done >= _EVALUATED * size or not left):
                self._is_recording = False
                self._profile.stop()
                self._profile.export_chrome_trace(str(self._folder / "trace.json.gz"))
                self.operators = self._longest()
        elif part == "train" and left <= _TRAINED * size and (done >= _SKIPPED * size or left < size):
            self._is_recording = True
            self._profile.start()

    def _longest(self) -> Table:
        found = [event for event in self._profile.key_averages() if event.device_type.name == "CPU"]
        found = [event for event in found if not event.is_user_annotation]

        def seconds(event: Any) -> float:
            return float(event.self_device_time_total if self._is_on_gpu else event.self_cpu_time_total) / 1e6

        whole = sum(map(seconds, found))
        rows = [
            [event.key, str(event.count), *_cells(seconds(event), whole, 4)]
            for event in sorted(found, key=seconds, reverse=True)[:_OPERATORS]
        ]
        where = "the GPU" if self._is_on_gpu else "the CPU"
        caption = f"The operators with the most time of their own on {where}, in the batches of the trace"
        return Table(["Operator", "Calls", "Seconds", "Share"], rows, caption=caption)


def _cells(seconds: float, whole: float, digits: int) -> tuple[str, str]:
    return f"{seconds:.{digits}f}", f"{100 * seconds / whole:.1f} %"
