"""What was found among photos, as a page to read: in a terminal, or in a browser with the photos themselves."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flowerbench import launchers
from flowerbench.data import images, near
from flowerbench.data.findings import Finding, size
from flowerbench.data.looks import Look, Looked
from flowerbench.data.sources import Photos
from flowerbench.report.blocks import Block, Bullets, Gallery, Heading, Paragraph, Photo, Table

# Of what is only worth a look, so many groups are shown.
_MOST_NOTES = 24
# Photos that are shown and not only named: a page with more takes long to open.
_MOST_PICTURES = 300
_SIDE = 136
# A class with so many times the photos of another makes a plain split and plain accuracy doubtful.
_UNEVEN = 1.5
_NONE = "\N{EN DASH}"


def blocks(photos: Photos, looks: Sequence[Looked], findings: Sequence[Finding], *, with_pictures: bool) -> list[Block]:
    """The whole page: what it comes to, the photos of each class, and each finding."""
    pictures = _pictures(photos, findings) if with_pictures else {}
    shown: list[Block] = [
        Heading(f"Photos in {photos.root.name}", 1),
        Paragraph(f"{_counted(len(photos), 'photo')} of {len(photos.classes)} classes in `{photos.root}`"),
        Heading("Conclusion", 2),
        Bullets(list(_conclusion(photos, findings))),
        Heading("Classes", 2),
        _classes(photos, looks),
    ]
    for finding in findings:
        groups = [
            [Photo(photos.paths[i], finding.details.get(i, ""), pictures.get(i, b"")) for i in group]
            for group in finding.groups[: _most(finding)]
        ]
        shown += [Heading(finding.title, 2), Paragraph(finding.meaning), Gallery(groups)]
        if len(finding.groups) > len(groups):
            shown.append(Paragraph(f"And {len(finding.groups) - len(groups):,} more."))
    return [*shown, Heading("How this was found", 2), Bullets(_methods())]


def _conclusion(photos: Photos, findings: Sequence[Finding]) -> Iterator[str]:
    if not any(finding.is_wrong for finding in findings):
        yield "**Nothing is wrong.**"
    for finding in findings:
        count = _counted(len(finding.groups), "group" if len(finding.groups[0]) > 1 else "photo")
        yield f"**Wrong: {finding.title}**, {count}" if finding.is_wrong else f"Worth a look: {finding.title}, {count}"
    if not any(photos.parts):
        yield (
            "There are no `train/` and `val/`: flowerbench draws the split, and keeps identical photos in one part, "
            "and nearly identical ones as `data.near_distance` says"
        )
    counts = photos.per_class
    most, fewest = max(counts, key=lambda name: counts[name]), min(counts, key=lambda name: counts[name])
    if counts[most] >= _UNEVEN * counts[fewest]:
        times = f"{counts[most] / counts[fewest]:.1f} times as many photos"
        yield f"Worth a look: {most} has {times} as {fewest}, so accuracy says little of {fewest}"
    else:
        span = f"{counts[fewest]} to {counts[most]}" if counts[fewest] < counts[most] else str(counts[most])
        yield f"The classes are even: {span} photos each"


def _most(finding: Finding) -> int:
    return len(finding.groups) if finding.is_wrong else _MOST_NOTES


def _classes(photos: Photos, looks: Sequence[Looked]) -> Table:
    parts = [part for part in ("train", "val", "test") if part in photos.parts]
    members = [[i for i, its in enumerate(photos.labels) if its == label] for label in range(len(photos.classes))]
    rows = []
    for name, its in [*zip(photos.classes, members, strict=True), ("all", range(len(photos)))]:
        by_part = Counter(photos.parts[i] for i in its)
        seen = [look for i in its if isinstance(look := looks[i], Look)]
        by_size = sorted(seen, key=lambda look: look.width * look.height)
        sizes = [size(by_size[at]) for at in (0, len(seen) // 2, -1)] if seen else [_NONE] * 3
        formats = ", ".join(f"{kind} {count:,}" for kind, count in Counter(look.format for look in seen).most_common())
        rows.append([name, f"{len(its):,}", *(f"{by_part[part]:,}" for part in parts), *sizes, formats or _NONE])
    return Table(["Class", "Photos", *parts, "Smallest", "Median", "Largest", "Formats"], rows)


def _pictures(photos: Photos, findings: Sequence[Finding]) -> dict[int, bytes]:
    """A small JPEG of the photos that the page names, of so many at most; of one that cannot be read there is none."""
    named = (index for finding in findings for group in finding.groups[: _most(finding)] for index in group)
    wanted = list(dict.fromkeys(named))[:_MOST_PICTURES]
    with ThreadPoolExecutor(launchers.cores()) as pool:
        return dict(
            zip(wanted, pool.map(lambda index: _picture(photos.root / photos.paths[index]), wanted), strict=True)
        )


def _picture(file: Path) -> bytes:
    written = io.BytesIO()
    try:
        image = images.read_rgb(file)
        image.thumbnail((_SIDE, _SIDE))
        image.save(written, format="JPEG", quality=80)
    except Exception:  # Pillow's plugins raise anything on a broken file
        return b""
    return written.getvalue()


def _methods() -> list[str]:
    return [
        "Identical photos have the same bytes, by the SHA-256 of their files.",
        f"Nearly identical photos: a perceptual hash of {near.BITS} bits from the low frequencies of the greys (the "
        "pHash of Zauner 2010, as the library `imagehash` has it); `--near` sets how many bits may differ.",
        "Unusual sizes and shapes: modified z-scores beyond 3.5 (Iglewicz and Hoaglin 1993) of the logarithms of the "
        "area and of the ratio of the longer to the shorter side.",
        "Grey and almost uniform photos: scaled to 64 by 64 pixels, the channels of 99 % of them are within 8 of 255, "
        "or the standard deviation of their colours, the contrast, is 8 or less.",
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
