"""Perceived attributes: counts match a loop for any partitioning, in one pass."""

import math
from collections import Counter

import dask
import numpy as np
import pandas as pd
import pytest
from support.embeddings import set_block_rows
from support.frames import both
from support.partitionings import read_combined
from support.perceived_attributes import CAVEAT, SIZES
from support.shards import collection, cosine, laion_table, npy

import laion_dask as ld
from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.perceived import perceived
from laion_dask.errors import OptionError, ProvenanceError
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.parquet.scan import Scan
from laion_dask.stats import Table, wilson


def by_the_book(images, labels, margin=0.2, scale=100.0):
    """A dict from (shard, row) to label, computed one row at a time."""
    units = {label: np.asarray(v) / np.linalg.norm(v) for label, v in labels.items()}
    result = {}
    for shard, rows in enumerate(images):
        for row, x in enumerate(rows):
            logits = {label: scale * cosine(x, v) for label, v in units.items()}
            if any(math.isnan(value) for value in logits.values()):
                result[shard, row] = "unscored"
                continue
            highest = max(logits.values())
            shares = {label: math.exp(value - highest) for label, value in logits.items()}
            ranked = sorted(shares, key=shares.get, reverse=True)
            total = sum(shares.values())
            ahead = (shares[ranked[0]] - shares[ranked[1]]) / total
            assert abs(ahead - margin) > 1e-7, "the margin is too close to decide in float32"
            result[shard, row] = ranked[0] if ahead > margin else "not assigned"
    return result


def check(result, expected: Counter, attribute, labels, axis=None, group=None):
    name = f"perceived {attribute} (model-assigned)"
    n = sum(expected[label] for label in (*labels, "not assigned"))
    for label in (*labels, "not assigned"):
        if axis is None:
            selected = result[(result["term"] == name) & (result["group"] == label)]
        else:
            selected = result[(result["term"] == f"{label}: {name}") & (result["group"] == group)]
            assert (selected["axis"] == axis).all()
        ((_, row),) = selected.iterrows()
        assert (row["n"], row["k"], row["unscored"]) == (n, expected[label], expected["unscored"])
        assert row["rate"] == expected[label] / n
        assert (row["lo"], row["hi"]) == wilson(expected[label], n)


def test_counts_against_a_loop(prompted_shards):
    result = perceived(prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts)
    assert isinstance(result, Table) and len(result) == 4 + 3
    for attribute, labels in prompted_shards.prompts.items():
        expected = Counter(by_the_book(prompted_shards.images, labels).values())
        assert expected["unscored"] == 3 and expected["not assigned"] > 10
        check(result, expected, attribute, labels)
    assert result.attrs["rows"] == {
        "read": 351, "kept": 351, "dropped": 0, "unscored": 0, "rejected": 0,
    }  # fmt: skip
    assert result["axis"].isna().all()
    assert set(result["statistic"]) == {"perceived, model-assigned"}


def test_margins(prompted_shards):
    labels = prompted_shards.prompts["gender"]
    for margin in (0, 0.5, 0.9):
        result = perceived(
            prompted_shards.frame, prompted_shards.embeddings, {"gender": labels}, margin=margin
        )
        expected = Counter(by_the_book(prompted_shards.images, labels, margin).values())
        check(result, expected, "gender", labels)
        assert (expected["not assigned"] == 0) == (margin == 0)


def test_two_labels_that_are_level_are_never_assigned(prompted_shards):
    same = np.ones(8)
    result = perceived(
        prompted_shards.frame,
        prompted_shards.embeddings,
        {"a": {"one": same, "two": 3 * same}},
        margin=0,
    )
    assert result["k"].tolist() == [0, 0, 348]


def test_groups(prompted_shards):
    plain = prompted_shards.frame.compute()
    labels = prompted_shards.prompts["gender"]
    assigned = by_the_book(prompted_shards.images, labels)
    result = perceived(
        prompted_shards.frame, prompted_shards.embeddings, {"gender": labels}, by="language"
    )
    groups = plain["language"].astype(object).where(plain["language"].notna(), "(null)")
    table = set(result["group"])
    for group in groups.unique():
        rows = plain[groups == group]
        expected = Counter(assigned[k] for k in zip(rows["shard"], rows["row"], strict=True))
        assert sum(expected.values()) >= 30 and group in table
        check(result, expected, "gender", labels, group=group, axis="language")
    assert table == set(groups.unique())
    assert result["n"].sum() / 4 + result.groupby("group")["unscored"].first().sum() == 351


def test_a_group_of_the_name_of_no_group_loses_no_row(tmp_path):
    table = laion_table(80, odd=False).to_pandas()
    table["LANGUAGE"] = ["(null)", None] * 40
    (tmp_path / "meta").mkdir()
    table.to_parquet(tmp_path / "meta" / "0.parquet")
    npy(tmp_path / "emb" / "0.npy", np.ones((80, 8), np.float32))
    model = collection(tmp_path / "other").model
    embeddings = ld.open_embeddings(tmp_path / "emb", model=model)
    prompts = {"one": np.ones(8), "two": -np.ones(8)}
    result = perceived(ld.read_shards(tmp_path / "meta"), embeddings, prompts, by="language")
    assert result["k"].tolist() == [80, 0, 0] and set(result["group"]) == {"(null)"}


def test_small_groups_are_left_out_and_counted(prompted_shards):
    one = {"gender": prompted_shards.prompts["gender"]}
    result = perceived(
        prompted_shards.frame, prompted_shards.embeddings, one, by="width"
    )  # almost one group per row
    assert (result["n"] >= 30).all() and result.n_suppressed > 100
    few = prompted_shards.frame[prompted_shards.frame["row"] < 9]  # 9 + 9 + 1 rows
    result = perceived(few, prompted_shards.embeddings, one)
    assert len(result) == 0 and result.n_suppressed == 4
    assert "4 results based on fewer than 30 rows" in result.to_markdown()
    assert CAVEAT in result.to_markdown().replace("\\", "") and CAVEAT in repr(result)
    for min_n in (0, 1, 29, True, 30.5):
        with pytest.raises(OptionError):
            perceived(prompted_shards.frame, prompted_shards.embeddings, one, min_n=min_n)
    assert len(perceived(prompted_shards.frame, prompted_shards.embeddings, one, min_n=349)) == 0


@both
def test_any_partitioning_and_order_of_shards_and_workers(prompted_shards):
    table = []
    for rows, scheduler in ((1000, "sync"), (17, "threads"), (1, "threads")):
        frame = ld.read_shards(prompted_shards.metadata, max_rows_per_partition=rows)
        with dask.config.set(scheduler=scheduler):
            table.append(
                perceived(frame, prompted_shards.embeddings, prompted_shards.prompts, by="language")
            )
    frame = ld.read_shards(prompted_shards.metadata)
    table.append(
        perceived(
            read_combined(prompted_shards.metadata),
            prompted_shards.embeddings,
            prompted_shards.prompts,
            by="language",
        )
    )
    table.append(
        perceived(
            frame.repartition(npartitions=1),
            prompted_shards.embeddings,
            prompted_shards.prompts,
            by="language",
        )
    )
    table.append(
        perceived(
            frame.partitions[[3, 0, 2, 1]],
            prompted_shards.embeddings,
            prompted_shards.prompts,
            by="language",
        )
    )
    assert all(table[0].equals(other) for other in table[1:])


def test_blocks_do_not_matter(prompted_shards, monkeypatch):
    result = perceived(prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts)
    for size in (1, 7, 64):
        set_block_rows(monkeypatch, size)
        monkeypatch.setattr("laion_dask.aggregations.perceived_kernel._CACHED", size * 17)
        assert perceived(
            prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts
        ).equals(result)


def test_each_row_is_decided_by_itself():
    draw = np.random.default_rng(0)
    for n_labels in (2, 3, 9, 17):
        cosine = draw.uniform(0.2, 0.3, (n_labels, 999))
        whole = kernels.nearest(cosine, 100.0, 0.1)
        for at in range(0, 999, 13):
            for stop in (at + 1, at + 5, at + 13):
                assert (kernels.nearest(cosine[:, at:stop], 100.0, 0.1) == whole[at:stop]).all()
        assert kernels.nearest(cosine[:, :0], 100.0, 0.1).shape == (0,)
        # Bit for bit: neighboring rows do not affect the probabilities either.
        low = 100 * (cosine - cosine.max(axis=0))
        for at in range(1, 40):
            assert (np.exp(low[:, at:]) == np.exp(low)[:, at:]).all()


def test_filters_count(prompted_shards):
    frame = prompted_shards.frame.laion.where("punsafe < 0.9")
    result = perceived(
        frame, prompted_shards.embeddings, {"gender": prompted_shards.prompts["gender"]}
    )
    assert result.attrs["rows"] == vars(ld.rows(frame))
    assigned = by_the_book(prompted_shards.images, prompted_shards.prompts["gender"])
    kept = frame[["shard", "row"]].compute()
    expected = Counter(assigned[k] for k in zip(kept["shard"], kept["row"], strict=True))
    check(result, expected, "gender", prompted_shards.prompts["gender"])


def test_one_pass_that_reads_only_what_is_asked(prompted_shards, monkeypatch):
    read, rows = [], []
    scan, vectors = Scan.__call__, EmbeddingFile.read

    def spy_scan(self, piece, columns=None, **rest):
        read.append(tuple(columns))
        return scan(self, piece, columns=columns, **rest)

    def spy_read(self, wanted):
        rows.extend(wanted)
        return vectors(self, wanted)

    monkeypatch.setattr(Scan, "__call__", spy_scan)
    monkeypatch.setattr(EmbeddingFile, "read", spy_read)
    with dask.config.set(scheduler="sync"):
        perceived(
            prompted_shards.frame,
            prompted_shards.embeddings,
            prompted_shards.prompts,
            by="language",
        )
    assert len(read) == len(SIZES) and {frozenset(r) for r in read} == {
        frozenset({"shard", "row", "language"})
    }
    assert len(rows) == sum(SIZES)


def test_frames_without_rows(prompted_shards):
    empty = prompted_shards.frame[prompted_shards.frame["row"] < 0]
    for by in (None, "language"):
        result = perceived(empty, prompted_shards.embeddings, prompted_shards.prompts, by=by)
        assert (
            len(result) == 0 and result.caveats == (CAVEAT,) and result.attrs["rows"]["read"] == 351
        )
        assert {"term", "n", "k", "rate", "lo", "hi", "unscored"} <= set(result.columns)


def test_one_row_many_times_over_is_refused(prompted_shards):
    import dask.dataframe as dd

    one = prompted_shards.frame.laion.where("shard == 0 and row == 9")
    with pytest.raises(ProvenanceError, match="end to end"):
        perceived(dd.concat([one] * 30), prompted_shards.embeddings, prompted_shards.prompts)
    copied = one.map_partitions(lambda part: pd.concat([part] * 40), meta=one._meta)
    with pytest.raises(ProvenanceError, match="more than once"):
        perceived(copied, prompted_shards.embeddings, prompted_shards.prompts)
