"""What MLflow's pages show first: the tags that they read, and the addresses at which they show it."""

from __future__ import annotations

import json
import shlex
import time
from urllib.parse import quote, urlencode

# Without it MLflow takes an experiment for one with language models, and opens it as such.
KIND = "mlflow.experimentKind"
_DESCRIPTION = (
    "A sweep is a run and its points are the children; its note leads to their curves. "
    "The view *Accuracies* has the columns that matter."
)
# One of the saved Views of MLflow 3.15 and newer. By itself the table shows no accuracy, and cuts names off.
_VIEW = "flowerbench"
_BEST = "metrics.`best/val_accuracy`"
_CHOSEN = [
    *(_BEST, "metrics.`best/epoch`", "attributes.`Description`"),
    *("params.`batch_size`", "params.`epochs`", "params.`optim.lr`", "params.`model.name`", "attributes.`Dataset`"),
]
_ORDER = ["attributes.`Run Name`", "runDateAndNestInfo", *_CHOSEN, "duration"]
_WIDTHS = {"attributes.`Run Name`": 310, _BEST: 140, "attributes.`Description`": 270}

# Okabe and Ito 2008, "Color Universal Design": told apart by colour-blind eyes.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#999999")


def experiment_tags() -> dict[str, str]:
    """The tags of a new experiment: that its runs train models, what it is, and a view of its table."""
    view = {"selectedColumns": _CHOSEN, "columnOrder": _ORDER, "columnWidths": _WIDTHS}
    now = int(time.time() * 1000)
    saved = {"name": "Accuracies", "createdAt": now, "updatedAt": now, "state": json.dumps(view)}
    return {
        KIND: "custom_model_development",
        "mlflow.note.content": _DESCRIPTION,
        f"mlflow.sharedViewState.{_VIEW}": json.dumps(saved),
    }


def color(number: int) -> str:
    """The colour of a sweep's run; by itself MLflow gives the same one to several."""
    return _COLORS[number % len(_COLORS)]


def links(experiment: str, run: str) -> str:
    """Ways on from a sweep's run, in Markdown: the curves of its children, and the table of all runs."""
    # Sorted by date, as by default, children would be hidden below their parent.
    curves = {"compareRunsMode": "CHART", "orderByKey": _BEST, "orderByAsc": "false"}
    curves["searchFilter"] = f"tags.mlflow.parentRunId = '{run}'"
    return (
        f"[Curves of these runs]({_runs(experiment, **curves)}) · "
        f"[Table of all runs]({_runs(experiment, viewStateShareKey=_VIEW)})"
    )


def address(uri: str, experiment: str, run: str) -> str:
    """Where a browser finds the run, and what to start for it first where the store has no server."""
    place = f"/{_runs(experiment, f'/{run}')}"
    if uri.startswith("http"):
        return uri.rstrip("/") + place
    store = "" if uri == "sqlite:///mlflow.db" else f" --backend-store-uri {shlex.quote(uri)}"
    return f"mlflow ui{store}, then http://127.0.0.1:5000{place}"


def _runs(experiment: str, below: str = "", **state: str) -> str:
    # The pages of a browser that was not here before are those for language models, unless the address says otherwise.
    query = urlencode({"workflowType": "machine_learning", **state}, quote_via=quote)
    return f"#/experiments/{experiment}/runs{below}?{query}"
