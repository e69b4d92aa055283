"""The notebook: committed without outputs, and executed as a reader does, from a fresh clone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "compare_runs.ipynb"
PAPER = ROOT / "multirun" / "paper_mobilenet_v2_160px"


def test_the_committed_notebook_has_no_outputs_and_no_traces_of_a_machine() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["kernelspec"]["name"] == "python3"
    assert notebook.metadata["language_info"]["name"] == "python"
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    for cell in notebook.cells:
        assert cell.metadata == {}, cell.id
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), cell.id
    assert next(cell for cell in notebook.cells if cell.id == "source").source.endswith("\nSOURCE = None")


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_its_code_is_checked_as_all_other_code_is(command: list[str]) -> None:
    ruff = [sys.executable, "-m", "ruff"]
    found = subprocess.run([*ruff, "check", "--show-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert str(NOTEBOOK) in found.stdout.splitlines()
    done = subprocess.run([*ruff, *command, str(NOTEBOOK)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_its_readme_points_at_is_there() -> None:
    readme = (NOTEBOOK.parent / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", readme)
    assert NOTEBOOK.name in targets
    for target in targets:
        assert target.startswith("http") or (NOTEBOOK.parent / target).exists(), target


@dataclass(frozen=True)
class Executed:
    """The notebook after its execution in the checkout `clone`, which took so many seconds."""

    notebook: NotebookNode
    clone: Path
    seconds: float

    @property
    def outputs(self) -> list[NotebookNode]:
        return [output for cell in self.notebook.cells for output in cell.get("outputs", [])]

    @property
    def shown(self) -> str:
        """Everything that a reader can read below the cells."""
        return "\n".join(text for output in self.outputs for text in _texts(output))

    @property
    def figures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs)


def _texts(output: NotebookNode) -> list[str]:
    data = output.get("data", {})
    kinds = ("text/markdown", "text/html", "text/plain")
    return [output["text"]] if "text" in output else [next((data[kind] for kind in kinds if kind in data), "")]


def execute(clone: Path, source: str | None = None) -> Executed:
    """Execute a copy of the notebook as Jupyter does, in the folder `notebooks` of a checkout."""
    folder = clone / "notebooks"
    folder.mkdir(parents=True, exist_ok=True)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    if source is not None:
        cell = next(cell for cell in notebook.cells if cell.id == "source")
        cell.source = cell.source.replace("SOURCE = None", f"SOURCE = {source!r}")
    client = NotebookClient(notebook, timeout=280, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    began = time.monotonic()
    client.execute()
    return Executed(notebook, clone, time.monotonic() - began)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh checkout's folder, with a cache, and a user of Jupyter, that have nothing yet."""
    folder = tmp_path_factory.mktemp("fresh")
    with pytest.MonkeyPatch.context() as patch:
        jupyter = ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        for variable in ("FLOWERBENCH_CACHE", *jupyter):
            patch.setenv(variable, str(folder / variable))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]))
        yield folder / "clone"


@pytest.fixture(scope="module")
def executed(clone: Path) -> Executed:
    return execute(clone)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_runs_in_less_than_two_minutes_with_an_empty_cache(executed: Executed) -> None:
    assert executed.seconds < 120
    assert "12 points: 12 done. 30 epochs asked for, 24 trained, 6 reused." in executed.shown
    assert executed.figures == 7


@pytest.mark.long
def test_it_shows_no_warning_and_no_error(executed: Executed) -> None:
    assert [output for output in executed.outputs if output.output_type == "error"] == []
    assert [output.text for output in executed.outputs if output.get("name") == "stderr"] == []
    assert not re.search(r"warning|traceback|error", executed.shown, re.IGNORECASE)


@pytest.mark.long
def test_it_leaves_its_sweep_where_sweeps_land_and_nothing_else(executed: Executed) -> None:
    assert [path.name for path in (executed.clone / "multirun").iterdir()] == ["compare_runs"]
    assert sorted(path.name for path in executed.clone.iterdir()) == ["multirun", "notebooks"]
    assert list((executed.clone / "notebooks").iterdir()) == []


@pytest.mark.long
def test_its_numbers_are_those_of_the_runs(executed: Executed) -> None:
    from flowerbench.report import analysis, frame

    runs = frame.load(executed.clone / "multirun" / "compare_runs")
    (section,) = analysis.sections(runs)
    assert set(runs.runs["status"]) == {"FINISHED"}
    assert len(section.settings) == 4
    for name, accuracy in runs.runs["best_accuracy"].items():
        assert re.search(rf"best validation accuracy {accuracy:.4f} in epoch \d: \S+{name}\n", executed.shown)
    for setting in section.settings:
        (row,) = re.findall(rf"^\| {setting.label} \| .*FINISHED \|$", executed.shown, re.MULTILINE)
        assert f"{setting.accuracy:.4f} ± {setting.spread:.4f} (n=3)" in row
    for sentence in section.conclusion:
        assert sentence in executed.shown


@pytest.mark.long
@pytest.mark.parametrize(
    "part",
    ["Conclusion", "Best accuracy by batch_size and epochs", "How to read this", "Compared with the best", "Cost"],
)
def test_it_says_what_the_report_of_its_sweep_says(executed: Executed, part: str) -> None:
    report = (executed.clone / "multirun" / "compare_runs" / "report" / "report.md").read_text(encoding="utf-8")
    found = re.search(rf"^## {part}\n\n(.+?)(?=\n\n## |\Z)", report, re.MULTILINE | re.DOTALL)
    assert found is not None
    assert found[1].partition("\n\n![")[0] in executed.shown  # the figure follows, as a file


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_second_time_it_trains_nothing_and_shows_the_same(executed: Executed) -> None:
    again = execute(executed.clone)
    assert "12 points: 12 done (12 of them before). 30 epochs asked for, 0 trained, 0 reused." in again.shown

    def tables(of: Executed) -> str:
        return of.shown[of.shown.index("- Validation clean") :]

    assert tables(again) == tables(executed)


@pytest.mark.long
def test_it_shows_a_sweep_of_your_own_as_well(clone: Path) -> None:
    own = execute(clone, str(PAPER))
    assert "epochs asked for" not in own.shown
    assert "have the same result, 502 of 570 photos" in own.shown
    assert "sunflower/29955482321_2d6269c164_n.jpg" in own.shown
    # The photos of that sweep are not where its command found them, so their names are all there is.
    assert "These photos are not on this machine." in own.shown
    assert own.figures == 6
