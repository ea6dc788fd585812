"""Properties of every frame: all rows are accounted for, and verbs neither compute nor guess."""

import dask.dataframe as dd
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.frames import both
from support.partitionings import read_combined
from support.property_tests import examples
from support.shards import collection, cosine, laion_table, vectors, write_shard

import laion_dask as ld
from laion_dask.errors import ProvenanceError

pytestmark = both


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("rows")
    for i, n in enumerate((40, 0, 33, 27)):
        write_shard(path / f"part_{i}.parquet", laion_table(n, i))
    return str(path)


def check(frame, read: int | None = None) -> ld.Rows:
    """The four counts add up to the rows read, and as many rows are kept as the frame has."""
    rows = ld.rows(frame)
    assert rows.read == rows.kept + rows.dropped + rows.unscored + rows.rejected
    assert rows.kept == len(frame.compute())
    assert min(rows.kept, rows.dropped, rows.unscored, rows.rejected) >= 0
    if read is not None:
        assert rows.read == read
    return rows


def unknown(frame: pd.DataFrame, *columns: str) -> int:
    return int(frame[list(columns)].isna().any(axis=1).sum())


def test_all_rows_are_accounted_for(folder):
    frame = ld.read_shards(folder)
    plain = frame.compute()
    assert check(frame) == ld.Rows(100, 100, 0, 0, 0)
    one = check(frame.laion.where("similarity > 0.3"), 100)
    assert one.unscored == unknown(plain, "similarity")
    assert one.kept == (plain["similarity"] > 0.3).sum()
    assert str(one).startswith("100 read = ")


def test_several_filters(folder):
    frame = ld.read_shards(folder)
    plain = frame.compute()
    in_one = check(ld.read_shards(folder, where="similarity > 0.2 and punsafe < 0.8"), 100)
    pushed = check(frame.laion.where("similarity > 0.2").laion.where("punsafe < 0.8"), 100)
    assert in_one == pushed
    filled = frame.assign(twice=frame["height"] * 2)
    mapped = filled.laion.where("similarity > 0.2").laion.where("punsafe < 0.8")
    assert check(mapped, 100) == pushed
    one, two = plain["similarity"], plain["punsafe"]
    refused = (one <= 0.2) | (two >= 0.8)
    assert pushed.unscored == (~refused & (one.isna() | two.isna())).sum()


def test_masks_of_the_users_own_are_dropped_rows(folder):
    frame = ld.read_shards(folder)
    similar = check(frame[frame["similarity"] > 0.3], 100)
    assert similar == check(frame.laion.where("similarity > 0.3"), 100)
    rows = check(frame[frame["height"] > 500], 100)
    assert rows.unscored == 0 and rows.dropped == (frame["height"] <= 500).sum().compute()
    mixed = frame.laion.where("similarity > 0.2")
    mixed = mixed[mixed["height"] > 500].laion.where("punsafe < 0.5")
    assert check(mixed, 100).unscored > 0


def test_projections_count_once(folder):
    frame = ld.read_shards(folder)
    with_new = frame.assign(
        new=frame[["row"]].map_partitions(lambda p: p["row"] * 2, meta=("new", int))
    )
    for columns in (["new"], ["new", "url"], ["new", "row"], ["shard", "new"], ["url"]):
        assert check(with_new[columns], 100).dropped == 0
    filtered = with_new.laion.where("new > 10 and similarity > 0.2")
    whole = check(filtered, 100)
    for columns in (["new"], ["url"], ["row", "new"]):
        assert check(filtered[columns], 100) == whole


def test_partitions_and_samples(folder):
    frame = ld.read_shards(folder)
    assert check(frame.partitions[0], 40).dropped == 0
    assert check(frame.partitions[[3, 0]], 67).dropped == 0
    filtered_once = frame.laion.where("similarity > 0.2")
    assert check(filtered_once.partitions[2], 33).kept < 33
    assert check(filtered_once.partitions[1], 0).kept == 0
    sample = check(frame.sample(frac=0.5, random_state=1), 100)
    assert sample.dropped == 100 - sample.kept and sample.unscored == 0
    assert check(filtered_once.sample(frac=0.5, random_state=1), 100).unscored > 0
    assert check(frame.repartition(npartitions=2).laion.where("width > 9"), 100).unscored > 0


def test_several_reads(folder, tmp_path):
    other = write_shard(tmp_path / "more.parquet", laion_table(50, 9))
    one = ld.read_shards(folder, where="similarity > 0.2")
    two = ld.read_shards(other, where="width > 500")
    both = check(dd.concat([one, two]), 150)
    apart = [check(one), check(two)]
    assert both.kept == sum(r.kept for r in apart)
    assert both.unscored == sum(r.unscored for r in apart)
    halves = dd.concat([one.partitions[:2], one.partitions[2:]])
    assert check(halves, 100) == apart[0]


@pytest.mark.only_pandas
@pytest.mark.filterwarnings("ignore:Merging dataframes with merge column")
def test_merges(folder):
    frame = ld.read_shards(folder)
    names = pd.DataFrame({"language": ["en", "de"], "name": ["English", "German"]})
    names = names.astype({"language": frame["language"].dtype})
    rows = check(frame.merge(names, on="language"), 100)
    assert rows.kept == frame["language"].isin(["en", "de"]).sum().compute()
    twice = pd.concat([names] * 5)
    with pytest.raises(ProvenanceError, match=r"Row \d+ of .*part_0\.parquet is .* more than once"):
        ld.rows(frame.merge(twice, on="language"))
    with pytest.raises(ProvenanceError, match="end to end"):
        ld.rows(dd.concat([frame, frame]))
    with pytest.raises(ProvenanceError, match="duplicated"):
        frame.merge(twice, on="language").laion.summary()


@pytest.mark.only_pandas
def test_frames_from_elsewhere(folder):
    frame = ld.read_shards(folder)
    for stray in (
        dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1),
        frame.persist(scheduler="sync"),
    ):
        with pytest.raises(ProvenanceError, match="does not lead back to read_shards"):
            ld.rows(stray)


TESTS = st.sampled_from(
    [
        "similarity > 0.3",
        "not similarity > 0.3",
        "width >= 700",
        "punsafe < 0.5 or width is None",
        "language in ('en', 'de')",
        "text.contains('bird')",
        "text is None",
        "similarity > 0.2 and not language == 'fr'",
    ]
)


@given(st.lists(TESTS, min_size=1, max_size=3), st.booleans(), st.integers(1, 40))
@examples(4)
def test_filters_in_any_company(folder, tests, mapped, most):
    frame = ld.read_shards(folder, max_rows_per_partition=most)
    whole = ld.read_shards(folder)
    combined = read_combined(folder)
    assert combined.npartitions == 1
    if mapped:
        frame, whole = frame.assign(one=1), whole.repartition(npartitions=1)
    for text in tests:
        frame, whole = frame.laion.where(text), whole.laion.where(text)
        combined = combined.laion.where(text)
    assert check(frame, 100) == check(whole, 100) == check(combined, 100)
    pairs = [
        set(zip(f["shard"], f["row"], strict=True))
        for f in (frame.compute(), whole.compute(), combined.compute())
    ]
    assert pairs[0] == pairs[1] == pairs[2]


@given(
    st.integers(1, 12),
    st.integers(2, 40),
    st.sampled_from(["float16", "float32"]),
    st.integers(0, 9),
)
@examples(15)
def test_cosines_of_any_shape(tmp_path_factory, n, dim, dtype, seed):
    c = collection(tmp_path_factory.mktemp("c"), (n, n + 3), dim=dim, dtype=dtype)
    emb = ld.open_embeddings(c.img_emb, model=c.model)
    query = vectors(1, dim, seed=seed)[0]
    got = ld.read_shards(c.metadata).laion.similarity(emb, query).compute()
    for shard, row, value in zip(got["shard"], got["row"], got["query_similarity"], strict=True):
        assert value == pytest.approx(cosine(c.images[shard][row], query), abs=1e-6)
