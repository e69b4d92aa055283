"""The epochs of many MLflow runs, asked for many at a time: one by one, a thousand would take minutes."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from flowerbench.history import HISTORY, Row

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_Value = tuple[str, int, float]


def read(client: MlflowClient, runs: Sequence[Run]) -> dict[str, list[Row]]:
    """The rows of history.csv, by run id; of an epoch that was logged twice the later values."""
    rows: dict[str, dict[int, Row]] = {run.info.run_id: {} for run in runs}
    bulk = _DATABASE if hasattr(client._tracking_client.store, "get_metric_history_bulk") else _SERVER
    for column in HISTORY[1:]:
        metric = re.sub("^(train|val)_", r"\1/", column)
        having = [run.info.run_id for run in runs if metric in run.data.metrics]
        for first in range(0, len(having), bulk.runs):
            for run_id, step, value in _values(client, bulk, having[first : first + bulk.runs], metric):
                row = rows[run_id].get(step)
                if row is None:
                    row = rows[run_id][step] = dict.fromkeys(HISTORY, math.nan) | {"epoch": step}
                row[column] = value
    return {run_id: [found[epoch] for epoch in sorted(found)] for run_id, found in rows.items()}


def _values(client: MlflowClient, bulk: _Bulk, run_ids: Sequence[str], metric: str) -> Iterator[_Value]:
    """Run, step and value of each time that the metric was logged; those of a run in the order of these times."""
    found = bulk.ask(client._tracking_client.store, run_ids, metric, bulk.values)
    if found is not None and len(found) < bulk.values:
        yield from found
    elif found is None or len(run_ids) == 1:
        for run_id in run_ids:
            for point in client.get_metric_history(run_id, metric):
                yield run_id, point.step, point.value
    else:
        # The answer was cut off.
        half = len(run_ids) // 2
        yield from _values(client, bulk, run_ids[:half], metric)
        yield from _values(client, bulk, run_ids[half:], metric)


def _of_database(store: Any, run_ids: Sequence[str], metric: str, values: int) -> list[_Value]:
    points = store.get_metric_history_bulk(run_ids, metric, values)
    return [(point.run_id, point.step, point.value) for point in points]


def _of_server(store: Any, run_ids: Sequence[str], metric: str, values: int) -> list[_Value] | None:
    """By the call that MLflow's own pages make; its client has none for it."""
    if not hasattr(store, "get_host_creds"):
        return None
    from mlflow.utils.rest_utils import http_request

    where = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
    asked = {"run_id": run_ids, "metric_key": metric, "max_results": values}
    answer = http_request(store.get_host_creds(), where, "GET", params=asked, raise_on_status=False)
    if answer.status_code != 200:
        return None
    points = json.loads(answer.text)["metrics"]
    return [(point["run_id"], point["step"], point["value"]) for point in points]


class _Bulk(NamedTuple):
    """A call for one metric of so many runs, that answers with so many values; with None where a store has it not."""

    runs: int
    values: int
    ask: Callable[[Any, Sequence[str], str, int], list[_Value] | None]


# A database looks through the metric of all its runs at each call, so let there be few; memory limits them.
_DATABASE = _Bulk(1000, 100_000, _of_database)
# The limits are those of MLflow's server.
_SERVER = _Bulk(100, 25_000, _of_server)
