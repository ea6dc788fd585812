"""negCLIPLoss against loops over rows and batches; and what must not change it."""

from __future__ import annotations

from pathlib import Path

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from support.scored_frames import by_row, opened
from support.shards import collection

import laion_dask as ld
from laion_dask.curation import neg_clip_loss_kernel as kernels
from laion_dask.curation.row_hash import row_hash
from laion_dask.errors import OptionError, ProvenanceError


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("negclip")
    written = collection(folder, (40, 0, 33))
    path = sorted(Path(written.img_emb).glob("*.npy"))[0]
    x = np.load(path)
    x[5], x[7, 1] = 0, np.nan
    np.save(path, x)
    return written


def by_loop(small, keep, temperature, batch, repeats, seed):
    """The value of each row, by loops over repeats, batches and rows; the last batch filled up."""
    _, emb, texts = opened(small)
    vectors = {}
    for shard, file in enumerate(emb.files):
        for row in range(file.n_rows):
            if (shard, row) in keep:
                pair = [np.asarray(e.read(shard, [row])[0], np.float64) for e in (emb, texts)]
                lengths = [np.sqrt(v @ v) for v in pair]
                fine = all(np.isfinite(length) and length > 0 for length in lengths)
                vectors[shard, row] = (
                    [v / n for v, n in zip(pair, lengths, strict=True)] if fine else None
                )
    total = dict.fromkeys(vectors, 0.0)
    for repeat in range(repeats):
        order = sorted(
            vectors,
            key=lambda one: (row_hash(*(np.array([n]) for n in one), seed, repeat)[0], one),
        )
        for start in range(0, len(order), batch):
            members = order[start : start + batch]
            filled = order[max(0, min(start, len(order) - batch)) :][:batch]
            known = [one for one in filled if vectors[one] is not None]
            for one in members:
                if vectors[one] is None:
                    total[one] = np.nan
                    continue
                image, text = vectors[one]
                rows = sum(np.exp(image @ vectors[j][1] / temperature) for j in known)
                columns = sum(np.exp(vectors[j][0] @ text / temperature) for j in known)
                total[one] += image @ text - temperature / 2 * (np.log(rows) + np.log(columns))
    values = {key: value / repeats for key, value in total.items()}
    return pd.Series(values, name="neg_clip_loss").rename_axis(["shard", "row"]).sort_index()


@pytest.mark.parametrize("batch, repeats", [(32_768, 3), (20, 2), (73, 1), (72, 1), (1, 1)])
@pytest.mark.parametrize("temperature", [0.01, 0.5])
def test_the_loss_is_what_loops_say(small, batch, repeats, temperature):
    frame, emb, texts = opened(small)
    options = {"temperature": temperature, "batch": batch, "repeats": repeats, "seed": 3}
    got = by_row(frame.laion.neg_clip_loss(emb, texts, **options), "neg_clip_loss")
    assert got.dtype == np.float32 and got.isna().sum() == 2
    wanted = by_loop(small, set(got.index), **options)
    pd.testing.assert_series_equal(
        got, wanted, check_dtype=False, check_index_type=False, atol=3e-6, rtol=0
    )


def test_filtered_rows_are_in_no_batch(small):
    frame, emb, texts = opened(small)
    kept = frame.laion.where("width > 900")
    options = {"temperature": 0.1, "batch": 20, "repeats": 2, "seed": 0}
    got = by_row(kept.laion.neg_clip_loss(emb, texts, **options), "neg_clip_loss")
    wanted = by_loop(small, set(got.index), **options)
    pd.testing.assert_series_equal(
        got, wanted, check_dtype=False, check_index_type=False, atol=3e-6, rtol=0
    )


def test_partitions_workers_and_blocks_change_no_bit(small, monkeypatch):
    frame, emb, texts = opened(small)

    def scored(frame):
        return by_row(frame.laion.neg_clip_loss(emb, texts, batch=20, repeats=2), "neg_clip_loss")

    wanted = scored(frame)
    fine = ld.read_shards(small.metadata, max_rows_per_partition=1)
    swapped = dd.concat([frame.partitions[1:], frame.partitions[:1]])
    for variant in (fine, fine.repartition(npartitions=2), frame.shuffle("row"), swapped):
        pd.testing.assert_series_equal(scored(variant), wanted, check_exact=True)
    with dask.config.set(scheduler="sync"):
        pd.testing.assert_series_equal(scored(fine), wanted, check_exact=True)
    monkeypatch.setattr(kernels, "_IMAGES", 3)
    pd.testing.assert_series_equal(scored(frame), wanted, atol=1e-6, rtol=0)


@pytest.mark.parametrize("n_buckets", [1, 2, 7, 50])
def test_the_number_of_buckets_changes_no_bit(small, monkeypatch, n_buckets):
    from laion_dask.curation import neg_clip_loss as verb

    frame, emb, texts = opened(small)
    options = {"batch": 10, "repeats": 2}
    wanted = by_row(frame.laion.neg_clip_loss(emb, texts, **options), "neg_clip_loss")
    monkeypatch.setattr(verb, "_bucket_count", lambda *_: n_buckets)
    got = by_row(frame.laion.neg_clip_loss(emb, texts, **options), "neg_clip_loss")
    pd.testing.assert_series_equal(got, wanted, check_exact=True)


def test_rows_are_accounted_for(small, tmp_path):
    frame, emb, texts = opened(small)
    scored = frame.laion.neg_clip_loss(emb, texts, repeats=1)
    export = scored.laion.where("neg_clip_loss > -9").laion.export(tmp_path / "out")
    assert export.rows.unscored == 2 and export.rows.kept == export.rows.read - 2
    assert '"neg_clip_loss"' in (tmp_path / "out" / "_recipe.json").read_text()
    empty = frame.laion.where("width < 0").laion.neg_clip_loss(emb, texts)
    assert len(empty.compute()) == 0


def test_its_column_and_recipes_with_it_are_planned(small):
    frame, emb, texts = opened(small)
    scored = frame.laion.neg_clip_loss(emb, texts, batch=20, repeats=2)
    recipe = ld.Recipe("fits").neg_clip_loss(emb_image="image", emb_text="text", repeats=2)
    recipe = recipe.where("neg_clip_loss > -1")
    for plan in (
        ld.plan(scored.laion.where("neg_clip_loss > -1"), ["export"]),
        recipe.plan(frame, {"image": emb, "text": texts}),
    ):
        assert "neg_clip_loss" in str(plan)


def test_a_recipe_moves_no_later_filter_before_it(small, tmp_path):
    frame, emb, texts = opened(small)
    vectors, options = {"image": emb, "text": texts}, {"batch": 20, "repeats": 1}
    recipe = ld.Recipe("fits").neg_clip_loss(emb_image="image", emb_text="text", **options)
    recipe.where("width > 900").run(small.metadata, tmp_path / "out", vectors, by="language")
    wanted = frame.laion.neg_clip_loss(emb, texts, **options).laion.where("width > 900").compute()
    got = ld.read_shards(tmp_path / "out").compute()
    np.testing.assert_array_equal(got["neg_clip_loss"], wanted["neg_clip_loss"])


def test_a_repeated_row_is_told(small):
    frame, emb, texts = opened(small)
    twice = frame.merge(pd.DataFrame({"row": [3, 3]}), on="row", how="left")
    with pytest.raises(ProvenanceError, match="more than once"):
        twice.laion.neg_clip_loss(emb, texts, repeats=1).compute()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": 0}, "temperature is 0"),
        ({"batch": 0}, "batch"),
        ({"repeats": 1.5}, "repeats"),
        ({"seed": -1}, "seed"),
        ({"to": "width"}, "already has a column"),
    ],
)
def test_wrong_arguments_are_told(small, options, message):
    frame, emb, texts = opened(small)
    with pytest.raises(OptionError, match=message):
        frame.laion.neg_clip_loss(emb, texts, **options)
