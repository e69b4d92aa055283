from __future__ import annotations

import json
from pathlib import Path

import pytest

from flowerbench import mlflow_pages, mlflow_store


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store').as_posix()}/mlflow.db"


def test_a_new_experiment_is_one_of_training_and_has_a_view_with_accuracies_first(uri: str):
    client = mlflow_store.client(uri)
    tags = client.get_experiment(mlflow_store.create_store(uri, "new")).tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.flowerbench"])
    assert view["name"] == "Accuracies"
    state = json.loads(view["state"])
    assert state["selectedColumns"][0] == "metrics.`best/val_accuracy`"
    assert set(state["selectedColumns"]) <= set(state["columnOrder"])


def test_what_an_experiment_says_of_itself_stays(uri: str):
    client = mlflow_store.client(uri)
    made = client.create_experiment("mine", tags={"mlflow.note.content": "my words"})
    assert mlflow_store.create_store(uri, "mine") == made
    tags = client.get_experiment(made).tags
    assert tags["mlflow.note.content"] == "my words"
    assert "mlflow.sharedViewState.flowerbench" in tags
    # A view that was removed does not come back.
    client.delete_experiment_tag(made, "mlflow.sharedViewState.flowerbench")
    mlflow_store.create_store(uri, "mine")
    assert "mlflow.sharedViewState.flowerbench" not in client.get_experiment(made).tags


def test_neighbours_in_a_sweep_have_colours_of_their_own():
    assert len({mlflow_pages.color(number) for number in range(8)}) == 8
    assert mlflow_pages.color(8) == mlflow_pages.color(0)


@pytest.mark.parametrize(
    ("store", "before"),
    [
        ("sqlite:///mlflow.db", "mlflow ui, then http://127.0.0.1:5000"),
        ("sqlite:///my runs.db", "mlflow ui --backend-store-uri 'sqlite:///my runs.db', then http://127.0.0.1:5000"),
        ("https://***@host/mlflow/", "https://***@host/mlflow"),
    ],
)
def test_an_address_says_what_to_start_first(store: str, before: str):
    place = "/#/experiments/3/runs/f00d?workflowType=machine_learning"
    assert mlflow_pages.address(store, "3", "f00d") == before + place


def test_the_links_of_a_sweep_hold_what_markdown_takes_for_an_address():
    for link in mlflow_pages.links("3", "f00d").split(" · "):
        target = link.partition("](")[2].removesuffix(")")
        assert target.startswith("#/experiments/3/runs?workflowType=machine_learning&")
        assert not set(" ()<>'\"`") & set(target)


def test_the_runs_behind_a_link_are_the_children(uri: str, tmp_path: Path):
    """The search that the link asks for, put to the store."""
    from urllib.parse import parse_qs

    client = mlflow_store.client(uri)
    experiment = mlflow_store.create_store(uri, "linked")
    parent = client.create_run(experiment).info.run_id
    child = client.create_run(experiment, tags={"mlflow.parentRunId": parent}).info.run_id
    target = mlflow_pages.links(experiment, parent).partition("](")[2].partition(")")[0]
    asked = parse_qs(target.partition("?")[2])
    found = client.search_runs(
        [experiment], filter_string=asked["searchFilter"][0], order_by=[f"{asked['orderByKey'][0]} DESC"]
    )
    assert [run.info.run_id for run in found] == [child]
