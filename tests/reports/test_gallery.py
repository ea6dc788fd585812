"""The gallery fails closed and lets no hostile text or image through."""

from __future__ import annotations

import base64
import hashlib
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from support.small_clip import write_tar

import laion_dask as ld
from laion_dask.errors import ColumnError, FetchWarning, ImageError
from laion_dask.io.images.fetch_images import FetchedImage
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.reports import gallery_fetch
from laion_dask.reports.environment import environment


class Pictures:
    """A stand-in for `Images`: a checkerboard for every key except 'none' and 'broken'."""

    def read_rows(self, rows):
        files = {"none": None, "broken": b"GIF89a?"}
        keys = rows["key"].fillna("none")
        found = [files.get(key, _checkerboard()) for key in keys]
        return [RowImage(data, Match.DIGEST if data else Match.ABSENT) for data in found]


def _checkerboard() -> bytes:
    pixels = (np.indices((96, 96)).sum(0) % 2 * 255).astype("uint8")
    sink = io.BytesIO()
    Image.fromarray(pixels).convert("RGB").save(sink, "PNG")
    return sink.getvalue()


def _contrast(page: str) -> list[float]:
    """The standard deviation of the pixels of every image on a page."""
    found = re.findall(r'data:image/jpeg;base64,([^"]+)"', page)
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
    def plain(value, most):
        return environment().from_string("{{ value|cut(most) }}").render(value=value, most=most)

    assert plain("a\u202eb\x00c\x1b[31m", 50) == "a\\u202eb\\u0000c\\u001b[31m"
    assert plain("x" * 10_000_000, 5) == "xxxxx…"
    assert plain(None, 5) == plain(float("nan"), 5) == plain(pd.NA, 5) == "<i>none</i>"


def test_the_page_refers_to_nothing_outside_itself():
    page = ld.gallery(_rows(punsafe=[0.0], url=["https://a.example/x.jpg"]), Pictures()).html
    assert "http" not in page


def test_a_wrong_column_names_the_nearest():
    with pytest.raises(ColumnError, match="Did you mean 'punsafe'"):
        ld.gallery(_rows(punsafe=[0.0]), Pictures(), facts=["punsave"])


def test_rows_without_pictures_are_cards_that_say_how_to_get_them():
    hostile = "https://a.example/<script>alert(1)</script>"
    rows = pd.DataFrame({"url": [hostile, None], "text": ["<b>a caption</b>", None]})
    page = ld.gallery(rows).html
    assert page.count("<figure>") == 2 and 'ld-pic"' not in page and "<img" not in page
    assert "&lt;b&gt;a caption&lt;/b&gt;" in page and "https://a.example/&lt;script&gt;" in page
    assert "<script" not in page and "href" not in page and "<i>none</i>" in page
    assert "img2dataset" in page and "ld.open_images" in page
    with pytest.raises(ColumnError):
        ld.gallery(rows, facts=["punsafe"])


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({}, "blurred: no column punsafe"),
        ({"punsafe": [float("nan")]}, "blurred: punsafe is missing"),
        ({"punsafe": [0.97]}, "blurred: punsafe is 0.97"),
        ({"punsafe": ["<b>UNLIKELY</b>"]}, "blurred: punsafe is not a number"),
    ],
)
def test_a_blurred_picture_says_why(columns, why):
    page = ld.gallery(_rows(**columns), Pictures()).html
    assert why in page and ("ld.heads.nsfw" in page) == (not columns)
    assert _contrast(page)[0] < 40
    assert "blurred" not in ld.gallery(_rows(**columns), Pictures(), reveal=True).html


def test_a_row_without_its_picture_has_its_address_and_no_other_picture():
    rows = pd.DataFrame({"key": ["none", None], "text": "x", "url": ["//a", "//b"], "punsafe": 0.0})
    page = ld.gallery(rows, Pictures()).html
    assert page.count("no image") == 2 and "//a" in page and "//b" in page
    assert "None of these rows has an image" in page


def test_the_unsafe_picture_of_a_twin_is_not_shown(tmp_path):
    for name, color in {"train": "red", "val": "blue"}.items():
        (tmp_path / name).mkdir()
        sink = io.BytesIO()
        Image.new("RGB", (32, 32), color).save(sink, "PNG")
        write_tar(tmp_path / name / "00000.tar", {"0.png": sink.getvalue()})
    paths = ["val/00000.tar/0.png", "train/00000.tar/0.png"]
    rows = pd.DataFrame({"image_path": paths, "text": "x", "punsafe": [0.01, 0.97]})
    images = ld.open_images(tmp_path)
    shown = re.findall(r'base64,([^"]+)"', ld.gallery(rows, images).html)
    first, second = (Image.open(io.BytesIO(base64.b64decode(each))) for each in shown)
    assert first.getpixel((16, 16))[2] > 200 > second.getpixel((16, 16))[2]
    with pytest.raises(ImageError, match="2 images"):
        ld.gallery(rows.assign(image_path="00000.tar/0.png"), images)


def test_sources_without_pictures_are_refused(tmp_path):
    rows = pd.DataFrame({"url": ["a"], "text": ["b"]})
    rows.to_parquet(tmp_path / "metadata_0.parquet")
    with pytest.raises(ImageError, match="no column of image bytes"):
        ld.open_images(tmp_path)
    write_tar(tmp_path / "a.tar", {"0.txt": b"x"})
    with pytest.raises(ImageError, match=r"first a\.tar, but none contains an image"):
        ld.open_images(tmp_path)


def test_a_fact_that_is_missing_is_no_number():
    rows = pd.DataFrame({"text": ["a"], "language": [np.nan], "score": np.array([0.25], "float32")})
    shown = ld.gallery(rows, facts=["language", "score"]).html
    assert "language <i>none</i>" in shown and "score 0.250" in shown


def _fetching(monkeypatch, **answers):
    """Replace the web by images and reasons of urls; returns the urls that were requested."""
    asked = []

    def fetch_images(urls):
        asked.extend(urls)
        return [FetchedImage(*answers[url[-1]]) for url in urls]

    monkeypatch.setattr(gallery_fetch, "fetch_images", fetch_images)
    return asked


def test_nothing_is_fetched_unless_the_call_says_so(monkeypatch):
    asked = _fetching(monkeypatch)
    ld.gallery(_rows(url="https://a.example/a", punsafe=[0.0]))
    assert asked == []


def test_only_safe_rows_without_an_image_are_fetched_with_a_warning(monkeypatch):
    asked = _fetching(monkeypatch, a=(_checkerboard(),), c=(None, "<b>no</b>"), d=(b"GIF89a?",))
    rows = pd.DataFrame(
        {
            "key": ["none"] * 6 + ["here"],
            "text": "x",
            "url": [
                *(f"https://x.example/{name}" for name in "abcd"),
                None,
                3,
                "https://x.example/e",
            ],
            "punsafe": [0.1, 0.6, 0.1, 0.1, 0.1, 0.1, 0.9],
        }
    )
    with pytest.warns(FetchWarning, match="requests 3 images from the web"):
        page = ld.gallery(rows, Pictures(), fetch=True).html
    assert asked == [f"https://x.example/{name}" for name in "acd"]
    contrasts = _contrast(page)
    assert contrasts[0] > 90 and contrasts[1] < 40 and len(contrasts) == 2
    assert "not fetched: punsafe is 0.6" in page and page.count("not fetched: no url") == 2
    assert "not fetched: &lt;b&gt;no&lt;/b&gt;" in page and "not readable" in page
    assert "2 images fetched" in page and "1 image not fetched" in page
    with pytest.warns(FetchWarning, match="1 image "):
        page = ld.gallery(rows[1:2].assign(url="//a"), fetch=True, reveal=True).html
    assert _contrast(page)[0] > 90


def test_a_fetched_image_must_have_the_digest_of_its_row(monkeypatch):
    _fetching(monkeypatch, a=(_checkerboard(),))
    digest = hashlib.sha256(_checkerboard()).hexdigest()
    for name in ("image_sha256", "sha256"):
        rows = _rows(url="//a", punsafe=0.0, **{name: digest.upper()})
        with pytest.warns(FetchWarning):
            assert len(_contrast(ld.gallery(rows, fetch=True).html)) == 1
            page = ld.gallery(rows.assign(**{name: "0" * 64}), fetch=True).html
        assert not _contrast(page) and "its url now has another image" in page
