"""What goes wrong, said in one line, with the exit code it deserves."""

from __future__ import annotations

import argparse
import difflib
import errno
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

USAGE, FAILED = 2, 1

Made = TypeVar("Made")


class UsageError(Exception):
    """A mistake in the command, the config or the data: one line for the user, exit code 2."""


class RunError(Exception):
    """A run that was asked for correctly and failed: one line for the user, exit code 1."""


class Pruned(Exception):  # noqa: N818 - not an error: a run that the search stopped early
    """A run that the search stopped early: not an error, but it has no result to compare."""


class Told(Exception):  # noqa: N818 - not an error of its own, but one that was dealt with
    """Stands for an error that the user has been told of; all that is left of it is the exit code."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong in one line, as all our commands do."""

    def error(self, message: str) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


@contextmanager
def leave_politely() -> Iterator[None]:
    """Turn the errors of a command into one line on stderr and an exit code; what is a bug keeps its traceback.

    Ctrl-C and SIGTERM end with 128 plus the signal's number, as shells have it.
    """
    try:
        yield
    except Told as error:
        sys.exit(error.exit_code)
    except KeyboardInterrupt as error:
        print("flowerbench: stopped", file=sys.stderr)
        sys.exit(128 + (error.args[0] if error.args else 2))
    except Exception as error:
        if not is_usage(error) and not isinstance(error, RunError):
            raise
        print(f"flowerbench: {one_line(error)}", file=sys.stderr)
        sys.exit(exit_code(error))


def exit_code(error: BaseException) -> int:
    """2 for a mistake in the command or the config, 1 for a run that failed."""
    return USAGE if is_usage(error) else FAILED


def blamed_on(group: str, make: Callable[..., Made], *args: Any, **kwargs: Any) -> Made:
    """What `make` returns; what it raises is a mistake in the config group `group`."""
    try:
        return make(*args, **kwargs)
    except Exception as error:
        raise UsageError(f"{group} cannot be built: {one_line(error.__cause__ or error)}") from error


def is_disk_trouble(error: BaseException) -> bool:
    """True for a full disk, and for a place that cannot be written."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def is_usage(error: BaseException) -> bool:
    """True for our own UsageError and for what Hydra and OmegaConf refuse while they compose a config."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if isinstance(error, UsageError | HydraException | OmegaConfBaseException | YAMLError):
        return True
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    # Some refusals of Hydra are plain ValueErrors.
    raised_by = trace.tb_frame.f_globals["__name__"] if trace else ""
    return isinstance(error, ValueError) and raised_by.startswith("hydra.")


def one_line(error: BaseException) -> str:
    """The error in one line, with what is allowed where a config key is known."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    text = str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _composition(error)
    if "Original Traceback" in text:
        # torch wraps what a worker process raised in that worker's traceback; its last line is the error.
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return " ".join(text.split()) or type(error).__name__


def _composition(error: BaseException) -> str:
    from flowerbench.checks import allowed_words, known_keys
    from flowerbench.launchers import EXTRAS

    text = re.sub(r"^In '[^']+': ", "", str(error).partition("Config search path")[0])
    cause = str(error.__cause__ or "")
    key = getattr(error.__cause__ or error, "full_key", None) or ""
    if refused := re.search(r"Could not override '([^']+)'", text):
        if refused[1] in known_keys():
            return f"{refused[1]} cannot be replaced as a whole: add to it with +{refused[1]}.NAME=VALUE"
        near = difflib.get_close_matches(refused[1], known_keys(), n=1)
        hint = f"did you mean {near[0]}?" if near else "see --cfg job for all keys"
        return f"{refused[1]} is not a key of the config: {hint}"
    lacking = re.search(r"Could not (?:find|load) 'hydra/launcher/(\w+)'", text)
    if lacking and lacking[1] in EXTRAS:
        return f"this launcher is not installed: in the checkout, pip install '.[{EXTRAS[lacking[1]]}]'"
    if "Ambiguous value" in text:
        return f"{text.splitlines()[0]}: to sweep over several values, add --multirun"
    if merged := re.search(r"Error merging override (.+)", text):
        allowed = allowed_words(key)
        reason = cause.splitlines()[0] if cause else "the value does not fit"
        return f"{merged[1]} is not allowed: {allowed or reason}"
    reason = cause.splitlines()[0] if cause else ""
    return " ".join(f"{text} {reason if reason not in text else ''}".split())
