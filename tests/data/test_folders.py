"""Where a data set's photos lie on the disk."""

from __future__ import annotations

from flowerbench.data import folders
from tests.conftest import write_photos


def names(root) -> dict[str, list[str]]:
    return {name: sorted(file.name for file in files) for name, files in folders.of_classes(root).items()}


def test_a_class_is_a_folder_with_photos_in_it_or_below(tmp_path):
    write_photos(tmp_path, {"a": 1, "b/deeper": 1, ".hidden": 1})
    (tmp_path / "empty").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("no photo")
    (tmp_path / "a" / ".thumbnail.png").write_bytes(b"")
    assert names(tmp_path) == {"a": ["000.png"], "b": ["000.png"]}


def test_a_linked_folder_counts_and_one_that_goes_round_ends(tmp_path):
    write_photos(tmp_path / "elsewhere", {"photos": 2})
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "linked").symlink_to(tmp_path / "elsewhere" / "photos")
    (tmp_path / "set" / "a" / "round").symlink_to(tmp_path / "set")
    assert names(tmp_path / "set") == {"a": ["000.png", "001.png"]}


def test_folders_that_wrap_the_classes_are_looked_through(tmp_path):
    write_photos(tmp_path / "archive" / "flowers", {"a": 1, "b": 1})
    (tmp_path / "__MACOSX").mkdir()
    assert folders.below_single(tmp_path) == tmp_path / "archive" / "flowers"


def test_a_single_class_is_not_taken_for_a_wrapping(tmp_path):
    write_photos(tmp_path, {"a": 1})
    assert folders.below_single(tmp_path) == tmp_path
