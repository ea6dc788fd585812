"""UMAP's landmarks: rows are placed as by a loop, in blocks of any size."""

from __future__ import annotations

import importlib.machinery
import pickle
import sys
import types

import numpy as np
import pytest
from support.shards import npy

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, MissingExtraError, ProjectionError
from laion_dask.numerics.int8_codes import encode
from laion_dask.projections import landmarks
from laion_dask.projections.landmarks import Landmarks, umap_landmarks
from laion_dask.projections.tensor_file import write_tensors


def clusters(n: int, dim: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(4, dim))
    number = draw.integers(0, 4, n)
    return (centers[number] + draw.normal(size=(n, dim)) * 0.1).astype(np.float32), number


def by_loop(codes, places, row) -> list[float]:
    products = [
        (-int(np.dot(code.astype(int), row.astype(int))), at) for at, code in enumerate(codes)
    ]
    nearest = [(-product, at) for product, at in sorted(products)[:9]]
    least, largest = nearest[-1][0], nearest[0][0]
    weights = [
        1.0 if len(nearest) < 9 or largest == least else ((p - least) / (largest - least)) ** 2
        for p, _ in nearest[:8]
    ]
    x, y = (
        sum(w * places[at][i] for w, (_, at) in zip(weights, nearest, strict=False)) for i in (0, 1)
    )
    return [x / sum(weights), y / sum(weights)]


@pytest.mark.parametrize("m", [1, 5, 9, 60])
def test_rows_are_placed_as_by_a_loop_in_any_block(m, monkeypatch):
    monkeypatch.setattr(landmarks, "_TILE", 7)
    rows, _ = clusters(50, seed=1)
    given = np.concatenate([clusters(m)[0][: m - m // 3], clusters(m)[0][: m // 3]])  # some twice
    codes = encode(landmarks.unit(given), common_step=True).codes
    places = np.random.default_rng(2).uniform(-1, 1, (m, 2))
    rows[3], rows[4, 1], rows[5, 2] = 0, np.nan, np.inf
    model = Landmarks(codes, places)
    points = model.project(rows)
    assert np.isnan(points[3:6]).all()
    row_codes = encode(rows).codes
    for at in (*range(3), *range(6, 50)):
        assert points[at] == pytest.approx(by_loop(codes, places, row_codes[at]), abs=1e-6)
    for size in (1, 3, 49):
        parts = [model.project(rows[at : at + size]) for at in range(0, 50, size)]
        assert np.concatenate(parts).tobytes() == points.tobytes()
    monkeypatch.setattr(landmarks, "_ROWS", 11)
    assert model.project(rows).tobytes() == points.tobytes()


class FirstColumns:
    """Stands in for UMAP, which takes ten seconds to compile."""

    def __init__(self, **options):
        assert options["random_state"] == 3 and options["metric"] == "cosine"

    def fit_transform(self, rows):
        return rows[:, :2] * 7 + 100


@pytest.fixture
def fake_umap(monkeypatch):
    module = types.ModuleType("umap")
    module.UMAP = FirstColumns
    module.__spec__ = importlib.machinery.ModuleSpec("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)


def test_a_projection_by_umap_is_saved_and_selects_rows(fake_umap, tmp_path):
    rows, _ = clusters(300)
    rows[7] = np.nan
    paths = [npy(tmp_path / f"{i}.npy", part) for i, part in enumerate(np.split(rows, 3))]
    emb = ld.open_embeddings(paths, model=ld.EmbeddingSpace("small"))
    projection = ld.fit_projection(emb, "umap", seed=3)
    assert projection.tensors["landmarks"].shape == (299, 12)
    assert np.abs(projection.tensors["places"]).max() == 1
    projection.save(tmp_path / "map")
    again = ld.open_projection(tmp_path / "map", projection.digest)
    points = projection.project(rows)
    for one in (again, pickle.loads(pickle.dumps(projection))):
        assert one.project(rows).tobytes() == points.tobytes()
    assert len(ld.fit_projection(emb, "umap", n=50, seed=3).tensors["places"]) in (49, 50)
    broken = {**projection.tensors, "places": projection.tensors["places"][:5]}
    write_tensors(tmp_path / "broken", projection._metadata, broken)
    with pytest.raises(ProjectionError, match=r"shape \("):
        ld.open_projection(tmp_path / "broken")


def test_too_few_rows_and_places_that_are_not_finite(fake_umap, monkeypatch):
    with pytest.raises(EmbeddingsError, match="19 rows"):
        umap_landmarks(np.concatenate([clusters(19)[0], np.zeros((5, 12), np.float32)]), 3)
    monkeypatch.setattr(FirstColumns, "fit_transform", lambda self, rows: rows[:, :2] * np.nan)
    with pytest.raises(EmbeddingsError, match="not finite"):
        umap_landmarks(clusters(30)[0], 3)


def test_without_the_extra(monkeypatch, tmp_path):
    emb = ld.open_embeddings(
        npy(tmp_path / "a.npy", clusters(30)[0]), model=ld.EmbeddingSpace("small")
    )
    monkeypatch.setattr("laion_dask.extras.is_installed", lambda module: module != "umap")
    with pytest.raises(MissingExtraError, match=r"laion_dask\[umap\]"):
        ld.fit_projection(emb, "umap")


def test_umap_keeps_clusters_together():
    pytest.importorskip("umap")
    rows, number = clusters(80)
    tensors = umap_landmarks(rows, 0)
    others, of_others = clusters(200, seed=5)
    points = Landmarks(tensors["landmarks"], tensors["places"]).project(others)
    middles = np.array([tensors["places"][number == n].mean(axis=0) for n in range(4)])
    nearest = ((points[:, None] - middles) ** 2).sum(axis=2).argmin(axis=1)
    assert nearest.tolist() == of_others.tolist()
