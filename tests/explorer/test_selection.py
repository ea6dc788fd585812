"""The selection against pandas, and against the verb `where` over the whole frame."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.filters import Categories, NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.selection import Selection


@pytest.fixture
def frame(write):
    return ld.read_shards([write(f"{i}.parquet", laion_table(300, i)) for i in range(2)])


@pytest.fixture
def selection(frame) -> Selection:
    return Selection(draw_sample(frame))


def test_counts_ignore_the_column_s_own_filter(frame, selection):
    language = selection.sample.columns["language"]
    similarity = selection.sample.columns["similarity"]
    selection.set("similarity", NumberRange("similarity", 0.25, 0.4))
    selection.set("language", Categories.of(language, ["en", None]))
    data = frame.compute()
    in_range = (data["similarity"] >= 0.25) & (data["similarity"] < 0.4)
    in_list = data["language"].isna() | (data["language"] == "en")
    of_language = data[in_range]["language"]
    expected = [*of_language.value_counts()[list(language.labels)], of_language.isna().sum()]
    assert selection.counts("language").tolist() == expected
    of_similarity = data[in_list]["similarity"]
    counts, _ = np.histogram(of_similarity.dropna(), similarity.edges)
    assert selection.counts("similarity").tolist() == [*counts, of_similarity.isna().sum()]
    assert selection.n == (in_range & in_list).sum()
    assert selection.positions().tolist() == np.flatnonzero(in_range & in_list).tolist()


def test_filters_are_undone_and_redone(selection):
    calls = []
    selection.subscribe(lambda changed: calls.append(changed.n))
    whole = selection.n
    selection.set("width", NumberRange("width", 100, 500))
    selection.set("width", NumberRange("width", 100, 500))  # no change
    selection.set("height", NumberRange("height", None, 500))
    states = [*calls]
    selection.undo()
    selection.undo()
    selection.undo()  # nothing
    assert calls == [*states, states[0], whole]
    assert not selection.can_undo and selection.can_redo
    selection.redo()
    selection.redo()
    assert selection.n == states[1]
    selection.set("width", None)
    assert [one.label for one in selection.filters] == ["height below 500"]


def test_a_filter_selects_the_rows_of_its_expression(frame, selection):
    selection.set("punsafe", NumberRange("punsafe", 0.1, 0.7, with_high=True))
    selection.set("tld", NumberRange("width", 256, None))
    where = " and ".join(one.where for one in selection.filters)
    expected = frame.laion.where(where).compute()
    assert selection.n == len(expected) > 0
    found = selection.sample.page(selection.positions())
    assert found["row"].tolist() == expected["row"].tolist()


def test_threads_may_change_a_selection_at_the_same_time(selection):
    """In a notebook, a cell and messages from the page do."""
    names = ("similarity", "punsafe", "width", "height")
    edges = {name: selection.sample.columns[name].edges for name in names}

    def change(at: int) -> None:
        name = names[at % len(names)]
        number = NumberRange(name, float(edges[name][at % 7]), None)
        selection.set(name, number if at % 5 else None)
        selection.counts("language")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(200)))
    fresh = Selection(selection.sample)
    for name, filter in selection.by_key.items():
        fresh.set(name, filter)
    assert selection.mask().tolist() == fresh.mask().tolist()
    assert selection.counts("language").tolist() == fresh.counts("language").tolist()
    assert selection.n == fresh.mask().sum()
