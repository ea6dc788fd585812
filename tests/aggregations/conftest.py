"""Fixtures of the aggregation tests."""

import numpy as np
import pytest
from support.perceived_attributes import SIZES
from support.shards import collection, laion_table, npy, write_shard

import laion_dask as ld


@pytest.fixture
def rated_shards(tmp_path):
    """The folder of four shards, one of them empty, for rates and curves."""
    for i, n in enumerate((120, 0, 333, 77)):
        write_shard(tmp_path / f"part_{i}.parquet", laion_table(n, i))
    return str(tmp_path)


@pytest.fixture(scope="session", params=["float32", "float16"])
def prompted_shards(request, tmp_path_factory):
    """Shards in which some embeddings have no direction, and prompts given as vectors."""
    folder = tmp_path_factory.mktemp("perceived")
    c = collection(folder, SIZES, dtype=request.param)
    c.images[0][3], c.images[0][5, 2], c.images[2][7, 0] = 0, np.nan, np.inf
    for i, image in enumerate(c.images):
        npy(folder / "img_emb" / f"img_emb_{i}.npy", image)
    draw = np.random.default_rng(5)
    # The prompts are close together, so many rows stay unassigned at a scale of 100.
    base = draw.normal(size=8)
    near = {label: base + 0.02 * draw.normal(size=8) for label in ("woman", "man", "somebody")}
    c.prompts = {"gender": near, "age": {"young": base, "old": base + 0.02 * draw.normal(size=8)}}
    c.frame = ld.read_shards(c.metadata, backend="pandas")
    c.embeddings = ld.open_embeddings(c.img_emb, model=c.model)
    return c
