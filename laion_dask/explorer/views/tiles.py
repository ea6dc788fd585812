"""The tiles of the gallery: facts about a row, and its picture."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd

from laion_dask.errors import ColumnError, LaionDaskError
from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.columns import CategoryColumn
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.views.cell_text import cell_text
from laion_dask.io.images.images import NAMES, Images
from laion_dask.io.images.row_match import RowImage, withhold_shared
from laion_dask.io.images.samples import URL_FIELDS
from laion_dask.io.images.thumbnails import doubt, shared_thumbnails

#: Characters of a caption on a tile.
CAPTION = 300
#: Maximum bytes of pictures per message, before base64 adds a third.
MESSAGE = 180_000


def tile_columns(sample: Sample, safety: str, with_images: bool) -> list[str]:
    """The columns that tiles need."""
    wanted = [caption_column(sample), safety, "similarity", "language", "width", "height"]
    if with_images:
        wanted += [*NAMES, *URL_FIELDS, "image_sha256", "shard"]
    return [name for name in dict.fromkeys(wanted) if name in sample.names]


def describe(
    page: pd.DataFrame,
    sample: Sample,
    safety: str,
    *,
    with_images: bool,
    question: Score | None = None,
) -> list[dict[str, Any]]:
    """Caption, facts and the reason to blur of each row, as text.

    With a question, the first fact is the similarity to it; ``similarity`` is that of the data, of
    an image to its own caption.
    """
    caption = caption_column(sample)
    domains = None if with_images else sample.columns.get("domain")
    tiles = []
    for position, row in zip(page.index.tolist(), page.to_dict("records"), strict=True):
        text = row.get(caption) if caption else None
        reason = doubt(row.get(safety))
        facts = list(_facts(row, safety))
        if isinstance(domains, CategoryColumn) and (code := int(domains.codes[position])) >= 0:
            facts.insert(0, ["", cell_text(domains.labels[code], 60)])
        if question is not None:
            facts.insert(0, ["to the question", f"{question.scores[position]:.3f}"])
        tiles.append(
            {
                "id": position,
                "caption": None if text is None or pd.isna(text) else cell_text(text, CAPTION),
                "facts": facts,
                "doubt": None if reason is None else _said(safety, row, reason),
            }
        )
    return tiles


def _said(safety: str, row: Mapping[Any, Any], reason: str) -> str:
    return f"{cell_text(safety, 30)} {reason}" if safety in row else "unscored"


def _facts(row: Mapping[Any, Any], safety: str) -> Iterator[list[str]]:
    for name in ("similarity", safety):
        if name in row and not pd.isna(row[name]):
            value = row[name]
            yield [
                cell_text(name, 20),
                f"{value:.3f}" if isinstance(value, float) else cell_text(value, 20),
            ]
    if "language" in row and not pd.isna(row["language"]):
        yield ["", cell_text(row["language"], 20)]
    sides = [row[name] for name in ("width", "height") if name in row and not pd.isna(row[name])]
    if len(sides) == 2:
        yield ["", " x ".join(cell_text(side, 12) for side in sides)]


def read_images(images: Images, page: pd.DataFrame) -> list[RowImage | LaionDaskError]:
    """The image of each row of a page, or the error if it cannot be identified or read."""
    try:
        return list(images.read_rows(page))
    except ColumnError:
        raise  # of all rows
    except LaionDaskError:
        found = [_read_one(images, page.iloc[[at]]) for at in range(len(page))]
    read = [at for at, image in enumerate(found) if isinstance(image, RowImage)]
    told_apart = withhold_shared(page.iloc[read], [cast(RowImage, found[at]) for at in read])
    for at, image in zip(read, told_apart, strict=True):
        found[at] = image
    return found


def _read_one(images: Images, row: pd.DataFrame) -> RowImage | LaionDaskError:
    try:
        return images.find_rows(row)[0]
    except LaionDaskError as error:
        return error


def picture(position: int, image: RowImage | LaionDaskError, *, blurred: bool) -> dict[str, Any]:
    """The picture of a tile, or the reason why it has none."""
    if isinstance(image, LaionDaskError):
        return {"id": position, "reason": cell_text(image, 160)}
    if image.data is None:
        return {"id": position, "reason": image.match.value}
    thumbnail = shared_thumbnails().make(image.data, blurred=blurred)
    if thumbnail.reason:
        return {"id": position, "reason": cell_text(f"not readable: {thumbnail.reason}", 160)}
    jpeg = base64.b64encode(thumbnail.jpeg).decode()
    return {"id": position, "jpeg": jpeg, "blurred": blurred}


def in_messages(pictures: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Pictures in groups that are small enough for one message each."""
    group: list[dict[str, Any]] = []
    n_bytes = 0
    for one in pictures:
        size = len(one.get("jpeg", "")) + 100
        if group and n_bytes + size > MESSAGE * 4 // 3:
            yield group
            group, n_bytes = [], 0
        group.append(one)
        n_bytes += size
    if group:
        yield group


def is_on_page(positions: np.ndarray, position: object) -> bool:
    """Whether what the browser sent is the position of a row on the page."""
    return (
        isinstance(position, int)
        and not isinstance(position, bool)
        and bool((positions == position).any())
    )
