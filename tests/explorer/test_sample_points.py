"""The points of a sample are those of the verb, and are computed once."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from support.shards import collection, npy, refuse

import laion_dask as ld
from laion_dask.explorer import sample_points as module
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.sample_points import sample_points
from laion_dask.projections.polygon import Polygon


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    written = collection(tmp_path, (40, 0, 25), dtype="float16")
    written.images[2][7] = 0
    npy(f"{written.img_emb}/img_emb_2.npy", written.images[2])
    frame = ld.read_shards(written.metadata)
    return written, frame, ld.open_embeddings(written.img_emb, model=written.model)


def test_points_are_those_of_each_row(data, monkeypatch):
    written, frame, emb = data
    projection = ld.fit_projection(emb)
    expected = np.concatenate([projection.project(rows) for rows in written.images])
    for size in (1 << 16, 7):
        monkeypatch.setattr(module, "_ROWS", size)
        sample = draw_sample(frame, 100, seed=size)
        points = sample_points(sample, emb, projection)
        assert points.tobytes() == expected.tobytes() and np.isnan(points[47]).all()
    part = draw_sample(frame, 20)
    there = part.row + np.where(part.shard == 2, 40, 0)
    assert sample_points(part, emb, projection).tobytes() == expected[there].tobytes()
    lasso = [[-0.5, -0.5], [0.6, -0.5], [0.1, 0.9]]
    kept = frame.laion.in_region(emb, lasso, projection)[["shard", "row"]].compute()
    inside = Polygon.of(lasso).contains(expected)
    assert len(kept) == inside.sum() > 3


def test_points_are_computed_once(data):
    written, frame, emb = data
    sample, projection = draw_sample(frame, 100), ld.fit_projection(emb)
    first = np.array(sample_points(sample, emb, projection))
    with dask.config.set(scheduler=refuse):
        assert sample_points(sample, emb, projection).tobytes() == first.tobytes()
        texts = ld.open_embeddings(written.text_emb, model=written.model)
        with pytest.raises(AssertionError, match="computed"):
            sample_points(sample, texts, projection)
        with pytest.raises(AssertionError, match="computed"):
            sample_points(sample, emb, ld.fit_projection(emb, n=30))
    (file,) = sample.folder.glob("points-*.npy")
    whole = file.read_bytes()
    flipped = [whole[:at] + b"\xab" + whole[at + 1 :] for at in (0, 300, len(whole) - 1)]
    for content in (b"", b"x", *flipped):
        file.write_bytes(content)
        assert sample_points(sample, emb, projection).tobytes() == first.tobytes()
    np.save(file, first[:5])
    assert sample_points(sample, emb, projection).tobytes() == first.tobytes()


def test_a_sample_of_no_rows(data):
    _, frame, emb = data
    sample = draw_sample(frame.laion.where("width > 999999"), 100)
    assert sample_points(sample, emb, ld.fit_projection(emb)).shape == (0, 2)
