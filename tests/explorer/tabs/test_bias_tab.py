"""The tab Bias without a browser: the selection against the rest."""

from __future__ import annotations

import pyarrow as pa
from support.explorations import exploration_of, finish, select_similar, state_of

from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.tabs.bias import BiasView
from laion_dask.explorer.tabs.compare import CompareView


def test_bias_compares_the_selection_with_the_rest(exploration, jobs):
    view = BiasView(exploration, jobs)
    assert "Every row is selected" in state_of(view)["sentence"]
    n = select_similar(exploration)
    view.refresh()
    finish(jobs)
    state = state_of(view)
    assert f"The {n:,} selected rows" in state["sentence"]
    titles = [section["title"] for section in state["sections"]]
    assert "unsafe images" in titles and "gender terms in captions" in titles
    data = exploration.frame.compute()
    chosen = data[data["similarity"] >= 0.3]
    (unsafe,) = next(one for one in state["sections"] if one["title"] == "unsafe images")["rows"]
    known = chosen["punsafe"].notna().sum()
    assert unsafe["first"]["of"] == f"{(chosen['punsafe'] >= 0.5).sum():,} of {known:,}"
    exploration.selection.clear()
    view.refresh()
    assert state_of(view)["sections"] == []


def test_captions_are_searched_once_and_again_after_a_cancel(exploration, jobs):
    view = BiasView(exploration, jobs)
    select_similar(exploration)
    view.refresh()
    view._search.job.cancel()
    finish(jobs)
    view.refresh()
    finish(jobs)
    first, terms = view._search.job, exploration.caption_terms
    view.refresh()
    assert view._search.job is first and first.state == "done" and terms is not None
    other = CompareView(exploration, jobs)
    other.refresh()
    assert other._search.job is None and exploration.caption_terms is terms


def test_no_captions_and_no_scores(tmp_path, jobs):
    exploration = exploration_of(tmp_path, pa.table({"n": list(range(100))}))
    view = BiasView(exploration, jobs)
    exploration.selection.set("n", NumberRange("n", 10, None))
    view.refresh()
    assert state_of(view)["sections"] == [] and state_of(view)["waiting"] == ""
