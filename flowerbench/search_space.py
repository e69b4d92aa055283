"""The space that a search goes through, from Hydra's sweep syntax to Optuna's distributions and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from flowerbench.errors import UsageError, one_line

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True)
class Space:
    """What a search varies, by Optuna's names for it, and the overrides that every trial has.

    `keys` are as on the command line, with `+` or `@package`; `texts` hold a choice's value as it is written there.
    """

    distributions: Mapping[str, BaseDistribution]
    keys: Mapping[str, str]
    texts: Mapping[str, Mapping[Any, str]]
    constant: Sequence[str]

    def overrides(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides that set these values."""
        return [f"{self.keys[name]}={self.texts[name].get(value, value)}" for name, value in params.items()]

    def ends(self) -> Iterator[list[str]]:
        """Points that have each choice, and both ends of each interval and range, once at least."""
        values = {
            name: list(self.texts[name]) or [distribution.low, distribution.high]  # type: ignore[attr-defined]
            for name, distribution in self.distributions.items()
        }
        first = {name: found[0] for name, found in values.items()}
        yield [*self.constant, *self.overrides(first)]
        for name, found in values.items():
            for value in found[1:]:
                yield [*self.constant, *self.overrides(first | {name: value})]


def space(parsed: Sequence[Override], config: DictConfig) -> Space:
    """The search space in Hydra's sweep syntax; of two overrides of one key the later counts. Raises UsageError.

    An interval is of whole numbers where `config` has one, or where it says int(interval(…)).
    """
    last = {override.key_or_group: override for override in parsed}
    distributions: dict[str, BaseDistribution] = {}
    keys, texts = {}, {}
    for name, override in last.items():
        if override.is_sweep_override():
            keys[name] = override.get_key_element()
            try:
                distributions[name], texts[name] = _distribution(override, OmegaConf.select(config, name))
            except ValueError as error:
                raise UsageError(f"{override.input_line} cannot be searched: {one_line(error)}") from error
    if not distributions:
        raise UsageError("nothing to search over: give a key several values, such as optim.lr=interval(0.001,0.1)")
    constant = [str(override.input_line) for name, override in last.items() if name not in distributions]
    return Space(distributions, keys, texts, constant)


def _distribution(override: Override, current: Any) -> tuple[BaseDistribution, dict[Any, str]]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    sweep: Any = override.value()
    tags: set[str] = getattr(sweep, "tags", set())
    if getattr(sweep, "shuffle", False):
        raise ValueError("a search has an order of its own, leave shuffle out")
    if tags - ({"log"} if isinstance(sweep, IntervalSweep | RangeSweep) else set()):
        raise ValueError("the only tag is log, of an interval or a range")
    log_scale = "log" in tags
    if isinstance(sweep, IntervalSweep):
        low: Any = sweep.start
        high: Any = sweep.end
        # Hydra makes floats of both bounds, unless told otherwise.
        if isinstance(low, int) or (type(current) is int and low == int(low) and high == int(high)):
            return IntDistribution(int(low), int(high), log=log_scale), {}
        return FloatDistribution(low, high, log=log_scale), {}
    if isinstance(sweep, RangeSweep):
        numbers: list[Any] = list(sweep.range())
        if not numbers:
            raise ValueError("the range is empty")
        low, high, step = min(numbers), max(numbers), abs(sweep.step)
        if isinstance(low, int):
            return IntDistribution(low, high, log=log_scale, step=int(step)), {}
        return FloatDistribution(low, high, log=log_scale, step=float(step)), {}
    values, written = list(override.sweep_iterator()), list(override.sweep_string_iterator())
    plain = (bool, int, float, str, type(None))
    texts = {v if isinstance(v, plain) else text: text for v, text in zip(values, written, strict=True)}
    return CategoricalDistribution(list(texts)), texts


def check(config: DictConfig, parsed: Sequence[Override]) -> Space:
    """The space of a search that can be meant; raises UsageError for one that cannot, before it has a folder."""
    from flowerbench.search import open_storage

    sweeper = config.hydra.sweeper
    for key in ("n_trials", "n_jobs"):
        if not isinstance(sweeper[key], int) or sweeper[key] < 1:
            raise UsageError(f"hydra.sweeper.{key}={sweeper[key]} is not allowed: a whole number, 1 or more")
    if sweeper.direction not in ("maximize", "minimize"):
        raise UsageError(f"hydra.sweeper.direction={sweeper.direction} is not allowed: one of maximize, minimize")
    open_storage(str(sweeper.storage))
    for key in ("sampler", "pruner"):
        if sweeper[key] is not None or key == "sampler":
            made(key, sweeper[key])
    return space(parsed, config)


def made(key: str, config: DictConfig) -> Any:
    """The sampler or the pruner that `config` describes; raises UsageError where it cannot be built."""
    try:
        return instantiate(config)
    except Exception as error:
        raise UsageError(f"hydra.sweeper.{key} cannot be built: {one_line(error.__cause__ or error)}") from error
