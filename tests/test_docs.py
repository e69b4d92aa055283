"""The site: a reference that knows every key, and pages that need nothing from elsewhere."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from flowerbench import checks, config

ROOT = Path(__file__).parents[1]
# Keys whose value is a choice of files.
GROUPS = {"data", "model", "optim", "schedule", "tracking"}


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """docs/hooks.py, which MkDocs loads by its path as well."""
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look for it there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def rows(hooks) -> dict[str, list[str]]:
    """The row of every key in the reference: its default, what is allowed, and its meaning."""
    found = re.findall(r"^\| `([\w.]+)` \| (.*) \| (.*) \| (.*) \|$", "\n".join(hooks.reference()), re.MULTILINE)
    return {key: cells for key, *cells in found}


def test_every_key_is_in_the_reference_and_has_a_meaning(hooks, rows):
    written = {
        key.name
        for options in hooks.groups(config.folder()).values()
        for option in options
        for key in option.keys
        if key.value is not None and "/" not in key.name
    }
    wanted = (set(checks.known_keys()) | written) - GROUPS
    assert len(wanted) > 80
    assert {key for key in wanted if not rows.get(key, ["", "", ""])[2]} == set()


def test_a_key_of_the_schema_says_what_it_may_be(rows):
    for key in set(checks.known_keys()) - GROUPS:
        assert rows[key][1], key
    assert rows["seed"] == ["`0`", "a whole number from 0 to 4294967295", rows["seed"][2]]
    assert rows["image_size"][1] == "a whole number: pixels, 8 to 4096"
    assert rows["data.workers"][1] == "a whole number, 0 or more; or `null`"
    assert rows["deterministic"][1] == "true or false"
    assert rows["compile"][1] == "true, false or auto"
    assert rows["data.augmentation.rotation"] == [
        "`30`",
        "degrees from 0 to 180",
        "degrees, drawn from -rotation to rotation",
    ]


def test_options_that_differ_are_named(hooks, tmp_path, monkeypatch, rows):
    assert rows["reuse"][0] == "`on`"
    assert "sgd: `0.001`" in rows["optim.lr"][0]
    assert "adamw: `0.0003`" in rows["optim.lr"][0]
    assert rows["data.val_fraction"][0] == "`0.2`"
    assert rows["tracking.system_metrics"][0] == "`false`"
    assert list(rows).index("data.synthetic.count") == list(rows).index("data.synthetic") + 1
    (tmp_path / "optim").mkdir()
    (tmp_path / "optim" / "one.yaml").write_text(
        "# The first.\n_target_: a.B\nlr: 1  # fast # slow\nmore:\n  deep: x\n"
    )
    (tmp_path / "optim" / "two.yaml").write_text(
        '# @package _global_\n# The second:\n# a < b.\n# More.\nlr: "2"\noptim: {lr: 3}\n'
    )
    monkeypatch.setattr(config, "folder", lambda: tmp_path)
    text = "\n".join(hooks.reference())
    assert "| `optim=one` | The first. |" in text
    assert "| `optim=two` | The second: a &lt; b.<br>More. | `lr=2`, `optim={lr: 3}` |" in text
    assert "| `optim.lr` | `1` | a number above 0 | fast # slow |" in text
    assert "| `optim.more.deep` | `x` | text |  |" in text


@pytest.mark.long
def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    pages = {file.name: file.read_text(encoding="utf-8") for file in tmp_path.glob("*.html")}
    assert {"index.html", "configuration.html", "api.html"} <= pages.keys()
    for name, page in pages.items():
        loaded = re.findall(r"<(?:script|img|iframe|source)[^>]+src=[\"']?([^\"' >]+)", page)
        loaded += re.findall(r"<link[^>]+rel=[\"']?(?:stylesheet|icon|preconnect)[^>]*href=[\"']?([^\"' >]+)", page)
        assert loaded, name
        assert not [source for source in loaded if re.match(r"(https?:)?//", source)], name
    assert "<!-- the reference" not in pages["configuration.html"]
    assert "--8&lt;--" not in "".join(pages.values())
    for key in ("data.augmentation.rotation", "hydra.launcher.timeout_min"):
        assert f"<code>{key}</code>" in pages["configuration.html"]
    assert 'id="flowerbench.report.frame.load"' in pages["api.html"]
    assert not list(tmp_path.rglob("*.py"))


@pytest.mark.long
def test_the_python_of_the_api_page_runs():
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
