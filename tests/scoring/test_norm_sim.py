"""NormSim, against a loop over all pairs; and what must not change it."""

from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from support.scored_frames import by_row, opened
from support.shards import collection, vectors

import laion_dask as ld
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.scoring import norm_sim_kernel


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("norm_sim"), (33, 0, 21))


def by_loop(embeddings, target, p):
    """One number per row, by explicit loops over rows and targets."""
    out = {}
    for shard, file in enumerate(embeddings.files):
        rows = np.asarray(embeddings.read(shard, range(file.n_rows)), np.float64)
        for row, f in enumerate(rows):
            length = np.sqrt(sum(value * value for value in f))
            if not np.isfinite(length) or length == 0:
                out[shard, row] = np.nan
                continue
            cosines = [f @ g / length / np.sqrt(g @ g) for g in target]
            total = sum(c * c for c in cosines) ** 0.5
            out[shard, row] = max(map(abs, cosines)) if p == "inf" else total
    return pd.Series(out, name="norm_sim").rename_axis(["shard", "row"])


@pytest.mark.parametrize("p", [2, "inf"])
def test_norm_sim_is_what_a_loop_says(small, p):
    frame, emb, texts = opened(small)
    target = vectors(7, seed=3).astype(np.float64)
    got = by_row(frame.laion.norm_sim(emb, target, p=p), "norm_sim")
    assert got.dtype == np.float32
    wanted = by_loop(emb, target, p)
    pd.testing.assert_series_equal(
        got, wanted, check_dtype=False, check_index_type=False, rtol=2e-6
    )
    stored = np.concatenate(
        [texts.read(n, range(f.n_rows)).astype(np.float64) for n, f in enumerate(texts.files)]
    )
    known = stored[np.isfinite(stored).all(axis=1) & stored.any(axis=1)]
    got = by_row(frame.laion.norm_sim(emb, texts, p=p), "norm_sim")
    wanted = by_loop(emb, known, p)
    pd.testing.assert_series_equal(
        got, wanted, check_dtype=False, check_index_type=False, rtol=2e-6
    )


@pytest.mark.parametrize("p", [2, float("inf")])
def test_partitions_blocks_and_filters_change_no_bit(small, p, monkeypatch):
    frame, emb, texts = opened(small)
    wanted = by_row(frame.laion.norm_sim(emb, texts, p=p), "norm_sim")
    fine = ld.read_shards(small.metadata, max_rows_per_partition=1)
    swapped = dd.concat([frame.partitions[1:], frame.partitions[:1]])
    for variant in (fine, fine.repartition(npartitions=2), frame.shuffle("row"), swapped):
        got = by_row(variant.laion.norm_sim(emb, texts, p=p), "norm_sim")
        pd.testing.assert_series_equal(got, wanted, check_exact=True)
    kept = by_row(fine.laion.where("width > 700").laion.norm_sim(emb, texts, p=p), "norm_sim")
    pd.testing.assert_series_equal(kept, wanted[kept.index], check_exact=True)
    with dask.config.set(scheduler="sync"):
        got = by_row(frame.laion.norm_sim(emb, texts, p=p), "norm_sim")
    pd.testing.assert_series_equal(got, wanted, check_exact=True)
    monkeypatch.setattr(norm_sim_kernel, "_TARGET_BLOCK", 5)
    got = by_row(frame.laion.norm_sim(emb, texts, p=p), "norm_sim")
    pd.testing.assert_series_equal(got, wanted, rtol=1e-6)


def test_no_rows_are_legal(small):
    frame, emb, texts = opened(small)
    empty = frame.laion.where("width < 0").laion.norm_sim(emb, texts)
    assert len(empty.compute()) == 0
    unscored = frame.laion.norm_sim(emb, texts).laion.where("norm_sim > 0").laion.rows()
    assert unscored.kept + unscored.unscored == unscored.read


def test_wrong_arguments_are_told_before_data_is_read(small):
    frame, emb, _ = opened(small)
    with pytest.raises(OptionError, match="p is 3"):
        frame.laion.norm_sim(emb, vectors(2), p=3)
    with pytest.raises(OptionError, match="p is True"):
        frame.laion.norm_sim(emb, vectors(2), p=True)
    with pytest.raises(EmbeddingsError, match="shape"):
        frame.laion.norm_sim(emb, np.ones((2, 3)))
    with pytest.raises(EmbeddingsError, match="no direction"):
        frame.laion.norm_sim(emb, np.zeros((2, emb.dim)))
    with pytest.raises(OptionError, match="already has a column"):
        frame.laion.norm_sim(emb, vectors(2), to="width")


def test_the_manifest_names_the_target(small, tmp_path):
    frame, emb, _ = opened(small)
    scored = frame.laion.norm_sim(emb, vectors(2), p="inf").laion.where("norm_sim > 0")
    export = scored.laion.export(tmp_path / "out")
    recipe = (Path(export.path) / "_recipe.json").read_text()
    assert '"norm_sim": "norm_sim"' in recipe and '"p": "inf"' in recipe
