"""Hydra's basic sweeper, over the points of a sweep that are not done yet, in an order that reuses epochs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from omegaconf import OmegaConf

from flowerbench import drive


class GridSweeper(BasicSweeper):
    """All points are known before the first runs: flowerbench.points makes them, flowerbench.drive launches them."""

    def sweep(self, arguments: Sequence[str]) -> Any:
        """Launch what is unfinished."""
        assert self.config is not None
        assert self.launcher is not None
        OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir) / "multirun.yaml")
        return [drive.launch(self.launcher, self.max_batch_size)]
