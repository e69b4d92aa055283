"""The configuration reference, made while MkDocs builds: from `conf/` and from the types of `flowerbench/config.py`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import yaml

from flowerbench import checks, config

PLACE = "<!-- the reference stands here -->"
BASE = "base"  # the file of a group that its options begin with
_TARGET = "the class that is made; the other keys are its arguments"
_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "keys of its own",
}
_OVERRIDE = "override /"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """MkDocs' event: the Markdown of a page, before it becomes HTML."""
    return markdown.replace(PLACE, "\n".join(reference())) if PLACE in markdown else markdown


@dataclass(frozen=True)
class Key:
    """A key as one file has it: its dotted name, its value as written there (None of a group of keys), its comment."""

    name: str
    value: str | None
    meaning: str


@dataclass(frozen=True)
class Option:
    """One file of `conf/`: the choice that it is, what its first lines say of it (Markdown), and its keys.

    An overlay sets keys that another file explains.
    """

    name: str
    title: str
    keys: tuple[Key, ...]
    is_overlay: bool


def groups(folder: Path) -> dict[str, list[Option]]:
    """The options of every config group, such as `data` and `hydra/launcher`; the root is the group with no name."""
    found: dict[str, list[Option]] = {}
    for file in sorted(folder.rglob("*.yaml"), key=lambda file: (file.stem != BASE, file.stem)):
        found.setdefault(file.parent.relative_to(folder).as_posix().replace(".", ""), []).append(option(file, folder))
    return dict(sorted(found.items(), key=lambda group: (group[0].startswith("hydra/"), group[0])))


def option(file: Path, folder: Path) -> Option:
    """What a file of `conf/` holds."""
    text = file.read_text(encoding="utf-8")
    opening = [line[1:].strip() for line in re.match(r"(#.*\n)*", text)[0].splitlines()]  # type: ignore[index]
    packages = [line.removeprefix("@package").strip() for line in opening if line.startswith("@package")]
    own = file.parent.relative_to(folder).as_posix().replace("/", ".").strip(".")
    package = packages[0].replace("_global_", "") if packages else own
    keys = tuple(_keys(yaml.compose(text), text.splitlines(), f"{package}." if package else ""))
    title = _escaped("\n".join(line for line in opening if not line.startswith("@package")))
    title = re.sub(r"\n(?=[A-Z])", "<br>", title).replace(
        "\n", " "
    )  # sentences end with their line, or go on in the next
    return Option(file.stem, title, keys, is_overlay=package != own)


def _keys(node: Any, lines: Sequence[str], prefix: str) -> Iterator[Key]:
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if key.value == "defaults":
            yield from _choices(value)
            continue
        if name == "hydra":  # Hydra explains its own
            continue
        is_group = isinstance(value, yaml.MappingNode) and not value.flow_style
        end = key.end_mark if is_group else value.end_mark
        meaning = lines[end.line][end.column :].partition("#")[2].strip()
        if not is_group:
            written = lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
            yield Key(name, value.value if isinstance(value, yaml.ScalarNode) else written, meaning)
            continue
        if meaning:
            yield Key(name, None, meaning)
        yield from _keys(value, lines, f"{name}.")


def _choices(defaults: Any) -> Iterator[Key]:
    """The options that an overlay chooses in other groups."""
    for entry in defaults.value:
        for key, value in entry.value if isinstance(entry, yaml.MappingNode) else ():
            if key.value.startswith(_OVERRIDE):
                yield Key(key.value.removeprefix(_OVERRIDE), value.value, "")


def reference() -> Iterator[str]:
    """The lines of the reference: for each group its options, and its keys with default, allowed values and meaning."""
    for group, options in groups(config.folder()).items():
        yield f"\n## {f'`{group}`' if group else 'Every run'}\n"
        choices = [option for option in options if group and option.name != BASE]
        if choices:
            overlays = any(option.is_overlay for option in choices)
            yield from _row("Option", "What it is", *(["What it sets"] if overlays else []))
            yield from _row(*["---"] * (2 + overlays))
            for option in choices:
                sets = [", ".join(f"`{key.name}={key.value}`" for key in option.keys if key.value is not None)]
                yield from _row(f"`{group}={option.name}`", option.title, *(sets if overlays else []))
            yield ""
        names = dict.fromkeys(key.name for option in options if not option.is_overlay for key in option.keys)
        if names:
            yield from _row("Key", "Default", "Allowed", "Meaning")
            yield from _row(*["---"] * 4)
            for name in _nested(list(names)):
                yield from _key_row(name, options)


def _nested(names: list[str]) -> list[str]:
    """The names in their order, but what only an option has within a key, right behind it."""
    above = {name: [names.index(other) for other in names if f"{name}.".startswith(f"{other}.")] for name in names}
    return sorted(names, key=lambda name: min(above[name]))


def _key_row(name: str, options: Sequence[Option]) -> Iterator[str]:
    """One key over all options of its group: what they have in common once, what differs with the option's name."""
    found = [(o.name, key) for o in options if not o.is_overlay for key in o.keys if key.name == name]
    values = {option: key.value for option, key in found if key.value not in (None, "???")}
    meanings = {option: _escaped(key.meaning) for option, key in found if key.meaning}
    is_common = len(set(values.values())) == 1 and values.keys() == {o.name for o in options if not o.is_overlay}
    default = _merged({option: f"`{value}`" for option, value in values.items()}, is_common)
    meaning = _merged(meanings, len(set(meanings.values())) <= 1)
    if name.endswith("_target_"):
        meaning = meaning or _TARGET
    yield from _row(f"`{name}`", default, allowed(name, list(values.values())), meaning)


def _merged(cells: dict[str, str], is_common: bool) -> str:
    """The cells of a key's options in one, each with its option's name unless it is common to all."""
    if is_common:
        return next(iter(cells.values()), "")
    return "<br>".join(cell if option == BASE else f"{option}: {cell}" for option, cell in cells.items())


def allowed(name: str, values: Sequence[str | None]) -> str:
    """What a key may be, in words: from the schema, or where that is open from the kind of its defaults."""
    hint = types(config.Config, "").get(name)
    if hint is None:
        known = [yaml.safe_load(value) for value in values if value and "${" not in value]
        return _escaped(checks.allowed_words(name) or (_TYPES.get(type(known[0]), "") if known else ""))
    choices = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kind = " or ".join(_TYPES[base] for choice in choices if (base := get_origin(choice) or choice) in _TYPES)
    words = checks.allowed_words(name) or kind
    if kind == _TYPES[int] and "whole number" not in words:
        words = f"{kind}: {words}"
    return _escaped(words) + ("; or `null`" if NoneType in choices and words else "")


def types(schema: type, prefix: str) -> dict[str, Any]:
    """The type of every key below a dataclass, by its dotted name, the groups of keys included."""
    hints = get_type_hints(schema)
    found: dict[str, Any] = {}
    for field in fields(schema):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        found[name] = hint
        for kind in (hint, *get_args(hint)):
            if isinstance(kind, type) and is_dataclass(kind):
                found |= types(kind, f"{name}.")
    return found


def _row(*cells: str) -> Iterator[str]:
    yield "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _escaped(text: str) -> str:
    return html.escape(text, quote=False)
