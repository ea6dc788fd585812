"""Every view and tab takes the same column for the captions, whatever its name."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of

from laion_dask.explorer.captions import caption_column
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.region_labels import RegionLabels
from laion_dask.explorer.tabs.bias import BiasView
from laion_dask.explorer.views.map_hover import card
from laion_dask.explorer.views.table import TableView
from laion_dask.explorer.views.tiles import describe, tile_columns

N = 80
WOMEN = [f"a woman and a bird {n}" for n in range(N)]
OTHERS = [f"nothing of the kind {n}" for n in range(N)]


def exploration_with(folder, **columns):
    numbers = {"punsafe": np.full(N, 0.1), "n": np.arange(N)}
    return exploration_of(folder, pa.table({**columns, **numbers}))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"text": WOMEN}, "text"),
        ({"caption": WOMEN}, "caption"),
        ({"TEXT": WOMEN}, "text"),  # read_shards renames it
        ({"caption": OTHERS, "text": WOMEN}, "text"),
        ({"caption": WOMEN, "title": OTHERS}, "caption"),
    ],
)
def test_all_views_show_the_same_captions(tmp_path, columns, expected):
    exploration = exploration_with(tmp_path, **columns)
    sample = exploration.sample
    assert caption_column(sample) == expected
    assert card(sample, 3, None, reveal=False)["title"] == WOMEN[3]
    page = sample.page(np.arange(N), tile_columns(sample, "punsafe", False))
    tiles = describe(page, sample, "punsafe", with_images=False)
    assert [tile["caption"] for tile in tiles] == WOMEN
    table = TableView(exploration)
    assert expected in table._chosen and "title" not in table._chosen
    labels = RegionLabels.of_sample(sample, np.zeros((N, 2), np.float32), caption_column(sample))
    assert {word for _, _, word in labels(-1, 1, -1, 1)} <= {"woman", "bird"}
    assert labels(-1, 1, -1, 1)


def test_terms_are_searched_in_them(tmp_path):
    exploration, jobs = exploration_with(tmp_path, caption=WOMEN), Jobs()
    view = BiasView(exploration, jobs)
    exploration.selection.set("n", NumberRange("n", 40, None))
    view.refresh()
    while jobs.current is not None and not jobs.current.has_ended:
        jobs.current.wait(60)
    jobs.deliver()
    gender = next(
        section
        for section in state_of(view)["sections"]
        if section["title"] == "gender terms in captions"
    )
    counts = {row["label"]: row["first"]["of"] for row in gender["rows"]}
    assert "40 of 40" in counts.values()
    jobs.close()


@pytest.mark.parametrize("columns", [{}, {"caption": np.arange(N)}, {"alt": WOMEN}])
def test_no_captions(tmp_path, columns):
    exploration = exploration_with(tmp_path, **columns)
    sample = exploration.sample
    assert caption_column(sample) == ""
    assert card(sample, 3, None, reveal=False)["title"] == "shard 0, row 3"
    page = sample.page(np.arange(N), tile_columns(sample, "punsafe", False))
    tiles = describe(page, sample, "punsafe", with_images=False)
    assert {tile["caption"] for tile in tiles} == {None}
