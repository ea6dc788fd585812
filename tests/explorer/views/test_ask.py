"""Questions select the rows that the verbs `similarity` and `where` select."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image
from support.explorations import state_of
from support.shards import collection, cosine, npy

import laion_dask as ld
from laion_dask.explorer.as_code import selected_frame
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.questions import N_BINS, ScoreBins
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views import ask as module
from laion_dask.explorer.views.ask import KEY, AskView, make_ask
from laion_dask.explorer.views.row_pages import RowPages


@pytest.fixture
def data(tmp_path):
    written = collection(tmp_path, (40, 0, 25), dtype="float16")
    written.images[0][3] = 0
    npy(f"{written.img_emb}/img_emb_0.npy", written.images[0])
    frame = ld.read_shards(written.metadata)
    emb = ld.open_embeddings(written.img_emb, model=ld.EmbeddingSpace("own"), like=frame)
    return written, Exploration(draw_sample(frame), emb)


def asked(view: AskView) -> None:
    view.job.wait(60)
    view.refresh()


def test_more_like_a_row_is_the_verb_of_all_rows(data):
    written, exploration = data
    view = AskView(exploration, Jobs(wake=None))
    assert state_of(view)["why"].startswith("No model of own is known here.")
    view.ask_row(5)
    assert state_of(view)["busy"]
    view._receive({"kind": "k", "k": 10})
    asked(view)
    vectors = np.concatenate(written.images)
    expected = [cosine(row, vectors[5]) for row in vectors]
    best = sorted((-score, at) for at, score in enumerate(expected) if not np.isnan(score))[:10]
    positions = exploration.selection.positions()
    assert set(positions.tolist()) == {at for _, at in best}
    state = state_of(view)
    assert state["is_active"] and not state["busy"] and state["k"] == 10
    assert state["at_least"] == pytest.approx(-best[-1][0], abs=1e-6)
    assert state["about"] == "like “山の写真”"  # its caption
    assert state["rows"] == "10 rows of 64"
    found = selected_frame(exploration).compute()
    assert set(zip(found["shard"], found["row"], strict=True)) == {
        (int(exploration.sample.shard[at]), int(exploration.sample.row[at])) for at in positions
    }


def test_pages_show_the_most_similar_rows_first(data):
    _, exploration = data
    view, pages = AskView(exploration, Jobs(wake=None)), RowPages(exploration.selection, 100)
    pages.shows_hidden, pages.order_by = True, "width"
    view.ask_row(5)
    asked(view)
    exploration.selection.set("width", NumberRange("width", 300, None))
    pages.refresh()
    scores = exploration.selection.get(KEY).scores
    selected = exploration.selection.positions().tolist()
    expected = sorted(selected, key=lambda at: (-scores[at], at))
    assert pages.positions().tolist() == expected and pages.n == len(expected) > 5
    assert pages.bar("blurred")["default_order"] == "by the question"
    assert pages.ranking is exploration.selection.get(KEY)
    pages.receive({"kind": "sort", "by": "width"})
    assert pages.ranking is None  # sorted by the column
    pages.receive({"kind": "sort", "by": None})
    exploration.selection.set(KEY, None)
    pages.refresh()
    assert pages.bar("blurred")["default_order"] == "as stored"
    assert pages.positions().tolist() == exploration.selection.positions().tolist()


def test_the_histogram_ignores_its_own_filter(data):
    _, exploration = data
    view = AskView(exploration, Jobs(wake=None))
    view.ask_row(0)
    asked(view)
    exploration.selection.set("width", NumberRange("width", 900, None))
    view.refresh()
    state = state_of(view)["histogram"]
    scores = exploration.selection.get(KEY).scores
    wide = NumberRange("width", 900, None).passes(exploration.sample)
    for counts, rows in ((state["all"], scores), (state["chosen"], scores[wide])):
        known = rows[~np.isnan(rows)]
        assert len(counts) == N_BINS and sum(counts) == len(known)
        ends = np.linspace(state["low"], state["high"], N_BINS + 1)
        assert np.abs(np.cumsum(counts) - np.cumsum(np.histogram(known, ends)[0])).max() <= 1
    assert ScoreBins(np.full(3, 0.5, np.float32)).counts() == [3] + [0] * (N_BINS - 1)


def test_a_threshold_undo_and_redo(data):
    _, exploration = data
    selection, view = exploration.selection, AskView(exploration, Jobs(wake=None))
    view._receive({"kind": "at_least", "at_least": 0.25})  # before any question
    assert state_of(view)["by"] == "at_least" and not selection.filters
    view.ask_row(1)
    asked(view)
    first = selection.get(KEY)
    assert first.at_least == 0.25 and selection.n == (first.scores >= np.float32(0.25)).sum()
    view._receive({"kind": "k", "k": 3})
    view.refresh()
    assert selection.n == 3 and state_of(view)["by"] == "k"
    selection.undo()
    view.refresh()
    assert state_of(view)["by"] == "at_least" and state_of(view)["at_least"] == 0.25
    view._receive({"kind": "clear"})
    view.refresh()
    assert not selection.filters and state_of(view)["histogram"] is None
    selection.undo()
    other = AskView(exploration, Jobs(wake=None))
    assert state_of(other)["about"] == "like “a bird”"


def test_the_fields_show_the_rule_of_the_filter_and_a_threshold_is_not_inherited(data):
    _, exploration = data
    selection, view = exploration.selection, AskView(exploration, Jobs(wake=None))

    def rule(act) -> tuple:
        act()
        view.refresh()
        state = state_of(view)
        return state["by"], state["k" if state["by"] == "k" else "at_least"], selection.n

    view._receive({"kind": "k", "k": 7})
    view.ask_row(1)
    asked(view)
    assert rule(lambda: None) == ("k", 7, 7)
    above = int((selection.get(KEY).scores >= np.float32(0.1)).sum())
    dragged = {"kind": "at_least", "at_least": 0.1}
    assert rule(lambda: view._receive(dragged)) == ("at_least", 0.1, above)
    view.ask_row(2)
    asked(view)
    assert rule(lambda: None) == ("k", 7, 7) and selection.get(KEY).row == (0, 2)
    assert rule(selection.undo) == ("at_least", 0.1, above) and selection.get(KEY).row == (0, 1)
    assert rule(selection.undo) == ("k", 7, 7) and selection.get(KEY).row == (0, 1)
    assert rule(selection.redo) == ("at_least", 0.1, above)
    assert rule(selection.clear) == ("k", 7, exploration.sample.n)
    view.ask_row(1)
    asked(view)
    assert rule(lambda: None) == ("k", 7, 7)


@pytest.mark.parametrize(
    "message",
    [
        {"kind": "k", "k": "3"},
        {"kind": "k", "k": True},
        {"kind": "at_least", "at_least": float("nan")},
        {"kind": "text", "text": ["a"]},
        {"kind": "text", "text": "without a model"},
        {"kind": "image", "data": "%%%", "name": "x"},
        {"kind": "image", "data": "A" * 9_000_000, "name": "x"},
        {"kind": "nothing"},
        {},
    ],
)
def test_messages_that_mean_nothing_change_nothing(data, message):
    view = AskView(data[1], Jobs(wake=None))
    before = view.panel.state
    view._receive(message)
    view.ask_row(-1)
    view.ask_row(10**6)
    assert view.panel.state == before and view.job is None


def test_rows_without_an_embedding_are_an_error_of_the_job(data):
    _, exploration = data
    view = AskView(exploration, Jobs(wake=None))
    view.ask_row(3)
    with pytest.raises(ld.LaionDaskError, match="Row 3 of shard 0 has no embedding"):
        view.job.wait(60)
    assert not state_of(view)["busy"] and not exploration.selection.filters


def test_without_embeddings_a_line_says_what_is_missing_and_how_to_pass_them(data, monkeypatch):
    exploration = Exploration(data[1].sample)
    monkeypatch.setattr(module, "variables", lambda: {"mine": exploration.frame})
    panel = make_ask(exploration, Jobs(wake=None)).panel
    assert "no map" in panel.why and "ld.embed" in panel.why
    opening = 'ld.open_embeddings("img_emb/", model="ViT-L-14:openai", like=mine)'
    assert panel.code == f"mine.laion.explore({opening})"
    command = Exploration(data[1].sample, is_command=True)
    assert "--embeddings img_emb/" in make_ask(command, Jobs(wake=None)).panel.code


def picture(color) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (900, 600), color).save(file, "PNG")
    return file.getvalue()


def test_texts_and_images_are_embedded_by_the_model(demo_folder):
    frame = ld.read_shards(demo_folder / "embedded" / "metadata")
    emb = ld.open_embeddings(demo_folder / "embedded" / "img_emb", model="demo", like=frame)
    exploration = Exploration(draw_sample(frame, 500), emb)
    view = AskView(exploration, Jobs(wake=None))
    assert state_of(view)["why"] == ""
    view._receive({"kind": "text", "text": "  a red <b>star</b> "})
    asked(view)
    own = exploration.selection.get(KEY)
    star = ld.ClipModel("demo").text("a red <b>star</b>")
    scored = frame.laion.similarity(emb, star, to="star").compute()
    keys = scored.set_index(["shard", "row"])["star"]
    rows = zip(exploration.sample.shard.tolist(), exploration.sample.row.tolist(), strict=True)
    assert own.scores.tobytes() == keys.loc[list(rows)].to_numpy().tobytes()
    assert state_of(view)["about"] == "like “a red <b>star</b>”"
    red = base64.b64encode(picture("red")).decode()
    view._receive({"kind": "image", "data": red, "name": "red.png"})
    asked(view)
    exact = ld.ClipModel("demo").image(picture("red"))
    vector = np.array(exploration.selection.get(KEY).vector)
    assert cosine(vector, exact) > 0.99 and state_of(view)["about"] == "like the image red.png"
    view._receive({"kind": "image", "data": base64.b64encode(b"GIF89a?").decode(), "name": "x"})
    with pytest.raises(ld.LaionDaskError, match="image"):
        view.job.wait(60)
    assert state_of(view)["about"] == "like the image red.png"


def test_a_second_question_cancels_the_first(data):
    _, exploration = data
    view = AskView(exploration, Jobs(wake=None))
    view.ask_row(1)
    first = view.job
    view.ask_row(2)
    view.job.wait(60)
    first.wait(60)
    assert exploration.selection.get(KEY).row == (0, 2)


def test_weights_that_are_not_here_disable_texts(data):
    _, exploration = data
    model = ld.ClipModel("ViT-B-32", "openai")
    files = exploration.embeddings.files
    view = AskView(Exploration(exploration.sample, ld.Embeddings(files, model)), Jobs(wake=None))
    view.ask_text("a bird")
    with pytest.raises(ld.LaionDaskError, match="not on this machine"):
        view.job.wait(60)
    assert "not on this machine" in state_of(view)["why"]
