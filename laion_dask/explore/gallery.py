"""A page of images with their captions: local files only, blurred unless known to be safe."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from laion_dask.backend import to_pandas
from laion_dask.errors import ColumnError, ImageError, did_you_mean
from laion_dask.explore.page import text
from laion_dask.io.images import Images
from laion_dask.models.pictures import decode

#: Longest side of a picture on the page, in pixels.
SIDE = 144
#: Longest caption on the page, in characters.
CAPTION = 120
#: A picture is shown clear only when its score is known and below this (LAION's own threshold).
UNSAFE = 0.5

_STYLE = """
.ld-gallery{display:flex;flex-wrap:wrap;gap:12px;font:13px/1.35 system-ui,sans-serif}
.ld-gallery figure{width:160px;margin:0;padding:8px;border:1px solid #d8dde3;border-radius:8px;
background:#fff;color:#1f2933}
.ld-gallery .ld-pic{width:144px;height:144px;display:flex;align-items:center;
justify-content:center;background:#f1f4f7;border-radius:4px;color:#66727f;text-align:center}
.ld-gallery img{max-width:144px;max-height:144px;border-radius:4px}
.ld-gallery figcaption{margin-top:6px;overflow-wrap:anywhere}
.ld-gallery .ld-facts{color:#52606d;font-variant-numeric:tabular-nums}
"""


@dataclass(frozen=True)
class Gallery:
    """Pictures and captions as one piece of HTML that refers to nothing outside itself."""

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"Gallery({self.html.count('<figure>')} images)"


def gallery(
    rows: pd.DataFrame,
    images: Images,
    *,
    n: int = 24,
    facts: Sequence[str] = (),
    safety: str = "punsafe",
    reveal: bool = False,
) -> Gallery:
    """The first rows of a computed frame as pictures. Eager.

    Nothing is fetched: pictures come from local archives or folders. A picture whose safety score
    is missing, unknown or at least 0.5 is blurred before it enters the page, so that the page does
    not hold it. Captions stay text, whatever they say.

    Parameters
    ----------
    rows : pandas.DataFrame, or cuDF's
        With ``key`` or ``image_path``; ``text`` becomes the caption.
    images : Images
        From `open_images`.
    n : int
        How many, from the top.
    facts : sequence of str
        Columns that are printed under each picture.
    safety : str
        The column that says how likely a picture is unsafe.
    reveal : bool
        True shows every picture as it is. Asked for anew in every call.

    Raises
    ------
    ColumnError
        When there is neither ``key`` nor ``image_path``, or a fact is no column.
    """
    rows = to_pandas(rows.head(n))
    name = next((c for c in ("image_path", "key") if c in rows.columns), None)
    wanted = [*facts, *([] if name else ["key"])]
    missing = next((f for f in wanted if f not in rows.columns), None)
    if missing is not None:
        raise ColumnError(
            f"The gallery asks for a column {missing!r}.{did_you_mean(missing, rows.columns)}"
        )
    figures = [
        _figure(row, data, facts, reveal or _is_safe(row.get(safety)))
        for (_, row), data in zip(rows.iterrows(), images.read(rows[name].astype(str)), strict=True)
    ]
    return Gallery(f"<style>{_STYLE}</style><div class='ld-gallery'>{''.join(figures)}</div>")


def _is_safe(score) -> bool:
    return score is not None and bool(pd.notna(score)) and float(score) < UNSAFE


def _figure(row: pd.Series, data: bytes | None, facts: Sequence[str], clear: bool) -> str:
    shown = "".join(f"<div class='ld-facts'>{_fact(f, row[f])}</div>" for f in facts)
    caption = text(row.get("text"), CAPTION)
    return (
        f"<figure><div class='ld-pic'>{_picture(data, clear)}</div>"
        f"<figcaption><bdi dir='auto'>{caption}</bdi>{shown}</figcaption></figure>"
    )


def _fact(name: str, value) -> str:
    if isinstance(value, float):
        value = f"{value:.3f}"
    return f"{html.escape(name)} {text(value, 40)}"


def _picture(data: bytes | None, clear: bool) -> str:
    if data is None:
        return "no image"
    try:
        picture = decode(data)
    except ImageError:
        return "not readable"
    picture.thumbnail((SIDE, SIDE))
    if not clear:
        small = picture.resize((max(1, picture.width // 24), max(1, picture.height // 24)))
        picture = small.resize(picture.size)
    sink = io.BytesIO()
    picture.save(sink, "JPEG", quality=85)
    title = "" if clear else " title='blurred: not known to be safe'"
    encoded = base64.b64encode(sink.getvalue()).decode()
    return f"<img alt=''{title} src='data:image/jpeg;base64,{encoded}'>"
