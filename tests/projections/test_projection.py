"""Projections, compared with scikit-learn, and the same bits wherever they are computed."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from support.shards import npy

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, ModelMismatchError, OptionError, ProjectionError
from laion_dask.projections import sampled_rows
from laion_dask.projections.tensor_file import write_tensors

DIM = 24


def correlated(n: int, seed: int, dim: int = DIM) -> np.ndarray:
    """Rows with clearly different variances along their axes, off the origin, of any length."""
    draw = np.random.default_rng(seed)
    rows = draw.normal(size=(n, dim)) * 0.8 ** np.arange(dim) + 0.5
    return (rows * draw.uniform(0.5, 2, (n, 1))).astype(np.float16)


def opened(folder, arrays, order=None):
    paths = [npy(folder / f"img_emb_{i}.npy", array) for i, array in enumerate(arrays)]
    model = ld.EmbeddingSpace("small")
    if order is None:
        return ld.open_embeddings(paths, model=model)
    whole = ld.open_embeddings(paths, model=model)
    return ld.Embeddings(tuple(whole.files[i] for i in order), whole.model)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    arrays = [correlated(n, seed) for seed, n in enumerate((700, 0, 300, 1))]
    arrays[0][3] = 0
    arrays[0][4, 2] = np.nan
    arrays[2][5, 1] = np.inf
    return tmp_path_factory.mktemp("projection"), arrays


def units(arrays) -> np.ndarray:
    rows = np.concatenate(arrays).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1) & rows.any(axis=1)]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_components_and_points_are_those_of_scikit_learn(data):
    PCA = pytest.importorskip("sklearn.decomposition").PCA
    projection = ld.fit_projection(opened(*data))
    rows = units(data[1])
    expected = PCA(2, svd_solver="full").fit(rows)
    components = projection.tensors["components"]
    signs = np.sign((expected.components_ * components).sum(axis=1))
    assert np.abs(expected.components_ * signs[:, None] - components).max() < 1e-6
    # scikit-learn divides by n - 1 throughout; shares of variance are the same
    assert np.abs(expected.explained_variance_ratio_ - projection.tensors["explained"]).max() < 1e-5
    points = projection.project(rows.astype(np.float32))
    assert np.abs(expected.transform(rows) * signs - points).max() < 1e-5
    assert (components[[0, 1], np.abs(components).argmax(axis=1)] > 0).all()
    assert points.dtype == np.float32 and projection.n_rows == 1001


def test_a_point_is_that_of_a_loop_in_any_block(data):
    projection = ld.fit_projection(opened(*data))
    rows = data[1][0]
    whole = projection.project(rows)
    for size in (1, 3, 64, 511, 512, 513):
        parts = [projection.project(rows[at : at + size]) for at in range(0, len(rows), size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    assert projection.project(rows[::-1])[::-1].tobytes() == whole.tobytes()
    assert projection.project(rows.astype(np.float32)).tobytes() == whole.tobytes()
    assert np.isnan(whole[[3, 4]]).all() and not np.isnan(np.delete(whole, [3, 4], 0)).any()
    mean, components = projection.tensors["mean"], projection.tensors["components"]
    for row, point in zip(rows[:50].astype(np.float64), whole, strict=False):
        if not np.isnan(point[0]):
            expected = [float(np.dot(row / np.linalg.norm(row) - mean, c)) for c in components]
            assert point == pytest.approx(expected, abs=2e-7)


def test_the_fit_does_not_depend_on_the_order_of_files_blocks_and_threads(data, monkeypatch):
    digests = {ld.fit_projection(opened(*data)).digest}
    digests.add(ld.fit_projection(opened(*data, order=[3, 2, 1, 0])).digest)
    monkeypatch.setattr(sampled_rows, "_BLOCK", 37)
    digests.add(ld.fit_projection(opened(*data)).digest)
    assert len(digests) == 1
    drawn = {
        ld.fit_projection(opened(*data, order=order), n=100).digest
        for order in ([0, 1, 2, 3], [2, 0, 3, 1])
    }
    assert len(drawn) == 1 and drawn != digests
    assert ld.fit_projection(opened(*data), n=100, seed=1).digest not in drawn


@pytest.mark.parametrize("n_rows, n", [(10, 10), (10, 99), (1000, 300), (10**6, 500), (10**9, 99)])
def test_positions_are_drawn_once(n_rows, n):
    positions = sampled_rows.drawn_positions(n_rows, n, 4)
    assert len(positions) == min(n, n_rows) or n_rows == 10**9
    assert (np.diff(positions) > 0).all() and positions[0] >= 0 and positions[-1] < n_rows
    assert sampled_rows.drawn_positions(n_rows, n, 4).tolist() == positions.tolist()
    if n_rows == 10**9:  # runs of neighbors
        assert len(positions) == 112 and (np.diff(positions) == 1).sum() == 105


def test_draws_are_spread_evenly():
    positions = sampled_rows.drawn_positions(10**6, 10_000, 0)
    counts = np.histogram(positions, bins=10, range=(0, 10**6))[0]
    assert abs(counts - 1000).max() < 150


def test_files_that_are_read_as_a_whole_are_drawn_from_in_part(data, monkeypatch):
    from dataclasses import replace

    whole = opened(*data)
    files = tuple(replace(whole.files[0], offset=None, path=f"{i}.npz") for i in range(64))
    monkeypatch.setattr(sampled_rows, "_PACKED_BYTES", 8 * files[0].size)
    many = ld.Embeddings(files, whole.model)
    rows = sampled_rows.sampled_rows(many, 1000, 0)
    assert len(rows) == 16 and sum(len(r) for _, r in rows) == 1000


def test_narrow_and_constant_embeddings(tmp_path):
    one = ld.fit_projection(opened(tmp_path / "one", [np.array([[2], [-1], [0]], np.float32)]))
    points = one.project(np.array([[2], [-1], [0]], np.float32))
    assert points[:2].tolist() == [[1, 0], [-1, 0]] and np.isnan(points[2]).all()
    same = ld.fit_projection(opened(tmp_path / "same", [np.ones((5, 4), np.float32)]))
    assert np.abs(same.project(np.ones((3, 4), np.float32))).max() < 1e-6
    assert same.tensors["explained"].tolist() == [0, 0]
    assert same.project(np.empty((0, 4), np.float32)).shape == (0, 2)
    for n, rows in enumerate((np.zeros((0, 4), np.float32), np.zeros((3, 4), np.float32))):
        with pytest.raises(EmbeddingsError, match="No row of the embeddings has a direction"):
            ld.fit_projection(opened(tmp_path / f"none{n}", [rows]))


def test_wrong_arguments(data):
    emb = opened(*data)
    for options in ({"method": "tsne"}, {"n": 0}, {"seed": -1}, {"n": 1.5}):
        with pytest.raises(OptionError):
            ld.fit_projection(emb, **options)
    with pytest.raises(OptionError, match="open_embeddings"):
        ld.fit_projection("img_emb")
    projection = ld.fit_projection(emb)
    for wrong in (np.ones((2, DIM)), np.ones((2, 3), np.float32), np.ones(DIM, np.float32)):
        with pytest.raises(EmbeddingsError, match="Expected float16 or float32"):
            projection.project(wrong)
    other = ld.Embeddings(emb.files, ld.EmbeddingSpace("other", DIM))
    with pytest.raises(ModelMismatchError):
        projection.check_model(other)
    with pytest.raises(EmbeddingsError, match="24 dimensions"):
        projection.check_model(ld.Embeddings(emb.files, ld.EmbeddingSpace("small", 7)))


def test_a_projection_is_saved_opened_and_pickled(data, tmp_path):
    projection = ld.fit_projection(opened(*data))
    projection.save(tmp_path / "p")
    again = ld.open_projection(tmp_path / "p", projection.digest)
    rows = data[1][0]
    for one in (again, pickle.loads(pickle.dumps(projection))):
        assert one == projection and hash(one) == hash(projection) and one.n_rows == 1001
        assert one.project(rows).tobytes() == projection.project(rows).tobytes()
    again.save(tmp_path / "q")
    assert (tmp_path / "q").read_bytes() == (tmp_path / "p").read_bytes()
    load_file = pytest.importorskip("safetensors.numpy").load_file
    assert load_file(tmp_path / "p")["components"].tolist() == (
        projection.tensors["components"].tolist()
    )
    with pytest.raises(ProjectionError, match="Expected sha256:00"):
        ld.open_projection(tmp_path / "p", "sha256:00")


def test_damaged_and_hostile_files_are_refused(data, tmp_path):
    projection = ld.fit_projection(opened(*data))
    projection.save(tmp_path / "p")
    good = (tmp_path / "p").read_bytes()
    n = int.from_bytes(good[:8], "little")
    header = json.loads(good[8 : 8 + n])

    def changed(**entries) -> bytes:
        text = json.dumps({**header, **entries}).encode()
        return len(text).to_bytes(8, "little") + text + good[8 + n :]

    huge = {**header["mean"], "shape": [2**40]}
    negative = {**header["mean"], "shape": [-DIM]}
    wrong = [
        b"",
        good[:7],
        good[:-1],
        good + b"x",
        good[:-1] + bytes([good[-1] ^ 1]),  # one bit of a value
        b"\xff" * 16,
        (2**40).to_bytes(8, "little") + good[8:],
        b"\x80\x04pickle",
        changed(mean=huge),
        changed(mean=negative),
        changed(mean={"dtype": "F64"}),
        changed(mean=[]),
        changed(__metadata__=None),
        changed(__metadata__={**header["__metadata__"], "model": "another"}),
        changed(__metadata__={**header["__metadata__"], "dim": 24}),
        len(b"[" * 60_000).to_bytes(8, "little") + b"[" * 60_000 + bytes(8),
    ]
    for content in wrong:
        (tmp_path / "w").write_bytes(content)
        with pytest.raises(ProjectionError, match="cannot be read"):
            ld.open_projection(tmp_path / "w")
    with pytest.raises(ProjectionError, match="No such file"):
        ld.open_projection(tmp_path / "missing")


@pytest.mark.parametrize(
    "metadata, tensors, message",
    [
        ({"format": "x"}, {}, "its format"),
        ({"method": "tsne"}, {}, "its method"),
        ({"dim": "5"}, {}, "mean is float64 of shape"),
        ({"dim": "-5"}, {}, "instead of a number"),
        ({}, {"more": np.zeros(3)}, "its arrays"),
        ({}, {"explained": np.zeros(3)}, "explained"),
        ({}, {"mean": np.zeros(DIM, np.float32)}, "mean is float32"),
        ({}, {"mean": np.full(DIM, np.nan)}, "not finite"),
        ({}, {"mean": np.full(DIM, 1e300)}, "too large"),
    ],
)
def test_files_with_a_valid_digest_that_are_no_projection(
    data, tmp_path, metadata, tensors, message
):
    projection = ld.fit_projection(opened(*data))
    path = tmp_path / "p"
    write_tensors(path, projection._metadata | metadata, {**projection.tensors, **tensors})
    with pytest.raises(ProjectionError, match=message):
        ld.open_projection(path)
