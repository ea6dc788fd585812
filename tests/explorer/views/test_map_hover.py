"""The row under the pointer, against a search through all of them."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views.map_coloring import short_text
from laion_dask.explorer.views.map_hover import REACH, card, row_at


def test_the_nearest_selected_row_within_reach_is_found():
    rng = np.random.default_rng(0)
    points = rng.random((500, 2)).astype(np.float32)
    points[::9] = np.nan
    points[3] = points[4]  # of two equal ones the first
    mask = rng.random(500) < 0.3
    mask[[3, 4]] = True
    pixel = (0.004, 0.002)
    found = []
    for x, y in [*rng.random((50, 2)), points[4].tolist(), (5.0, 5.0)]:
        distances = np.hypot((points[:, 0] - x) / pixel[0], (points[:, 1] - y) / pixel[1])
        distances[~mask | np.isnan(distances)] = np.inf
        expected = int(distances.argmin()) if distances.min() <= REACH else None
        found.append(row_at(points, mask, x, y, pixel))
        assert found[-1] == expected
    assert found[-2:] == [3, None]
    assert any(one is None for one in found[:50]) and any(one is not None for one in found[:50])


@pytest.fixture
def sample(write):
    captions = ["a bird", "<b onload='x'>\n\n  bold</b>", None, "  ", "e" * 1000, "hidden"]
    columns = {
        "URL": [f"https://example.org/{i}.jpg" for i in range(6)],
        "TEXT": captions,
        "WIDTH": pa.array([100, 2000, 300, None, 500, 600], pa.int32()),
        "similarity": pa.array([0.31, 0.2, None, 0.25, 0.4, 0.3], pa.float32()),
        "punsafe": pa.array([0.1, 0.2, 0.0, 0.49, 0.5, None], pa.float32()),
        "LANGUAGE": ["en", "de", None, "en", "en", "fr"],
    }
    frame = ld.read_shards([write("0.parquet", pa.table(columns))])
    return draw_sample(frame)


def test_captions_are_text_on_one_line(sample):
    titles = [card(sample, i, None, reveal=True)["title"] for i in range(6)]
    assert titles[:4] == ["a bird", "<b onload='x'> bold</b>", "(no caption)", "(no caption)"]
    assert short_text("a\u202eb\x00") == "a\\u202eb\\u0000"
    assert len(titles[4]) < 300 and titles[4].endswith("e…")


def test_captions_of_unsafe_and_unscored_rows_are_hidden(sample):
    cards = [card(sample, i, None, reveal=False) for i in range(6)]
    assert [one["hidden"] for one in cards] == [False] * 4 + [True] * 2
    assert cards[4]["title"] == "Hidden: punsafe is 0.5. Click to show the caption."
    assert cards[5]["title"] == "Hidden: the row has no punsafe score. Click to show the caption."
    assert ["punsafe", "no value"] in cards[5]["lines"]


def test_a_card_has_the_values_of_the_row_and_the_color_s_column(sample):
    data = sample.page(np.arange(6))
    for i in range(6):
        lines = dict(card(sample, i, "width", reveal=True)["lines"])
        width, similarity = data["width"][i], data["similarity"][i]
        expected = "no value" if pd.isna(width) else f"{width:.0f}"
        assert lines["width"].replace(",", "") == expected
        assert lines["similarity"] == ("no value" if pd.isna(similarity) else f"{similarity:.3g}")
        assert list(lines) == ["similarity", "punsafe", "language", "domain", "width"]
    assert dict(card(sample, 1, None, reveal=True)["lines"])["domain"] == "example.org"


def test_integers_are_exact(write):
    values = [2**53 + 1, -(2**53) - 1, 2**63 - 1, 999, 1000, None]
    table = laion_table(6).append_column("n", pa.array(values, pa.int64()))
    sample = draw_sample(ld.read_shards([write("0.parquet", table)]))
    shown = [dict(card(sample, i, "n", reveal=True)["lines"])["n"] for i in range(6)]
    assert shown == [*(f"{value:,}" for value in values[:5]), "no value"]


def test_rows_without_any_score_are_hidden(write):
    table = laion_table(3, 0)
    table = table.drop_columns([name for name in table.column_names if name == "punsafe"])
    sample = draw_sample(ld.read_shards([write("0.parquet", table)]))
    assert card(sample, 0, None, reveal=False)["hidden"]
    assert not card(sample, 0, None, reveal=True)["hidden"]
