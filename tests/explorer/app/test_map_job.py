"""The map of embeddings: projected and labeled in the background, then drawn."""

import numpy as np
import pytest
from support.explorations import finish
from support.shards import collection

import laion_dask as ld
from laion_dask.explorer.app import map_job
from laion_dask.explorer.app.map_job import make_map
from laion_dask.explorer.embedding_filters import Region
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.sample import draw_sample
from laion_dask.projections import fit

REST = {"kind": "labels"}
VIEW = {"kind": "view", "view": [-2, 2, -2, 2], "width": 60, "height": 40, "sequence": 1}


@pytest.fixture
def exploration(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = collection(tmp_path, (40, 0, 25), dtype="float16")
    frame = ld.read_shards(written.metadata)
    emb = ld.open_embeddings(written.img_emb, model=written.model)
    return Exploration(draw_sample(frame), emb)


def test_the_map_is_there_when_its_points_are(exploration):
    jobs = Jobs()
    view = make_map(exploration, jobs)
    view.panel._handle_msg(VIEW)  # the browser asks before there is anything to show
    assert view.panel.message == "The map is being computed."
    finish(jobs)
    expected = ld.fit_projection(exploration.embeddings)
    assert exploration.projection == expected
    assert exploration.points.shape == (65, 2) and np.isfinite(exploration.points).all()
    assert view.panel.message == "" and view.panel.picture["png"] is not None
    assert view.panel.picture["sequence"] == 1
    assert view.panel.axes[0].startswith("PCA of 65 rows, ")


def test_labels_are_computed_when_the_browser_rests_with_a_picture(exploration):
    jobs = Jobs()
    view = make_map(exploration, jobs)
    view.panel._handle_msg(VIEW)
    view.panel._handle_msg(REST)  # there is no picture yet
    finish(jobs)
    assert view.labels is None
    view.panel._handle_msg(REST)
    finish(jobs)
    labels = view.labels
    assert labels is not None
    view.panel._handle_msg(REST)
    finish(jobs)
    assert view.labels is labels


def test_a_second_map_needs_no_projection(exploration):
    jobs = Jobs()
    first = make_map(exploration, jobs)
    finish(jobs)
    again = make_map(exploration, jobs)
    assert again.panel.message == "" and first.panel.extent == again.panel.extent
    again.panel._handle_msg(REST)
    finish(jobs)
    assert again.labels is not None
    jobs.close()


def landmarks(vectors, seed):
    """Stands in for UMAP: the first two dimensions."""
    codes = np.clip(vectors * 40, -127, 127).astype(np.int8)
    return {"landmarks": codes, "places": vectors[:, :2].astype(np.float64)}


def test_another_projection_is_computed_and_a_region_keeps_its_rows(exploration, monkeypatch):
    monkeypatch.setattr(fit, "umap_landmarks", landmarks)
    monkeypatch.setattr(map_job, "is_installed", lambda module: True)
    monkeypatch.setattr(fit, "require_extra", lambda *given: None)
    jobs = Jobs()
    view = make_map(exploration, jobs)
    assert view.panel.projection_options == []
    finish(jobs)
    assert [name for name, _ in view.panel.projection_options] == ["pca", "umap"]
    first, selection = exploration.projection, exploration.selection
    corners = ((-1.0, -1.0), (0.1, -1.0), (0.1, 1.0), (-1.0, 1.0))
    selection.set("map", Region(corners, first, exploration.points))
    view.refresh()
    rows, outline = selection.positions(), view.panel.outline
    view.panel._handle_msg({"kind": "projection", "value": "tsne"})
    view.panel._handle_msg({"kind": "projection", "value": "umap"})
    assert view.panel.projection == "umap"
    finish(jobs)
    assert exploration.projection.method == "umap"
    view.panel._handle_msg(REST)
    finish(jobs)
    assert view.labels is not None
    assert view.panel.axes[0].startswith("UMAP of 65 rows")
    assert view.panel.outline == [[], []] and outline != [[], []]  # it is of the other map
    assert selection.positions().tolist() == rows.tolist()
    view.panel._handle_msg({"kind": "projection", "value": "pca"})
    finish(jobs)
    assert exploration.projection == first and view.panel.outline == outline


def test_a_projection_that_is_canceled_or_fails_leaves_the_map(exploration, monkeypatch):
    monkeypatch.setattr(map_job, "is_installed", lambda module: True)
    jobs = Jobs()
    view = make_map(exploration, jobs)
    finish(jobs)
    points = exploration.points

    def fail(embeddings, method):
        raise ValueError("no memory")

    monkeypatch.setattr(map_job, "stored_projection", fail)
    view.panel._handle_msg({"kind": "projection", "value": "umap"})
    with pytest.raises(ValueError):
        jobs.current.wait(60)
    assert view.panel.projection == "pca" and view.panel.message == ""
    monkeypatch.setattr(map_job, "stored_projection", lambda *given: jobs.cancel())
    monkeypatch.setattr(map_job, "sample_points", lambda *given: None)
    view.panel._handle_msg({"kind": "projection", "value": "umap"})
    jobs.current.wait(60)
    assert view.panel.projection == "pca" and exploration.points is points


def test_a_projection_that_fails_says_why(exploration, monkeypatch):
    def fail(embeddings, method):
        raise ValueError("<b>no</b>\n memory")

    monkeypatch.setattr(map_job, "stored_projection", fail)
    jobs = Jobs()
    view = make_map(exploration, jobs)
    with pytest.raises(ValueError):
        jobs.current.wait(60)
    assert view.panel.message == "There is no map: ValueError: <b>no</b> memory"


def test_a_canceled_projection_says_so(exploration, monkeypatch):
    jobs = Jobs(wake=lambda callback: callback())
    monkeypatch.setattr(map_job, "stored_projection", lambda *given: jobs.cancel())
    monkeypatch.setattr(map_job, "sample_points", lambda *given: None)
    view = make_map(exploration, jobs)
    jobs.current.wait(60)
    assert "canceled" in view.panel.message


def test_without_embeddings_there_is_no_map(exploration):
    exploration.embeddings = None
    assert make_map(exploration, Jobs()) is None
