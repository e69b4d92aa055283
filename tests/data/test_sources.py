from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from flowerbench.data import download, images, sources
from flowerbench.errors import UsageError
from tests.conftest import write_photos


@pytest.fixture
def load(compose_config):
    def loaded(root: Path | str, *overrides: str) -> sources.Photos:
        return sources.load(compose_config("data=folder", f"data.root='{root}'", *overrides).data)

    return loaded


def test_a_folder_of_class_folders(load, photo_folder):
    photos = load(photo_folder)
    assert photos.per_class == {"ash": 20, "beech": 16, "cedar": 14}
    assert photos.paths == tuple(sorted(photos.paths))
    assert photos.paths[0] == "ash/000.png"
    assert set(photos.parts) == {None}


def test_folders_of_train_and_val(load, tmp_path):
    write_photos(tmp_path / "train", {"a": 3, "b": 2})
    write_photos(tmp_path / "val", {"a": 1, "b": 2}, seed=1)
    photos = load(tmp_path)
    assert photos.per_class == {"a": 4, "b": 4}
    parts = dict(zip(photos.paths, photos.parts, strict=True))
    assert parts["val/b/001.png"] == "val"
    assert list(parts.values()).count("train") == 5


@pytest.mark.parametrize("other", ["valid", "test"])
def test_parts_of_other_names_are_not_taken_for_classes(load, tmp_path, other):
    write_photos(tmp_path / "train", {"a": 3, "b": 2})
    write_photos(tmp_path / other, {"a": 3, "b": 2})
    with pytest.raises(UsageError, match="holds train/ but no val/"):
        load(tmp_path)


def test_what_is_no_photo_is_passed_over(load, tmp_path):
    write_photos(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "Thumbs.db").touch()
    (tmp_path / "a" / ".hidden.png").touch()
    (tmp_path / "readme.txt").touch()
    (tmp_path / ".git" / "x").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    assert load(tmp_path).per_class == {"a": 2, "b": 2}


def test_photos_in_deeper_folders_and_upper_case_count(load, tmp_path):
    write_photos(tmp_path, {"a": 2, "b/deep": 2})
    (tmp_path / "a" / "000.png").rename(tmp_path / "a" / "000.PNG")
    assert load(tmp_path).per_class == {"a": 2, "b": 2}


def test_a_wrapping_folder_is_looked_through(load, tmp_path):
    write_photos(tmp_path / "archive" / "flowers", {"a": 2, "b": 2})
    assert load(tmp_path).root == tmp_path / "archive" / "flowers"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "does not exist or is empty"),
        (lambda root: root.mkdir(), "does not exist or is empty"),
        (lambda root: root.touch(), "is a file"),
        (lambda root: (root / "a").mkdir(parents=True), "found no photos"),
        (lambda root: write_photos(root, {"only": 3}), "found photos of only only"),
    ],
)
def test_a_folder_without_classes_of_photos_is_refused(load, tmp_path, make, message):
    make(tmp_path / "photos")
    with pytest.raises(UsageError, match=message) as raised:
        load(tmp_path / "photos")
    assert "data.root" in str(raised.value)


def test_no_folder_named_is_refused(compose_config):
    with pytest.raises(UsageError, match=r"data\.root has no value"):
        sources.load(compose_config("data=folder").data)


def test_all_unreadable_files_are_named_in_one_error(load, tmp_path):
    write_photos(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a/000.png").write_bytes(b"broken")
    (tmp_path / "b/003.png").unlink()
    (tmp_path / "b/003.png").symlink_to("nowhere.png")
    with pytest.raises(UsageError, match=r"2 of 8 files in .* a/000\.png, b/003\.png\. .*data\.on_bad_image=skip"):
        load(tmp_path)
    assert len(load(tmp_path, "data.on_bad_image=skip")) == 6


def test_a_link_to_a_folder_around_it_does_not_go_round(load, tmp_path):
    write_photos(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    assert load(tmp_path).per_class == {"a": 2, "b": 2}


def test_a_name_that_no_table_can_hold_is_refused(load, tmp_path):
    write_photos(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "000.png").rename(tmp_path / "a" / "new\nline.png")
    with pytest.raises(UsageError, match="rename 'a/new"):
        load(tmp_path)


def test_unreadable_files_are_skipped_and_counted_when_asked(load, tmp_path):
    write_photos(tmp_path, {"a": 4, "b": 4})
    (tmp_path / "a/000.png").write_bytes(b"broken")
    photos = load(tmp_path, "data.on_bad_image=skip")
    assert photos.skipped == ("a/000.png",)
    assert photos.per_class == {"a": 3, "b": 4}
    (tmp_path / "a/000.png").unlink()
    assert load(tmp_path).fingerprint == photos.fingerprint, "as if it had never been there"


@pytest.mark.parametrize("near_distance", ["null", "48"])
def test_photos_are_read_once_and_never_again(load, tmp_path, monkeypatch, near_distance):
    write_photos(tmp_path, {"a": 3, "b": 2}, seed=int(near_distance == "null"))
    read: list[Path] = []
    one = images.read_rgb
    monkeypatch.setattr(images, "read_rgb", lambda path: read.append(path) or one(path))
    for _ in range(2):
        load(tmp_path, f"data.near_distance={near_distance}")
        assert len(read) == 5


def test_the_fingerprint_is_of_contents_and_not_of_the_place(load, tmp_path, photo_folder):
    moved = shutil.copytree(photo_folder, tmp_path / "moved")
    assert load(moved).fingerprint == load(photo_folder).fingerprint
    (moved / "ash" / "000.png").write_bytes((moved / "ash" / "001.png").read_bytes())
    assert load(moved).fingerprint != load(photo_folder).fingerprint


def test_synthetic_flowers_are_drawn_when_asked(compose_config):
    photos = sources.load(compose_config("data=synthetic", "data.synthetic.count=20", "data.synthetic.size=32").data)
    assert photos.per_class == dict.fromkeys(("daisy", "dandelion", "rose", "sunflower", "tulip"), 4)


def test_what_is_not_there_is_fetched_to_the_root(compose_config, tmp_path, monkeypatch):
    asked = []

    def photos(url, folder, *, sha256, size):
        asked.append((url, folder, sha256, size))
        return write_photos(folder, {"a": 2, "b": 2}).parent

    monkeypatch.setattr(download, "photos", photos)
    config = compose_config("data=flower_photos", f"data.root={tmp_path / 'x'}").data
    assert sources.load(config).per_class == {"a": 2, "b": 2}
    sources.load(config)
    assert asked == [(config.url, tmp_path / "x", config.sha256, 228813984)], "and only once"


def test_fetched_photos_that_are_not_the_papers_are_refused(compose_config, monkeypatch):
    monkeypatch.setattr(download, "photos", lambda url, folder, **_: write_photos(folder, {"daisy": 2, "rose": 2}))
    with pytest.raises(UsageError, match=r"are not the paper's 2,848 .*daisy"):
        sources.load(compose_config("data=flowers").data)


def test_photos_of_your_own_that_are_not_the_papers_are_used_with_a_warning(compose_config, tmp_path, caplog):
    write_photos(tmp_path, {"daisy": 2, "rose": 2})
    assert len(sources.load(compose_config("data=flowers", f"data.root={tmp_path}").data)) == 4
    assert "not the paper's 2,848 photos" in caplog.text


@pytest.mark.long
def test_the_real_photos(compose_config, real_photos, caplog):
    photos = sources.load(compose_config("data=flowers", f"data.root={real_photos}").data)
    assert photos.per_class == {"daisy": 588, "dandelion": 556, "rose": 583, "sunflower": 536, "tulip": 585}
    assert len(photos) - len(set(photos.digests)) == 4, "four pairs are identical"
    assert not caplog.text
