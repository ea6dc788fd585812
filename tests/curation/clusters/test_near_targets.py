"""Rows near targets, compared with loops over rows, centroids and targets."""

from __future__ import annotations

import numpy as np
import pytest
from support.shards import collection, cosine, npy

import laion_dask as ld
from laion_dask.errors import EmbeddingsError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    written = collection(tmp_path_factory.mktemp("near"), (40, 0, 25))
    written.images[0][3] = 0
    npy(f"{written.img_emb}/img_emb_0.npy", written.images[0])
    frame = ld.read_shards(written.metadata)
    return written, frame, ld.open_embeddings(written.img_emb, model=written.model, like=frame)


def nearest(vector, centroids) -> int:
    return int(np.argmax([cosine(vector, one) for one in centroids]))


def test_the_rows_are_those_of_loops(data, tmp_path):
    written, frame, images = data
    draw = np.random.default_rng(7)
    centroids, targets = draw.normal(size=(9, 8)), draw.normal(size=(4, 8))
    wanted = {nearest(target, centroids) for target in targets}
    expected = {
        (shard, row)
        for shard, vectors in enumerate(written.images)
        for row, vector in enumerate(vectors)
        if vector.any() and nearest(vector, centroids) in wanted
    }
    files = npy(tmp_path / "c.npy", centroids), npy(tmp_path / "t.npy", targets)
    for given in ((centroids, targets), files):
        kept = frame.laion.near_targets(images, *given)
        found = kept.compute()
        assert set(zip(found.shard, found.row, strict=True)) == expected
        assert list(kept.columns) == list(frame.columns)
    account = kept.laion.rows()
    assert (account.kept, account.unscored) == (len(expected), 1)
    done = kept.laion.export(tmp_path / "out")
    (entry,) = [one for one in done.manifest["models"] if "near_targets" in one]
    assert entry["near_targets"] == len(wanted) and len(entry["sha256"]["targets"]) == 64


def test_wrong_targets_are_refused(data, tmp_path):
    _, frame, images = data
    centroids = np.eye(3, 8)
    for wrong in (np.ones((2, 7)), np.ones((0, 8)), np.zeros((2, 8)), np.ones((2, 8), int)):
        with pytest.raises(EmbeddingsError):
            frame.laion.near_targets(images, centroids, wrong)
    with pytest.raises(EmbeddingsError, match="cannot be read"):
        frame.laion.near_targets(images, centroids, tmp_path / "missing.npy")
