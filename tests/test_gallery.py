"""The gallery fails closed and lets no hostile text or picture through."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import laion_dask as ld
from laion_dask.errors import ColumnError
from laion_dask.explore.page import text as plain


class Pictures:
    """Stands where `Images` does: a checkerboard for every key but 'none' and 'broken'."""

    def read(self, keys):
        return [{"none": None, "broken": b"GIF89a?"}.get(key, _checkerboard()) for key in keys]


def _checkerboard() -> bytes:
    pixels = (np.indices((96, 96)).sum(0) % 2 * 255).astype("uint8")
    sink = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(sink, "PNG")
    return sink.getvalue()


def _contrast(page: str) -> list[float]:
    """The deviation of the pixels of every picture on a page."""
    found = re.findall(r"data:image/jpeg;base64,([^']+)'", page)
    return [float(np.asarray(Image.open(io.BytesIO(base64.b64decode(f)))).std()) for f in found]


def _rows(**columns) -> pd.DataFrame:
    return pd.DataFrame({"key": ["a"], "text": ["a caption"], **columns})


@pytest.mark.parametrize("score", [0.5, 0.99, float("nan"), None, pd.NA])
def test_a_picture_not_known_to_be_safe_is_not_on_the_page(score):
    rows = _rows(punsafe=pd.Series([score], dtype=object))
    (contrast,) = _contrast(ld.gallery(rows, Pictures()).html)
    assert contrast < 40


def test_without_any_score_every_picture_is_blurred():
    assert _contrast(ld.gallery(_rows(), Pictures()).html)[0] < 40


def test_a_safe_picture_and_a_revealed_one_are_clear():
    assert _contrast(ld.gallery(_rows(punsafe=[0.1]), Pictures()).html)[0] > 90
    assert _contrast(ld.gallery(_rows(punsafe=[0.9]), Pictures(), reveal=True).html)[0] > 90


def test_missing_and_broken_pictures_are_said_in_words():
    rows = pd.DataFrame({"key": ["none", "broken"], "text": ["x", "y"], "punsafe": [0.0, 0.0]})
    page = ld.gallery(rows, Pictures()).html
    assert "no image" in page and "not readable" in page


@pytest.mark.parametrize(
    "caption",
    ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "'\"><svg onload=alert(1)>"],
)
def test_captions_stay_text(caption):
    rows = _rows(punsafe=[0.0], note=[caption]).assign(text=caption)
    page = ld.gallery(rows, Pictures(), facts=["note"]).html
    assert "<script" not in page and "<svg" not in page and "onerror=alert(1)>" not in page


def test_control_and_direction_characters_are_made_visible():
    assert plain("a\u202eb\x00c\x1b[31m", 50) == "a\\u202eb\\u0000c\\u001b[31m"
    assert plain("x" * 10_000_000, 5) == "xxxxx…"
    assert plain(None, 5) == plain(float("nan"), 5) == plain(pd.NA, 5) == "<i>none</i>"


def test_the_page_refers_to_nothing_outside_itself():
    page = ld.gallery(_rows(punsafe=[0.0], url=["https://a.example/x.jpg"]), Pictures()).html
    assert "http" not in page


def test_a_wrong_column_names_the_nearest():
    with pytest.raises(ColumnError, match="Did you mean 'punsafe'"):
        ld.gallery(_rows(punsafe=[0.0]), Pictures(), facts=["punsave"])
    with pytest.raises(ColumnError, match="key"):
        ld.gallery(_rows().drop(columns="key"), Pictures())
