"""Predictions as a user asks for them."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flowerbench import answers, evaluate, predict, trained
from flowerbench.evaluation.photos import choose
from tests.conftest import write_photos


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "new", {"one": 3, "two": 2}, seed=5)


def predicted(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str) -> tuple[list[str], str, int]:
    """The lines, what was said on stderr, and the exit code."""
    code = 0
    try:
        predict.main([str(run), *arguments, "--device", "cpu"])
    except SystemExit as end:
        code = int(end.code or 0)
    told = capsys.readouterr()
    return told.out.splitlines(), told.err, code


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_help_needs_no_heavy_library(command: str):
    code = (
        f"import sys, flowerbench.{command} as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert not {'pandas', 'mlflow', 'torch', 'hydra', 'PIL', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert "--tracking-uri" in done.stdout


def test_predictions_are_those_of_evaluation(trained_run: Path, capsys: pytest.CaptureFixture[str]):
    run = trained.load(trained_run, "cpu")
    (judged,) = choose(run, [])
    measures = evaluate.judge(run, judged).measures
    paths = [str(judged.root / path) for path in judged.paths]
    lines, _, code = predicted(capsys, trained_run, *paths, "--format", "jsonl", "--batch-size", "3")
    assert code == 0
    for line, expected, path in zip(map(json.loads, lines), measures.probabilities, paths, strict=True):
        assert (line["photo"], line["prediction"]) == (path, run.classes[expected.argmax()])
        found = {told["class"]: told["probability"] for told in line["top"]}
        assert [found[name] for name in run.classes] == pytest.approx(expected.tolist(), abs=1e-6)


def test_every_format_says_the_same(trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]):
    found = {}
    for form in ("table", "jsonl", "csv"):
        found[form], _, code = predicted(capsys, trained_run, str(photos), "--format", form, "--top", "2")
        assert code == 0
    lines = [json.loads(line) for line in found["jsonl"]]
    rows = list(csv.reader(io.StringIO("\n".join(found["csv"]))))
    assert [line["photo"] for line in lines] == sorted(map(str, photos.rglob("*.png")))
    assert rows[0] == ["photo", "class_1", "probability_1", "class_2", "probability_2", "explanation"]
    for line, row, cells in zip(lines, rows[1:], map(str.split, found["table"][1:]), strict=True):
        (first, one), (second, two) = [(top["class"], top["probability"]) for top in line["top"]]
        assert one >= two
        assert row == [line["photo"], first, f"{one:.8f}", second, f"{two:.8f}", ""]
        assert cells == [first, f"{100 * one:.1f}", "%", second, f"{100 * two:.1f}", "%", line["photo"]]


def test_bad_files_are_named_and_left_out(trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str]):
    (photos / "two" / "broken.jpg").write_bytes(b"no photo")
    (photos / "two" / ".hidden.jpg").write_bytes(b"no photo")
    (photos / "two" / "notes.txt").write_bytes(b"no photo")
    asked = [str(photos / "gone.png"), str(photos)]
    lines, told, code = predicted(capsys, trained_run, *asked, "--format", "jsonl", "--batch-size", "2")
    assert code == 1
    assert [json.loads(line)["photo"] for line in lines] == sorted(map(str, photos.rglob("*.png")))
    assert told.splitlines() == [
        f"flowerbench: {photos / 'gone.png'} cannot be read: No such file or directory",
        f"flowerbench: {photos / 'two' / 'broken.jpg'} cannot be read: "
        f"cannot identify image file '{photos / 'two' / 'broken.jpg'}'",
    ]


def test_paths_come_from_stdin(
    trained_run: Path, photos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    names = sorted(map(str, photos.rglob("*.png")), reverse=True)
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(names) + "\n\n"))
    lines, _, code = predicted(capsys, trained_run, "-", "--format", "jsonl")
    assert (code, [json.loads(line)["photo"] for line in lines]) == (0, names)


def test_mistakes_are_said_in_one_line(trained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for arguments, message in (
        ((str(tmp_path),), f"{tmp_path} holds no photos"),
        (("-", "more.jpg"), "- reads the paths from stdin"),
        (("a.jpg", "--top", "0"), "--top 0 is not possible"),
        ((), "the following arguments are required: PHOTOS"),
    ):
        lines, told, code = predicted(capsys, trained_run, *arguments)
        assert (code, lines, told.count("\n")) == (2, [], 1)
        assert message in told


def test_the_batch_does_not_change_an_answer(trained_run: Path, photos: Path):
    run = trained.load(trained_run, "cpu")
    files = sorted(photos.rglob("*.png"))
    one, all_ = (
        np.stack([answer.probabilities for batch in answers.stream(run, zip(files, files, strict=True), size)
                  for answer in batch])
        for size in (1, 5)
    )  # fmt: skip
    assert one == pytest.approx(all_, abs=1e-6)


def test_flips_are_the_mean_over_the_mirror_image(trained_run: Path, photos: Path, tmp_path: Path):
    run = trained.load(trained_run, "cpu")
    file = next(photos.rglob("*.png"))
    Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")

    def answer(path: Path, **how: bool) -> np.ndarray:
        return next(answers.stream(run, [("", path)], 1, **how))[0].probabilities

    plain, mirrored = answer(file), answer(tmp_path / "mirrored.png")
    assert abs(plain - mirrored).max() > 1e-4
    assert answer(file, flips=True) == pytest.approx((plain + mirrored) / 2, abs=1e-6)
    run = dataclasses.replace(run, config={**run.config, "eval_flips": True})
    assert answer(file) == pytest.approx((plain + mirrored) / 2, abs=1e-6), "as its validation did"


def test_only_a_few_batches_are_decoded_ahead(trained_run: Path, photos: Path):
    run = trained.load(trained_run, "cpu")
    file = next(photos.rglob("*.png"))
    asked = []

    def named() -> Iterator[tuple[int, Path]]:
        for number in range(1000):
            asked.append(number)
            yield number, file

    stream = answers.stream(run, named(), 4)
    for number, batch in enumerate(stream, start=1):
        assert [answer.photo for answer in batch] == list(range(4 * number - 4, 4 * number))
        assert len(asked) <= 4 * (number + 2)
        if number == 5:
            break
    stream.close()


@pytest.mark.long
def test_lines_come_as_they_are_known_and_a_reader_may_leave(
    flowerbench: Callable[..., subprocess.CompletedProcess[str]], trained_run: Path, photos: Path, tmp_path: Path
):
    names = "\n".join([str(next(photos.rglob("*.png")))] * 3000)
    (tmp_path / "names.txt").write_text(names)
    command = f"{sys.executable} -m flowerbench.predict {trained_run} - < names.txt | head -n 2"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], cwd=tmp_path, capture_output=True, text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1]), "PATH": "/usr/bin:/bin"}, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stderr, len(done.stdout.splitlines())) == (0, "", 2)


def test_explanations_are_written_and_named(
    trained_run: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = [str(photos), "--explain", str(tmp_path / "why"), "--format", "jsonl", "--batch-size", "2"]
    lines, told, code = predicted(capsys, trained_run, *asked)
    assert (code, told) == (0, "")
    files = [Path(json.loads(line)["explanation"]) for line in lines]
    assert files == sorted((tmp_path / "why").iterdir())
    assert {Image.open(file).size for file in files} == {(2 * 224 + 4, 224)}
