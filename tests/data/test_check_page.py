"""The web page of `data check` as a browser shows it: Chromium where there is one, from a file, without a network."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from flowerbench.data.__main__ import main
from tests.data.test_check import write_scenes
from tests.report.test_browser import DESK, PHONE, TEXTS, chromium

__all__ = ["chromium"]

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with 30 photos: two identical under two classes, an unreadable one, and 14 more pairs."""
    root = write_scenes(tmp_path_factory.mktemp("page") / "photos", {"ash": 16, "beech_with_a_long_name": 16})
    for number in range(14):
        shutil.copy(root / "ash" / f"{number}.jpg", root / "ash" / f"{number}_again.jpg")
    shutil.copy(root / "ash" / "15.jpg", root / "beech_with_a_long_name" / f"{'0123456789' * 4}.jpg")
    (root / "ash" / "text.png").write_text("no photo")
    file = root.parent / "check.html"
    with pytest.raises(SystemExit):
        main(["check", str(root), "--html", str(file)])
    return file


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK])
def test_all_photos_and_words_can_be_seen(chromium: Any, page: Path, size: tuple[int, int], scheme: str):
    context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    opened, asked, said = context.new_page(), [], []
    opened.on("request", lambda request: asked.append(request.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.goto(page.as_uri())
    opened.evaluate("document.querySelectorAll('img').forEach((image) => { image.loading = 'eager'; })")
    opened.wait_for_function("[...document.images].every((image) => image.complete)")
    widths = opened.evaluate("[...document.images].map((image) => [image.naturalWidth, image.clientWidth])")
    assert len(widths) == 30
    assert all(natural > 0 and shown > 100 for natural, shown in widths)
    assert opened.evaluate("document.documentElement.scrollWidth") == size[0]
    texts = opened.evaluate(TEXTS)
    assert len(texts) > 30
    assert [text for text in texts if text["contrast"] < 4.5] == []
    assert [text for text in texts if text["size"] < (16 if size == PHONE else 14)] == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    assert said == []
    context.close()
