from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from flowerbench.data import prepare, sources
from flowerbench.data.__main__ import main
from flowerbench.errors import UsageError

Prepare = Callable[..., tuple[int, str, str]]


@pytest.fixture
def prepared(capsys, tmp_path, monkeypatch) -> Prepare:
    """Run `prepare source made` in a folder that holds `source`: the exit code, and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            main(["prepare", "source", "made", *arguments])
            code = 0
        except SystemExit as error:
            code = error.code
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


@pytest.fixture
def source(tmp_path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def write(source: Path, *names: str) -> None:
    """Photos of these names, each of its own colour."""
    for number, name in enumerate(names):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (number % 256, len(name) % 256, sum(name.encode()) % 256)).save(source / name)


def tree(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def same(made: Path, source: Path, pairs: dict[str, str]) -> bool:
    """Whether `made` holds these files, with the contents of those in `source`, and nothing else."""
    return tree(made) == {target: (source / origin).read_bytes() for target, origin in pairs.items()}


def test_lists_with_numbers_and_classes(prepared, source):
    write(source, "roses/a b.png", "roses/c.png", "tulips/d.png", "tulips/e.png")
    (source / "classes.txt").write_text("rose\ntulip\n")
    (source / "train.txt").write_text("roses/a b.png 0\ntulips/d.png 1\n\n")
    (source / "val.txt").write_text("roses/c.png 0\ntulips/e.png 1\n")
    before = tree(source)
    code, printed, errors = prepared()
    assert (code, errors) == (0, "")
    pairs = {
        "train/rose/a b.png": "roses/a b.png",
        "train/tulip/d.png": "tulips/d.png",
        "val/rose/c.png": "roses/c.png",
        "val/tulip/e.png": "tulips/e.png",
    }
    assert same(Path("made"), source, pairs)
    assert tree(source) == before
    assert re.search(r"\| rose +\| 1 +\| 1 +\|", printed)
    photos = sources.in_folder(Path("made"))
    assert photos.classes == ("rose", "tulip")
    assert photos.parts.count("train") == 2


def test_lists_as_imagenet_has_them(prepared, source):
    """In `meta/`, with paths from the part's folder, and names of classes instead of numbers."""
    write(source, "train/n1/x.png", "val/x.png", "test/x.png")
    (source / "meta").mkdir()
    (source / "meta" / "classes.txt").write_text("great white shark\nhen\n")
    (source / "meta" / "train.txt").write_text("n1/x.png great white shark\n")
    (source / "meta" / "val.txt").write_text("x.png 1\n")
    (source / "meta" / "test.txt").write_text("x.png\then\n")
    assert prepared()[0] == 0
    pairs = {
        "train/great white shark/x.png": "train/n1/x.png",
        "val/hen/x.png": "val/x.png",
        "test/hen/x.png": "test/x.png",
    }
    assert same(Path("made"), source, pairs)


@pytest.mark.parametrize(
    ("table", "parted"),
    [
        ("image,label\na 1.png,rose\nb.png,tulip\n", False),
        ("\ufeffid;Filename;Class;Split\n1;a 1.png;rose;training\n2;b.png;tulip;valid\n", True),
        ('path\tcategory\tsubset\n"a 1.png"\trose\ttrain\nb.png\ttulip\tval\n', True),
    ],
)
def test_a_table(prepared, source, table, parted):
    write(source, "a 1.png", "b.png")
    (source / "labels.csv").write_text(table, encoding="utf-8")
    code, _, errors = prepared()
    assert (code, errors) == (0, "")
    train, val = ("train/", "val/") if parted else ("", "")
    assert same(Path("made"), source, {f"{train}rose/a 1.png": "a 1.png", f"{val}tulip/b.png": "b.png"})


def test_a_table_with_paths_of_windows_and_numbers(prepared, source):
    write(source, "photos/a.png")
    (source / "names.txt").write_text("rose\n")
    (source / "labels.csv").write_text("file_name,target\nphotos\\a.png,0\n")
    assert prepared("--classes", "source/names.txt", "--list", "source/labels.csv")[0] == 0
    assert same(Path("made"), source, {"rose/a.png": "photos/a.png"})


def test_hard_links_take_no_room(prepared, source):
    write(source, "a.png", "b.png")
    (source / "train.csv").write_text("path,class\na.png,x\nb.png,y\n")
    assert prepared("--link")[0] == 0
    assert (source / "a.png").samefile("made/train/x/a.png")


def test_a_name_that_two_photos_of_a_class_have_is_told_apart(prepared, source):
    write(source, "one/a.png", "two/a.png", "two/b.png")
    (source / "all.csv").write_text("path,class\none/a.png,x\ntwo/a.png,x\ntwo/b.png,x\ntwo/a.png,y\none/a.png,x\n")
    assert prepared()[0] == 0
    made = tree(Path("made"))
    assert sorted(re.sub("-[0-9a-f]{8}", "-#", name) for name in made) == [
        "x/a-#.png",
        "x/a-#.png",
        "x/b.png",
        "y/a.png",
    ]
    assert len(set(made.values())) == 3
    assert made["y/a.png"] == (source / "two/a.png").read_bytes()


def test_all_missing_files_are_named(prepared, source):
    write(source, "a.png")
    (source / "train.txt").write_text("a.png x\nb c.png x\nd/e.png y\n")
    code, printed, errors = prepared()
    assert (code, printed) == (2, "")
    assert [line.partition(":")[2] for line in errors.splitlines()[:2]] == ["2: b c.png", "3: d/e.png"]
    assert "2 listed files are missing" in errors.splitlines()[2]
    assert not Path("made").exists()


def test_what_is_no_photo_is_refused(prepared, source):
    write(source, "a.png")
    (source / "b.gif").touch()
    (source / "train.txt").write_text("a.png x\nb.gif x\n")
    code, _, errors = prepared()
    assert code == 2
    assert "train.txt:2: b.gif" in errors
    assert "1 listed file is of another format" in errors


def test_a_folder_with_something_in_it_is_refused(prepared, source):
    write(source, "a.png")
    (source / "train.txt").write_text("a.png x\n")
    Path("made").mkdir()
    Path("made/mine.txt").write_text("mine")
    code, _, errors = prepared()
    assert code == 2
    assert "made is not empty" in errors
    assert tree(Path("made")) == {"mine.txt": b"mine"}
    Path("made/mine.txt").unlink()
    assert prepared()[0] == 0


@pytest.mark.parametrize("target", ["source", "source/made", "source/../source/new/made"])
def test_the_source_is_never_written_to(source, tmp_path, monkeypatch, target):
    monkeypatch.chdir(tmp_path)
    write(source, "a.png")
    (source / "train.txt").write_text("a.png x\n")
    before = tree(source)
    with pytest.raises(SystemExit):
        main(["prepare", "source", target])
    assert tree(source) == before


def test_nothing_outside_the_source_is_taken(prepared, source, tmp_path):
    write(tmp_path, "secret.png")
    (source / "train.txt").write_text(f"../secret.png x\n{tmp_path / 'secret.png'} x\n")
    code, _, errors = prepared()
    assert code == 2
    assert "2 listed files are missing" in errors


def test_absolute_paths_within_the_source_are_taken(prepared, source):
    write(source, "a.png")
    (source / "train.txt").write_text(f"{source / 'a.png'} x\n")
    assert prepared()[0] == 0
    assert same(Path("made"), source, {"train/x/a.png": "a.png"})


def test_nothing_is_written_outside_the_target(prepared, source, tmp_path):
    write(source, "a.png")
    (source / "labels.csv").write_text('path,class\na.png,../../out\na.png,"/etc"\na.png,..\na.png,.hidden\n')
    before = set(tmp_path.iterdir())
    assert prepared()[0] == 0
    assert set(tmp_path.iterdir()) - before == {tmp_path / "made"}
    assert sorted(tree(Path("made"))) == ["_.._.._out/a.png", "_.hidden/a.png", "_/a.png", "_etc/a.png"]


@given(st.text(max_size=20))
def test_any_name_is_safe_as_that_of_a_folder(name):
    safe = prepare.folder_name(name)
    assert safe
    assert Path(safe).name == safe
    assert not safe.startswith(".")
    assert not safe.endswith((".", " "))
    assert not set(safe) & set('<>:"/\\|?*')
    assert safe.isprintable()
    assert prepare.folder_name(safe) == safe


@pytest.mark.parametrize("name", ["rose", "great white shark", "Löwenzahn", "a.b", "薔薇"])
def test_a_usual_name_stays(name):
    assert prepare.folder_name(name) == name


@pytest.mark.parametrize("name", ["con", "NUL.jpg", "com1"])
def test_names_that_windows_keeps_for_itself_are_changed(name):
    assert prepare.folder_name(name) == f"_{name}"


def test_classes_that_would_share_a_folder_are_refused(prepared, source):
    write(source, "a.png")
    (source / "labels.csv").write_text("path,class\na.png,x/y\na.png,x:y\n")
    code, _, errors = prepared()
    assert code == 2
    assert "'x/y' and 'x:y' would share the folder x_y" in errors


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds neither train.txt"),
        ({"train.txt": "\n"}, "no photo is listed"),
        ({"train.txt": "a.png\n"}, "train.txt:1: needs a path, a space and a class"),
        ({"train.txt": "a.png 2\n", "classes.txt": "x\ny\n"}, "train.txt:1: class 2 is none of the 2 classes: x, y"),
        ({"train.txt": "a.png 1\n", "classes.txt": "1\n2\n"}, "class 1 is the name of one class and the number of"),
        ({"train.txt": "a.png x\n", "classes.txt": "x\nx\n"}, "classes.txt: x stands there twice"),
        ({"a.csv": "name,class\na.png,x\n"}, "a.csv has no column of paths"),
        ({"a.csv": "path,kind\na.png,x\n"}, "a.csv has no column of classes"),
        ({"a.csv": "path,class\na.png,\n"}, "a.csv:2: needs both path and class"),
        ({"a.csv": "path,class,split\na.png,x,holdout\n"}, "a.csv:2: holdout is no part"),
        ({"a.csv": "path,class,split\na.png,x,train\na.png,x,\n"}, "a.csv:3: no part"),
        ({"train.txt": b"\xff\xfe\x00"}, "train.txt cannot be read"),
    ],
)
def test_mistakes_in_lists_are_told_in_a_line(prepared, source, files, said):
    write(source, "a.png")
    for name, text in files.items():
        (source / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    code, _, errors = prepared()
    assert code == 2
    assert said in errors
    assert errors.count("\n") == 1
    assert not Path("made").exists()


def test_a_run_that_is_killed_leaves_no_folder_and_the_next_one_makes_it(prepared, source, tmp_path):
    write(source, "a.png", "b.png")
    (source / "train.txt").write_text("a.png x\nb.png y\n")
    code = (
        "import os, shutil, sys\n"
        "from flowerbench.data.__main__ import main\n"
        "copy = shutil.copyfile\n"
        "shutil.copyfile = lambda source, target: os._exit(9) if 'b.png' in str(source) else copy(source, target)\n"
        "main(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "prepare", "source", "made"]
    killed = subprocess.run(
        command, cwd=tmp_path, check=False, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    )
    assert killed.returncode == 9
    assert not Path("made").exists()
    assert prepared()[0] == 0
    assert sorted(tree(Path("made"))) == ["train/x/a.png", "train/y/b.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["made", "source"]


def test_the_commands_of_the_page_work(source, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m flowerbench\.data (.*)$", page, re.MULTILINE)
    assert len(commands) == 4
    downloaded = source.rename(tmp_path / "downloaded")
    write(downloaded, "a.png", "b.png", "c.png", "d.png")
    (downloaded / "classes.txt").write_text("x\ny\n")
    (downloaded / "train.txt").write_text("a.png 0\nb.png 1\n")
    (downloaded / "val.txt").write_text("c.png 0\nd.png 1\n")
    (tmp_path / "labels.csv").write_text("path,label\na.png,0\nb.png,1\n")
    (tmp_path / "names.txt").write_text("p\nq\n")
    monkeypatch.chdir(tmp_path)
    for command in sorted(commands, reverse=True):  # prepare, then check
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["flowerbench.data", *command.split()])
            main()
    assert sorted(tree(Path("photos"))) == ["train/x/a.png", "train/y/b.png", "val/x/c.png", "val/y/d.png"]
    assert sorted(tree(Path("more_photos"))) == ["p/a.png", "q/b.png"]
    assert Path("check.html").is_file()


def test_a_copy_that_fails_leaves_nothing(source, tmp_path):
    write(source, "a.png", "b.png")
    copies = [
        prepare.Copy(source / "a.png", None, "x", "a.png"),
        prepare.Copy(source / "gone.png", None, "x", "gone.png"),
    ]
    with pytest.raises(UsageError, match=r"cannot write .*gone\.png"):
        prepare.carry_out(copies, tmp_path / "made")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]
