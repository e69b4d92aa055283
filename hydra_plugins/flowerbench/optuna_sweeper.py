"""Hydra's sweeper over Optuna: ask for trials, let the launcher run them, tell how they ended, until they are enough.

Hydra imports this module whenever it starts, so Optuna is imported late. `flowerbench/search.py` is the trial's side.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from flowerbench import identity
from flowerbench.errors import RunError, one_line
from flowerbench.mlflow_store import without_password
from flowerbench.points import quoted
from flowerbench.search import GRACE, PRUNED, count_done, open_storage, open_study, root, signs_of_life
from flowerbench.search_space import space

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.storages import RDBStorage
    from optuna.trial import TrialState

log = logging.getLogger(__name__)

# What a trial is told about itself.
COMMAND = "flowerbench.command"


class OptunaSweeper(Sweeper):
    """`hydra/sweeper=optuna`; its arguments are explained in `conf/hydra/sweeper/optuna.yaml`."""

    def __init__(
        self,
        sampler: DictConfig,
        pruner: DictConfig | None,
        direction: str,
        n_trials: int,
        n_jobs: int,
        storage: str,
        study_name: str | None,
        params: Mapping[str, Any],
    ) -> None:
        self.sampler = sampler
        self.pruner = pruner or OmegaConf.create({"_target_": "optuna.pruners.NopPruner"})
        self.direction: Any = direction
        self.n_trials, self.n_jobs = n_trials, n_jobs
        self.storage_url, self.study_name, self.params = storage, study_name, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra."""
        self.hydra_context: HydraContext = hydra_context
        self.config: DictConfig = config
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Search until the study has its trials; then raise what a job raised, as Hydra's own sweeper does."""
        from optuna.exceptions import StorageInternalError
        from sqlalchemy.exc import SQLAlchemyError

        OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir, "multirun.yaml"))
        params = [f"{key}={value}" for key, value in self.params.items()]
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        self.space = space(parser.parse_overrides([*params, *arguments]), self.config)
        self.storage: RDBStorage = open_storage(self.storage_url)
        self.study = self._study([*params, *arguments])
        self.results: list[JobReturn] = []
        self.is_exhausted = False
        try:
            self._search()
            self._sum_up()
        except (SQLAlchemyError, StorageInternalError) as error:
            where = f"hydra.sweeper.storage={without_password(self.storage_url)}"
            raise RunError(f"{where} is out of reach ({root(error)}): later, the same command goes on") from error
        for result in self.results:
            if result.status == JobStatus.FAILED:
                _ = result.return_value
        return self.results

    def _search(self) -> None:
        from optuna.storages import fail_stale_trials
        from optuna.trial import TrialState

        failed, seen = 0, dict[int, float]()
        while not self.is_exhausted:
            fail_stale_trials(self.study)
            trials = self.study.get_trials(deepcopy=False)
            running = [trial for trial in trials if trial.state == TrialState.RUNNING]
            # What failed here is not made up for by this command: it might fail for ever.
            wanted = self.n_trials - count_done(trials) - failed
            if wanted <= 0:
                break
            if wanted > len(running):
                failed += self._run(min(self.n_jobs, wanted - len(running)))
                continue
            if not seen:
                log.info("waiting for %d trials that other commands have in work, or had when they died", len(running))
            for trial in running:
                # Optuna never calls one stale whose command died before the first sign of life.
                first = seen.setdefault(trial.number, time.monotonic())
                if COMMAND not in trial.user_attrs and time.monotonic() - first > GRACE:
                    self.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
            time.sleep(1)

    def _study(self, written: Sequence[str]) -> Study:
        """The study of this search, named after the command unless it has a name."""
        from optuna.distributions import distribution_to_json

        plain = [OmegaConf.to_container(config, resolve=True) for config in (self.sampler, self.pruner)]
        command = json.dumps([sorted(written), *plain, self.direction])
        digest = hashlib.sha256(command.encode()).hexdigest()[:8]
        name = self.study_name or f"{identity.safe_name(','.join(self.space.distributions))}-{digest}"
        of = {key: json.loads(distribution_to_json(d)) for key, d in sorted(self.space.distributions.items())}
        settings = {"space": of, "constant": sorted(identity.telling(self.space.constant, identity.NOT_IDENTITY))}
        study = open_study(self.storage, name, self.direction, self.sampler, self.pruner, settings)
        done, where = count_done(study.trials), without_password(self.storage_url)
        log.info("study %s in %s: %d of %d trials done", name, where, done, self.n_trials)
        return study

    def _run(self, count: int) -> int:
        """Ask for some trials, launch them and tell how they ended; the number of those that failed."""
        from optuna.storages import RetryHeartbeatStaleTrialCallback
        from optuna.trial import TrialState

        trials: list[Trial] = []
        try:
            with signs_of_life(self.storage, trials):
                for _ in range(count):
                    self._ask(trials)
                results = self._launch(trials) if trials else []
        except BaseException:
            # Stopped: whoever goes on with the search begins with these.
            for trial in trials:
                if self.storage.get_trial(trial._trial_id).state == TrialState.RUNNING:
                    RetryHeartbeatStaleTrialCallback()(self.study, self.study.tell(trial, state=TrialState.FAIL))
            raise
        return sum(self._tell(*pair) == TrialState.FAIL for pair in zip(trials, results, strict=True))

    def _ask(self, trials: list[Trial]) -> None:
        """Add one trial, unless another command was faster and there are enough of them."""
        from optuna.trial import TrialState

        trial = self.study.ask(dict(self.space.distributions))
        self.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr(COMMAND, f"process {os.getpid()} on {platform.node()}")
        planned = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE, TrialState.PRUNED)
        ahead = sum(other.number < trial.number for other in self.study.get_trials(deepcopy=False, states=planned))
        if ahead < self.n_trials:
            trials.append(trial)
        else:
            self.study.tell(trial, state=TrialState.FAIL)

    def _launch(self, trials: Sequence[Trial]) -> Sequence[JobReturn | None]:
        """Have the launcher run the trials; where it breaks down itself, none has a result."""
        # As written: an address may come from the environment, and hold a password.
        written = OmegaConf.to_container(self.config, resolve=False)
        assert isinstance(written, dict)
        url, subdir = written["hydra"]["sweeper"]["storage"], written["hydra"]["sweep"]["subdir"]
        batch = []
        for trial in trials:
            # Trials of equal parameters happen.
            place = f"hydra.sweep.subdir={quoted(f'{trial.number:03}_{subdir}')}"
            search = f"search={{storage:{quoted(url)},study:{quoted(self.study.study_name)},trial:{trial.number}}}"
            batch.append([*self.space.constant, *self.space.overrides(trial.params), search, place])
        try:
            results = self.launcher.launch(batch, initial_job_idx=trials[0].number)
        except Exception as error:
            log.error("flowerbench: the launcher failed: %s", one_line(error))
            return [None] * len(trials)
        self.results += results
        return results

    def _tell(self, trial: Trial, result: JobReturn | None) -> TrialState:
        """Tell the study how a trial ended, and the user how the search stands; its state."""
        from optuna.trial import TrialState

        value = result.return_value if result and result.status == JobStatus.COMPLETED else None
        pruned = PRUNED in self.storage.get_trial_user_attrs(trial._trial_id)
        state = TrialState.COMPLETE if value is not None else TrialState.PRUNED if pruned else TrialState.FAIL
        try:
            # Finished already is one that was given to another command, while this machine was asleep for example.
            self.study.tell(trial, value, state, skip_if_finished=True)
        except RuntimeError as error:
            # Samplers over a finite space say so, in a way that is not made for this loop.
            if "Study.stop" not in str(error):
                raise
            self.is_exhausted = True
        how = f"accuracy {value:.4f}" if value is not None else state.name
        trials = self.study.get_trials(deepcopy=False)
        log.info("trial %d: %s; %d of %d trials done", trial.number, how, count_done(trials), self.n_trials)
        return state

    def _sum_up(self) -> None:
        try:
            best = self.study.best_trial
        except ValueError:
            log.warning("no trial of the search came to its end")
            return
        own = [source.path for source in self.config.hydra.runtime.config_sources if source.provider == "command-line"]
        chosen = self.space.overrides(best.params)
        again = [word for path in own for word in ("--config-dir", path)] + [*self.space.constant, *chosen]
        log.info("best accuracy %.4f, of trial %d: %s", best.value, best.number, ", ".join(chosen))
        log.info("train it again: python -m flowerbench.train %s", shlex.join(again))
