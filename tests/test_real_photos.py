"""The main job on the paper's own photos with a pretrained backbone, where both lie beside the checkout."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.long

COMMITTED = Path(__file__).parents[1] / "multirun" / "paper_mobilenet_v2_160px"


@pytest.fixture(scope="module")
def backbone(real_weights):
    return ["model=mobilenet_v2", "model.kwargs.width_mult=0.35", f"model.weights={real_weights}"]


@pytest.fixture(scope="module")
def subset(real_photos, tmp_path_factory):
    """The first 60 photos of each class, as links."""
    folder = tmp_path_factory.mktemp("subset")
    for photos in sorted(path for path in real_photos.iterdir() if path.is_dir()):
        (folder / photos.name).mkdir()
        for photo in sorted(photos.iterdir())[:60]:
            (folder / photos.name / photo.name).symlink_to(photo)
    return folder


def test_a_sweep_on_a_part_of_the_photos(flowerbench, tmp_path, subset, backbone):
    done = flowerbench(
        "train",
        "--multirun",
        "experiment=paper",
        f"data.root={subset}",
        *backbone,
        "image_size=96",
        "batch_size=16,32",
        "epochs=1,2",
    )
    assert done.returncode == 0, done.stderr
    assert "not the paper's 2,848 photos" in done.stderr
    accuracy = {}
    for file in tmp_path.glob("multirun/*/*/*/summary.json"):
        summary = json.loads(file.read_text(encoding="utf-8"))
        assert (summary["train_total"], summary["val_total"], summary["protocol"]) == (240, 60, "augmented")
        accuracy[file.parent.name] = summary["best_val_accuracy"]
    assert len(accuracy) == 4
    assert accuracy["batch_size-16_epochs-2"] > 0.4, "twice what guessing gives: the pretrained features are used"
    assert accuracy["batch_size-16_epochs-2"] >= accuracy["batch_size-16_epochs-1"]
    assert "batch_size=32, epochs=2" in done.stdout


def test_the_first_epoch_of_the_committed_sweep_comes_out_again(flowerbench, tmp_path, real_photos, backbone):
    """The whole data set at full size, one epoch: the same photos, split and weights, and the numbers near enough."""
    committed = COMMITTED / "batch_size-16_epochs-20"
    done = flowerbench(
        "train",
        "experiment=paper",
        f"data.root={real_photos}",
        *backbone,
        "image_size=160",
        "epochs=1",
        "tracking=none",
        "hydra.run.dir=run",
    )
    assert done.returncode == 0, done.stderr
    expected = pd.read_csv(committed / "history.csv").iloc[0]
    found = pd.read_csv(tmp_path / "run" / "history.csv").iloc[0]
    summary, before = (
        json.loads((folder / "summary.json").read_text(encoding="utf-8")) for folder in (tmp_path / "run", committed)
    )
    assert (summary["photos"], summary["split"], summary["weights"]) == (
        before["photos"],
        before["split"],
        before["weights"],
    )
    # Another processor, or another build of torch, adds the same numbers in another order.
    assert found.train_loss == pytest.approx(expected.train_loss, rel=0.02)
    assert found.val_accuracy == pytest.approx(expected.val_accuracy, abs=0.03)
