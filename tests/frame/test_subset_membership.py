"""Audits that compare two overlapping subsets of a data set, against pandas and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, fisher_exact
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.stats import overlap_difference, overlap_test, risk_difference, two_proportions

ONE, OTHER = "similarity > 0.25", "width >= 300"


@pytest.fixture
def folder(tmp_path):
    for i, n in enumerate((400, 0, 250, 310)):
        write_shard(tmp_path / "in" / f"part_{i:04d}.parquet", laion_table(n, i), row_group=100)
    return tmp_path / "in"


@pytest.fixture
def frame(folder):
    return ld.read_shards(folder)


def by_pandas(frame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Each row's language, and whether the row is in either subset."""
    whole = frame.compute()
    label = whole["language"].astype(object).where(whole["language"].notna(), "(null)")
    one = (whole["similarity"] > 0.25).fillna(False).astype(bool)
    return label, one, (whole["width"] >= 300).fillna(False).astype(bool)


def test_against_pandas_and_scipy(frame):
    label, one, other = by_pandas(frame)
    result = frame.laion.where(ONE).laion.audit(frame.laion.where(OTHER), by="language")
    assert set(result["statistic"]) == {"comparison"}
    assert result["group"].iloc[0] == "(all)" and result["group"].iloc[-1] == "(null)"
    assert set(result["group"]) == {"(all)", *label}
    sizes = one.sum(), other.sum(), (one & other).sum()
    assert tuple(result.loc[0, ["n_before", "n_after", "n_both"]]) == sizes
    assert "{:,} rows before, {:,} after, {:,} of them in both".format(*sizes) in repr(result)
    for _, row in result.iloc[1:].iterrows():
        mine = label == row["group"]
        assert row["n"] == (mine & (one | other)).sum()
        assert row["n_before"] == (mine & one).sum() and row["n_after"] == (mine & other).sum()
        assert row["n_both"] == (mine & one & other).sum()
        assert row["share_before"] == pytest.approx((mine & one).sum() / one.sum())
        assert row["share_after"] == pytest.approx((mine & other).sum() / other.sum())
        assert row["value"] == pytest.approx(row["share_after"] - row["share_before"])
        assert row["lo"] < row["value"] < row["hi"]
        only = [one & ~other, other & ~one]
        cells = [[(mine & mask).sum(), (~mine & mask).sum()] for mask in only]
        assert row["p"] == pytest.approx(fisher_exact(cells).pvalue)
    q = false_discovery_control(result["p"].iloc[1:].to_numpy(float))
    assert result["q"].iloc[1:].tolist() == pytest.approx(q.tolist())
    for name, kept in (("rows_before", one), ("rows", other)):
        account = result.attrs[name]
        assert account["kept"] == kept.sum()
        assert account["read"] == 960 == sum(account[n] for n in list(account)[1:])
    assert result.attrs["rows"] == vars(frame.laion.where(OTHER).laion.rows())
    assert result.attrs["rows_before"] == vars(frame.laion.where(ONE).laion.rows())


def test_however_the_two_were_made(frame, folder):
    want = frame.laion.where(ONE).laion.audit(frame.laion.where(OTHER), by=["language", "text"])
    scored = frame.assign(score=frame["width"] * 2)
    moved = frame.repartition(npartitions=2)
    pairs = {
        "masks": (frame[frame["similarity"] > 0.25], frame[frame["width"] >= 300]),
        "a query": (frame.query(ONE), frame.laion.where(OTHER)),
        "scored": (frame.laion.where(ONE), scored[scored["score"] >= 600]),
        "chained": (frame.laion.where("width > 0 or similarity > 0").laion.where(ONE),
                    frame.laion.where(OTHER)[["language", "text"]]),
        "read twice": (ld.read_shards(folder, where=ONE), ld.read_shards(folder, where=OTHER)),
        "moved": (moved.laion.where(ONE), moved[moved["width"] >= 300]),
        "masks with and": (frame[(frame["similarity"] > 0.25) & (frame["row"] >= 0)],
                           frame.laion.where(OTHER)),
    }  # fmt: skip
    for name, (one, other) in pairs.items():
        result = one.laion.audit(other, by=["language", "text"])
        left = [column for column in want if column != "undecided"]
        assert result[left].equals(want[left]), name
        assert result.attrs["rows"] == want.attrs["rows"], name


def test_partitions_and_order_change_nothing(folder):
    def audit_of(frame):
        return frame.laion.where(ONE).laion.audit(frame.laion.where(OTHER), by="language")

    want = audit_of(ld.read_shards(folder))
    for n in (7, 90, 10_000):
        assert audit_of(ld.read_shards(folder, max_rows_per_partition=n)).equals(want)
    shuffled = ld.read_shards(folder).sample(frac=1.0, random_state=1)
    assert audit_of(shuffled).equals(want)


def test_a_subset_within_the_other_is_an_exclusion(frame):
    """The numbers equal those of the filter, however the subset was created."""
    want = frame.laion.where(ONE).laion.audit(OTHER, by="language")
    inner = frame.laion.where(f"{OTHER} and {ONE}")
    result = frame.laion.where(ONE).laion.audit(inner, by="language")
    assert set(result["statistic"]) == {"exclusion"} and not result.caveats
    pd.testing.assert_frame_equal(result, want)
    assert result.attrs["rows"]["kept"] == want.attrs["rows"]["kept"]
    mask = frame[(frame["similarity"] > 0.25) & (frame["width"] >= 300)]
    masked = frame[frame["similarity"] > 0.25].laion.audit(mask, by="language")
    pd.testing.assert_frame_equal(masked, want)


def test_a_subset_around_the_other_is_compared(frame):
    label, _, other = by_pandas(frame)
    result = frame.laion.where(OTHER).laion.audit(frame, by="language")
    assert set(result["statistic"]) == {"comparison"}
    row = result[result["group"] == "en"].iloc[0]
    mine = label == "en"
    assert row["n_both"] == row["n_before"] == (mine & other).sum()
    cells = [[(mine & mask).sum(), (~mine & mask).sum()] for mask in (other, ~other)]
    assert row["p"] == pytest.approx(fisher_exact(cells).pvalue)
    assert frame.laion.audit(frame.copy(), by="language")["k"].eq(0).all()


def test_what_goes_back_to_no_frame_by_filters(frame, tmp_path):
    with pytest.raises(OptionError, match="of them in both: after is not a subset of before"):
        frame.laion.where(ONE).laion.audit(frame.sample(frac=0.3, random_state=0), by="language")
    sample = frame.sample(frac=0.5, random_state=0)
    assert set(frame.laion.audit(sample, by="language")["statistic"]) == {"exclusion"}
    kept = frame.dropna(subset=["similarity"])
    assert frame.laion.audit(kept, by="language").attrs["rows"]["kept"] == len(kept)
    write_shard(tmp_path / "other" / "part_0.parquet", laion_table(2000, 9))
    with pytest.raises(OptionError, match="not a subset of before"):
        frame.laion.audit(ld.read_shards(tmp_path / "other"), by="language")
    with pytest.raises(OptionError, match="of them in both"):
        moved = frame.laion.where(OTHER).repartition(npartitions=2)
        frame.laion.where(ONE).laion.audit(moved, by="language")
    for name, where in (("first", ONE), ("second", OTHER)):
        frame.laion.where(where).laion.export(tmp_path / name)
    opened = [ld.read_shards(tmp_path / name) for name in ("first", "second")]
    result = max(opened, key=len).laion.audit(min(opened, key=len), by="language", min_n=0)
    assert "cannot be checked" in result.caveats[0]


def test_few_rows_no_rows_and_a_reference(frame):
    one, other = frame.laion.where(ONE), frame.laion.where("width > 1e9")
    assert one.laion.audit(other, by="language")["rate"].eq(1).all()  # no rows are left
    result = other.laion.audit(one, by="language", min_n=0)
    assert result["value"].isna().all() and result["share_before"].isna().all()
    result = one.laion.audit(frame.laion.where(OTHER), by="language", reference={"en": 1, "de": 3})
    assert result.loc[result["group"] == "de", "share_expected"].tolist() == [0.75]
    few = one.laion.audit(frame.laion.where(OTHER), by="language", min_n=100_000)
    assert not len(few) and few.attrs["suppressed"] == len(result)


def test_no_overlap_is_two_independent_samples():
    k = (np.array([5, 50, 0]), np.array([100, 400, 30]), np.array([9, 20, 0]))
    got = overlap_difference((k[0], k[1]), (0, 0), (k[2], 60))
    want = risk_difference(k[2], 60, k[0], k[1])
    np.testing.assert_allclose(got, want, atol=1e-15)
    p = overlap_test((k[0], k[1]), (0, 0), (k[2], 60))
    np.testing.assert_allclose(p, two_proportions(k[0], k[1], k[2], 60))
    assert math.isnan(overlap_test((0, 0), (3, 9), (0, 0)))
    assert overlap_difference((0, 0), (0, 0), (3, 9))[1:] == (-1, 1)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
@pytest.mark.parametrize("sizes", [(1000, 1000, 1000), (200, 3000, 600), (3000, 500, 1000)])
def test_the_interval_covers(share, sizes):
    """The group's share among rows of one subset only is twice or half that of rows in both."""
    draw = np.random.default_rng(7)
    shares = np.array([share / 2, share, share * 2])
    k = draw.binomial(sizes, shares, (20_000, 3)).T
    _, lo, hi = overlap_difference(*zip(k, sizes, strict=True))
    a, b, c = sizes
    truth = (shares[1:] @ [b, c]) / (b + c) - (shares[:2] @ [a, b]) / (a + b)
    assert 0.93 <= np.mean((lo <= truth) & (truth <= hi)) <= 0.97


def test_no_group_stands_out_where_none_differs():
    """200 groups of 50 rows; each row is in the first subset, in both, or in the second."""
    draw, hits = np.random.default_rng(4), []
    for _ in range(200):
        parts = draw.multinomial(50, [0.2, 0.6, 0.2], 200).T
        p = overlap_test(*((counts, counts.sum()) for counts in parts))
        hits.append((false_discovery_control(p) < 0.05).any())
    assert np.mean(hits) <= 0.05
