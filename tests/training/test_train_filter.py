"""Filter networks: planted pairs, a plain loop, files, frames, and any partitioning."""

from __future__ import annotations

import pickle

import dask
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from support.scored_frames import by_row, opened
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import (
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    WeightsError,
)
from laion_dask.training.contrastive import Settings, fit_towers

DIM = 24
QUICK = {"steps": 150, "batch": 128, "hidden": 32}


def planted(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs whose captions share a code with the image in half of the dimensions; which match.

    The other half is noise that the cosine of the raw embeddings cannot tell from the code.
    """
    rng = np.random.default_rng(seed)
    code = rng.normal(size=(n, DIM // 2))
    matches = rng.random(n) < 0.5
    other = np.where(matches[:, None], code, rng.normal(size=code.shape))
    images, texts = (
        np.hstack([c + 0.3 * rng.normal(size=c.shape), 2 * rng.normal(size=c.shape)])
        for c in (code, other)
    )
    return images.astype(np.float32), texts.astype(np.float32), matches


@pytest.fixture(scope="module")
def network():
    x, y, matches = planted(3000, 0)
    return ld.train_filter(x, y, matches, clip=ld.EmbeddingSpace("plain", DIM), **QUICK)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("filter"), (60, 0, 45))


def cosine_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)


def test_it_tells_matches_better_than_the_cosine(network):
    x, y, matches = planted(2000, 1)
    before = roc_auc_score(matches, cosine_of(x, y))
    after = roc_auc_score(matches, network.predict(x, y))
    print(f"ROC-AUC {before:.4f} before, {after:.4f} after")
    assert after > before + 0.02
    report = network.report
    assert report.n_train + report.n_test + report.n_unscored == report.n_trusted
    assert report.accuracy > report.accuracy_before


def test_scores_are_what_a_loop_over_rows_says(network):
    from safetensors.numpy import load

    w = {name: value.astype(np.float64) for name, value in load(network.tensors).items()}
    x, y, _ = planted(40, 2)
    x[3], y[5], y[6, 2] = 0, np.inf, np.nan
    got = network.predict(x, y)
    for i in range(len(x)):
        if i in (3, 5, 6):
            assert np.isnan(got[i])
            continue
        towers = []
        for name, row in (("image", x[i]), ("text", y[i])):
            u = row.astype(np.float64) / np.sqrt(sum(float(v) ** 2 for v in row))
            hidden = [
                max(0.0, d @ u + b)
                for d, b in zip(w[f"{name}.down"], w[f"{name}.bias"], strict=True)
            ]
            towers.append(u + w[f"{name}.up"] @ np.array(hidden))
        one, two = towers
        wanted = one @ two / np.sqrt(one @ one) / np.sqrt(two @ two)
        assert got[i] == pytest.approx(wanted, abs=2e-6)


def test_a_score_does_not_depend_on_other_rows(network):
    x, y, _ = planted(1200, 3)
    whole = network.predict(x, y)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_array_equal(network.predict(x[order], y[order]), whole[order])
    np.testing.assert_array_equal(network.predict(x[7:8], y[7:8]), whole[7:8])
    assert network.predict(x[:0], y[:0]).shape == (0,)
    half = network.predict(x.astype(np.float16), y.astype(np.float16))
    np.testing.assert_allclose(half, whole, atol=2e-3)
    import torch

    on_device = network.on_device(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(on_device, whole, atol=1e-5)


def test_the_first_step_has_the_loss_of_a_loop():
    """Before any step the towers are the identity; equal captions are no negatives."""
    rng = np.random.default_rng(4)
    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in rng.normal(size=(2, 6, 5)))
    y[4] = y[1]
    x, y = x.astype(np.float32), y.astype(np.float32)
    _, losses = fit_towers(x, y, Settings(hidden=3, steps=1, batch=6, seed=0))
    total = 0.0
    for i in range(6):
        skipped = {(1, 4): True, (4, 1): True}
        others = [j for j in range(6) if not skipped.get((i, j))]
        rows = sum(np.exp(x[i] @ y[j] * 10) for j in others)
        columns = sum(np.exp(x[j] @ y[i] * 10) for j in others)
        total += 2 * (x[i] @ y[i]) * 10 - np.log(rows) - np.log(columns)
    assert losses == [pytest.approx(-total / 12, rel=1e-5)]


def test_equal_seeds_give_equal_networks(network):
    x, y, matches = planted(3000, 0)
    space = ld.EmbeddingSpace("plain", DIM)
    again = ld.train_filter(x, y, np.flatnonzero(matches), clip=space, **QUICK)
    assert again == network and hash(again) == hash(network)
    other = ld.train_filter(x, y, matches, clip=space, **{**QUICK, "steps": 2}, seed=1)
    assert other.tensors != network.tensors


def test_a_network_is_saved_and_loaded(network, tmp_path):
    path = network.to("mine").save(tmp_path / "net")
    assert path.read_bytes()[:1] != b"\x80"  # no pickle
    for place in (path, path.parent):
        loaded = ld.load_filter(place)
        assert loaded.name == "mine" and loaded.to(network.name) == network
    assert pickle.loads(pickle.dumps(network)) == network
    with pytest.raises(ModelMismatchError):
        ld.load_filter(path, clip=ld.EmbeddingSpace("another", DIM))
    damaged = tmp_path / "damaged"
    damaged.write_bytes(path.read_bytes()[:-7])
    for wrong in (damaged, tmp_path / "missing"):
        with pytest.raises(WeightsError, match="not a filter network"):
            ld.load_filter(wrong)
    with pytest.raises(WeightsError):
        ld.heads.load(path)


def test_a_frame_is_scored(small, tmp_path):
    frame, emb, texts = opened(small)
    network = ld.train_filter(emb, texts, trusted=frame, steps=3, batch=32, hidden=4)
    scored = frame.laion.score(emb, network, texts=texts)
    got = by_row(scored, "filter_score")
    assert got.dtype == np.float32 and got.notna().any()
    for shard, file in enumerate(emb.files):
        if file.n_rows:
            rows = range(file.n_rows)
            wanted = network.predict(emb.read(shard, rows), texts.read(shard, rows))
            np.testing.assert_array_equal(got.loc[shard].to_numpy(), wanted)
    other = by_row(
        frame.repartition(npartitions=1).laion.score(emb, texts, network), "filter_score"
    )
    pd.testing.assert_series_equal(other, got, check_exact=True)
    export = scored.laion.where("filter_score > -2").laion.export(tmp_path / "out")
    assert export.rows.unscored == int(got.isna().sum())
    assert network.recipe()["sha256"] in (tmp_path / "out" / "_recipe.json").read_text()


def test_the_network_does_not_depend_on_partitions(small):
    frame, emb, texts = opened(small)
    options = {"steps": 3, "batch": 16, "hidden": 4, "max_rows": 50}
    rule = "width > 300"
    wanted = ld.train_filter(emb, texts, trusted=frame.laion.where(rule), **options)
    fine = ld.read_shards(small.metadata, max_rows_per_partition=1)
    with dask.config.set(scheduler="sync"):
        for trusted, of in ((fine.laion.where(rule), None), (rule, fine), (rule, frame)):
            got = ld.train_filter(emb, texts, trusted=trusted, frame=of, **options)
            assert got == wanted
    table = frame.laion.where(rule).compute()
    listed = ld.train_filter(emb, texts, trusted=table, **options)
    array = table[["shard", "row"]].astype("int64").to_numpy()[::-1]
    for got in (listed, ld.train_filter(emb, texts, trusted=array, frame=frame, **options)):
        assert got == wanted


def test_wrong_arguments_are_told(small, network):
    frame, emb, texts = opened(small)
    with pytest.raises(OptionError, match="no frame to apply it to"):
        ld.train_filter(emb, texts, trusted="width > 3")
    with pytest.raises(OptionError, match="no trusted rows"):
        ld.train_filter(emb, texts)
    with pytest.raises(OptionError, match="trusted is a list"):
        ld.train_filter(emb, texts, trusted=[1, 2])
    with pytest.raises(OptionError, match="0 trusted rows have embeddings"):
        ld.train_filter(emb, texts, trusted=frame.laion.where("width < 0"))
    with pytest.raises(OptionError, match="steps"):
        ld.train_filter(emb, texts, trusted=frame, steps=0)
    with pytest.raises(EmbeddingsError, match="Expected both from"):
        ld.train_filter(emb, np.ones((3, emb.dim), np.float32), trusted=frame)
    with pytest.raises(OptionError, match="model is unknown"):
        ld.train_filter(np.ones((30, 4), np.float32), np.ones((30, 4), np.float32))
    x, one = np.random.default_rng(0).normal(size=(30, 4)), np.ones((30, 4))
    with pytest.raises(OptionError, match="captions of all 30 trusted rows are the same"):
        ld.train_filter(x, one, clip=ld.EmbeddingSpace("four", 4))
    with pytest.raises(OptionError, match="compares images with captions"):
        frame.laion.score(emb, network)
    with pytest.raises(ModelMismatchError):
        frame.laion.score(emb, network, texts=texts)
    with pytest.raises(EmbeddingsError, match="caption for every image"):
        network.predict(np.ones((3, DIM), np.float32), np.ones((2, DIM), np.float32))
