"""The model as MLflow loads and asks it: the answers of predict, and one line for what is no photo."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flowerbench import export, mlflow_model, trained
from flowerbench.data import images


@pytest.fixture(scope="module")
def saved(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model in a folder, of a run whose folder has a name that is hard on addresses."""
    folder = tmp_path_factory.mktemp("served")
    run = Path(shutil.copytree(trained_run, folder / "50 % of a #run"))
    export.main([str(run), "--format", "mlflow", "--out", str(folder / "model")])
    return folder / "model"


@pytest.fixture(scope="module")
def served(saved: Path) -> Any:
    import mlflow.pyfunc

    return mlflow.pyfunc.load_model(str(saved))


def asked(model: Any, *texts: str | None) -> tuple[int, Any]:
    """The status and the answer of MLflow's server to a request with images in base64."""
    from mlflow.exceptions import MlflowException
    from mlflow.pyfunc import scoring_server

    request = json.dumps({"dataframe_records": [{"image": text} for text in texts]})
    try:
        found = scoring_server.invocations(request, "application/json", model, model.metadata.get_input_schema())
    except MlflowException as error:  # as the server does
        return error.get_http_status_code(), json.loads(error.serialize_as_json())
    return found.status, json.loads(found.response)["predictions"]


def encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_it_answers_as_predict_does(served: Any, trained_run: Path, photo_folder: Path):
    photos = sorted(photo_folder.rglob("*.png"))[::3]  # more than go through the model at a time
    status, answers = asked(served, *map(encoded, photos))
    assert status == 200
    assert len(answers) == len(photos) > 16
    run = trained.load(trained_run, "cpu")
    shares = run.probabilities(run.normalised([run.square(images.read_rgb(photo)) for photo in photos])).tolist()
    for answer, expected in zip(answers, shares, strict=True):
        assert answer["prediction"] == run.classes[expected.index(max(expected))]
        assert [answer[f"p({name})"] for name in run.classes] == pytest.approx(expected, abs=1e-6)


def test_lines_of_base64_may_be_broken(served: Any, photo_folder: Path):
    photo = next(photo_folder.rglob("*.png"))
    broken = base64.encodebytes(photo.read_bytes()).decode()
    assert "\n" in broken
    assert asked(served, broken) == asked(served, encoded(photo))


def test_a_bad_image_is_a_400_in_one_line(served: Any, photo_folder: Path):
    good = encoded(next(photo_folder.rglob("*.png")))
    cut = base64.b64encode(next(photo_folder.rglob("*.png")).read_bytes()[:300]).decode()
    for bad, reason in (
        ("photo.jpg!", "it is not the base64 of a file"),
        (base64.b64encode(b"no image").decode(), "its bytes are no image"),
        (cut, ""),
        (None, ""),
    ):
        status, answer = asked(served, good, bad)
        assert status == 400
        assert answer["message"].startswith(f"image 2 of 2 cannot be read: {reason}"), answer
        assert "\n" not in answer["message"]
        assert answer.keys() == {"error_code", "message"}
    _, answer = asked(served, "?", good, "?")
    assert answer["message"].endswith("(and 1 more cannot be read)")


def test_its_example_fits_its_signature_and_is_answered(served: Any):
    status, answers = asked(served, *mlflow_model.example()["image"])
    assert status == 200
    signature = served.metadata.signature
    assert signature.inputs.input_names() == ["image"]
    assert signature.outputs.input_names() == list(answers[0]) == ["prediction", "p(ash)", "p(beech)", "p(cedar)"]
    assert served.input_example["image"].tolist() == mlflow_model.example()["image"].tolist()


def test_nothing_in_it_is_pickled_and_the_code_is_there(saved: Path, trained_run: Path):
    files = {file.relative_to(saved).as_posix() for file in saved.rglob("*") if file.is_file()}
    assert not {file for file in files if file.endswith((".pkl", ".pickle", ".pyc"))}
    assert {"MLmodel", "served.py", "artifacts/best.pt", "code/flowerbench/trained.py"} <= files
    assert (saved / "artifacts" / "best.pt").read_bytes() == (trained_run / "best.pt").read_bytes()
    needed = (saved / "requirements.txt").read_text()
    assert "torch==" in needed
    assert "+" not in needed
