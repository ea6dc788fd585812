"""A page of images with their captions: local files only, blurred unless known to be safe."""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import ColumnError, ImageError, OptionError, did_you_mean
from laion_dask.io.images.decoding import decode
from laion_dask.io.images.images import Images
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.reports.environment import render

#: Longest side of a picture on the page, in pixels.
SIDE = 144
#: A picture is shown clear only when its score is known and below this (LAION's own threshold).
UNSAFE = 0.5


@dataclass(frozen=True)
class Gallery:
    """Pictures and captions as self-contained HTML."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Gallery({self.html.count('<figure>')} images)"


def gallery(
    rows: pd.DataFrame,
    images: Images | None = None,
    *,
    n: int = 24,
    facts: Sequence[str] = (),
    safety: str = "punsafe",
    reveal: bool = False,
) -> Gallery:
    """A page of the first rows of a computed frame: pictures, or cards of text. Eager.

    Nothing is fetched: pictures come from archives, Parquet files or folders. A picture whose
    safety score is missing, unknown or at least 0.5 is blurred before it enters the page, so that
    the page does not hold it; its card says why. A card without a picture has the row's ``url``.
    A picture that has a row's name, and another digest or url than the row says, is not shown
    (`Images.read_rows`). Captions and addresses stay text, whatever they say.

    Parameters
    ----------
    rows : pandas.DataFrame, or cuDF's
        With ``key`` or ``image_path`` where images are given; ``text``, ``caption`` or ``TEXT``
        becomes the caption.
    images : Images, optional
        From `open_images`. Without them each row is a card of its caption and ``url``.
    n : int
        Number of rows, from the top.
    facts : sequence of str
        Columns whose values are printed under each picture.
    safety : str
        The column that says how likely a picture is unsafe.
    reveal : bool
        True shows every picture as it is. It has to be passed in every call.

    Raises
    ------
    ColumnError
        When images are given and there is neither ``key`` nor ``image_path``, or a fact is no
        column.
    OptionError
        When ``images`` is a path.
    ImageError
        When a key or path stands for several images.
    """
    if isinstance(images, (str, os.PathLike)):
        raise OptionError(
            f"images is {os.fspath(images)!r}. Expected what ld.open_images({os.fspath(images)!r}) "
            "returns."
        )
    rows = to_pandas(rows.head(n))
    missing = next((fact for fact in facts if fact not in rows.columns), None)
    if missing is not None:
        raise ColumnError(
            f"facts names a column {missing!r} that the rows do not have."
            f"{did_you_mean(missing, rows.columns)}"
        )
    pictures = [None] * len(rows) if images is None else images.read_rows(rows)
    figures = [
        _figure(row, image, facts, None if reveal else _doubt(row, safety))
        for (_, row), image in zip(rows.iterrows(), pictures, strict=True)
    ]
    notes = _notes(rows, images, pictures, None if reveal else safety) if len(rows) else []
    return Gallery(str(render("gallery", notes=notes, figures=figures)))


def _notes(rows: pd.DataFrame, images, pictures: list, safety: str | None) -> list[str]:
    """What is missing on the whole page, and how to get it."""
    if images is None:
        return [
            "No pictures were given. If you have them: ld.gallery(rows, "
            "ld.open_images('folder')). If not, download the urls of these rows with img2dataset "
            "and open its output."
        ]
    shown = sum(image.data is not None for image in pictures)
    notes = _match_notes(Counter(image.match for image in pictures), len(rows), images)
    if not shown and not notes:
        notes.append(
            f"None of these rows has an image in {images!r}. Open the source that they come from."
        )
    if shown and safety is not None and safety not in rows.columns:
        notes.append(
            f"Every picture is blurred, since the rows have no column {safety!r}. Score them with "
            "the head ld.heads.nsfw, name another column with safety=, or show all with "
            "reveal=True."
        )
    return notes


def _match_notes(matches: Counter, n_rows: int, images: Images) -> list[str]:
    """Which pictures belong, or may belong, to other rows."""
    notes = []
    if n := matches[Match.OTHER]:
        notes.append(
            f"For {n} of these {n_rows} rows, the image of that name in {images!r} has another "
            "digest or url: it belongs to another row or has changed since, and is not shown. Open "
            "every source that the rows come from: ld.open_images([…, …])."
        )
    if n := matches[Match.SHARED]:
        notes.append(
            f"{n} of these {n_rows} rows share the name of an image with a row of another shard, "
            "and neither a digest nor a url tells whose it is, so it is not shown. Read the column "
            "image_sha256 or url too, or show the rows of one source at a time."
        )
    if n := matches[Match.NAME]:
        notes.append(
            f"For {n} of these {n_rows} rows, the picture was found by its name alone, since there "
            "is neither a digest (image_sha256, which ld.embed writes) nor a url to compare. Make "
            f"sure that the rows are of {images!r}: other sources may have images of the same name."
        )
    return notes


def _doubt(row: pd.Series, safety: str) -> str | None:
    """Why a row is not known to be safe, or None."""
    if safety not in row.index:
        return f"no column {safety}"
    score = row[safety]
    if pd.isna(score):
        return f"{safety} is missing"
    try:
        score = float(score)
    except (TypeError, ValueError):
        return f"{safety} is not a number"
    return None if score < UNSAFE else f"{safety} is {score:.3g}"


class _Figure(NamedTuple):
    """What the template shows of one row.

    ``jpeg`` is base64, and empty where there is no picture to show; then ``instead`` says why.
    """

    caption: object
    jpeg: str
    instead: str
    doubt: str | None
    facts: list[tuple[str, object]]
    has_url: bool
    url: object


def _figure(
    row: pd.Series, image: RowImage | None, facts: Sequence[str], doubt: str | None
) -> _Figure:
    jpeg, instead = ("", "") if image is None else _picture(image, doubt)
    url = row.get("url", row.get("URL"))
    return _Figure(
        caption=next((row[c] for c in ("text", "caption", "TEXT") if c in row.index), None),
        jpeg=jpeg,
        instead=instead,
        doubt=doubt,
        facts=[(fact, _fact(row[fact])) for fact in facts],
        has_url=url is not None and (image is None or image.data is None),
        url=url,
    )


def _fact(value: object) -> object:
    is_finite = isinstance(value, (float, np.floating)) and np.isfinite(value)
    return f"{value:.3f}" if is_finite else value


def _picture(image: RowImage, doubt: str | None) -> tuple[str, str]:
    """A picture as JPEG in base64, blurred where its row is in doubt; or why there is none."""
    if image.data is None:
        return "", image.match.value
    try:
        picture = decode(image.data)
    except ImageError:
        return "", "not readable"
    picture.thumbnail((SIDE, SIDE))
    if doubt is not None:
        small = picture.resize((max(1, picture.width // 24), max(1, picture.height // 24)))
        picture = small.resize(picture.size)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=85)
    return base64.b64encode(sink.getvalue()).decode(), ""
