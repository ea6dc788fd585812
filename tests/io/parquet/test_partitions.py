"""How shards become partitions: large ones are split by row groups, small ones are combined."""

from __future__ import annotations

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.property_tests import examples

from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet import partitions
from laion_dask.io.parquet.read_shards import MAX_ROWS_PER_PARTITION, read_shards
from laion_dask.io.parquet.shard import Piece, ScanPartition, Shard, shards_of

pytestmark = pytest.mark.usefixtures("combined_shards")

#: A hundred bytes a row, as in LAION's metadata.
ROW_BYTES = 100


def shard(index: int, n_rows: int, size: int | None = None) -> Shard:
    size = n_rows * ROW_BYTES if size is None else size
    return Shard(index, f"{index}.parquet", n_rows, size, f"digest {index}", ())


def partitioned(rows, max_rows=MAX_ROWS_PER_PARTITION, sizes=None, groups=None):
    """The ranges of the partitions of shards of so many rows: lists of (shard, start, stop)."""
    sizes = sizes or [None] * len(rows)
    shards = [shard(i, n, size) for i, (n, size) in enumerate(zip(rows, sizes, strict=True))]
    made = partitions.partitions_of(shards, groups or [[n] for n in rows], max_rows)
    assert all(piece.shard is shards[piece.shard.index] for part in made for piece in part.pieces)
    return [[(piece.shard.index, piece.start, piece.stop) for piece in p.pieces] for p in made]


def numbers(made) -> list[list[int]]:
    return [[index for index, _, _ in partition] for partition in made]


def test_few_rows_are_one_partition():
    assert partitioned([4, 0, 1, 9]) == [[(0, 0, 4), (1, 0, 0), (2, 0, 1), (3, 0, 9)]]
    assert numbers(partitioned([2_500] * 9)) == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
    assert partitioned([]) == []


def test_a_data_set_of_medium_size_has_128_partitions():
    for shards, rows in ((1_280, 1_000), (1_280, 10_000), (6_400, 2_000), (128 * 50, 20_000)):
        made = partitioned([rows] * shards)
        assert len(made) == 128 and {len(partition) for partition in made} == {shards // 128}
    # With fewer than 128 partitions of 10,000 rows, a partition has 10,000.
    assert len(partitioned([1_000] * 320)) == 32
    # With more rows than 128 partitions of the maximum, a partition has the maximum.
    assert len(partitioned([10_000] * 25_600)) == 256
    assert len(partitioned([10_000] * 25_600, 500_000)) == 512


def test_the_maximum_of_rows_is_kept():
    assert numbers(partitioned([3, 3, 3, 3], 6)) == [[0, 1], [2, 3]]
    assert numbers(partitioned([3, 3, 3, 3], 5)) == [[0], [1], [2], [3]]
    assert numbers(partitioned([1, 2, 3, 4], 4)) == [[0, 1], [2], [3]]


def test_a_large_shard_is_split_and_its_parts_stay_alone():
    groups = [[2], [4, 4, 4], [1], [1]]
    assert partitioned([2, 12, 1, 1], 8, groups=groups) == [
        [(0, 0, 2)],
        [(1, 0, 8)],
        [(1, 8, 12)],
        [(2, 0, 1), (3, 0, 1)],
    ]
    # A single row group is never split, but it is not joined with others either.
    assert numbers(partitioned([1, 20, 1], 8)) == [[0], [1], [2]]


def test_empty_shards():
    assert numbers(partitioned([0, 0, 0])) == [[0, 1, 2]]
    assert numbers(partitioned([0, 5, 0, 5, 0], 5)) == [[0, 1, 2], [3, 4]]
    assert partitioned([0], groups=[[]]) == [[(0, 0, 0)]]
    assert partitioned([0], groups=[[0, 0]]) == [[(0, 0, 0)]]
    assert numbers(partitioned([0, 20, 0], 8, groups=[[], [10, 10], [0]])) == [[0], [1], [1], [2]]


def test_bytes_limit_shards_with_images():
    image = 100 << 20
    assert numbers(partitioned([9] * 5, sizes=[image] * 5)) == [[0, 1], [2, 3], [4]]
    assert numbers(partitioned([9] * 3, sizes=[1, 1 << 30, 1])) == [[0], [1], [2]]
    assert numbers(partitioned([9] * 3, sizes=[1 << 27, 1 << 27, 1])) == [[0, 1], [2]]


def test_a_task_reads_no_more_than_4096_files():
    assert [len(partition) for partition in partitioned([1] * 9_000)] == [4096, 4096, 808]
    assert [len(partition) for partition in partitioned([0] * 4_097)] == [4096, 1]


@examples(200)
@given(
    st.lists(st.lists(st.integers(0, 30_000), max_size=4), max_size=30),
    st.sampled_from([1, 10, 5_000, 20_000, 10**6]),
)
def test_every_row_once_in_order_and_within_the_limits(groups, max_rows):
    rows = [sum(shard_groups) for shard_groups in groups]
    made = partitioned(rows, max_rows, groups=groups)
    pieces = [piece for partition in made for piece in partition]
    at = [0] * len(rows)
    for index, start, stop in pieces:
        assert start == at[index]
        at[index] = stop
    assert at == rows and [index for index, _, _ in pieces] == sorted(i for i, _, _ in pieces)
    assert {index for index, _, _ in pieces} == set(range(len(rows)))
    target = min(max_rows, max(10_000, sum(rows) // 64))
    totals = [sum(stop - start for _, start, stop in partition) for partition in made]
    whole = [[(start, stop) == (0, rows[i]) for i, start, stop in partition] for partition in made]
    for partition, total, are_whole in zip(made, totals, whole, strict=True):
        assert len(partition) == 1 or (total <= target and all(are_whole))
    for i in range(1, len(made)):  # no two partitions could have been one
        _, start, stop = made[i][0]
        if whole[i - 1][0] and whole[i][0]:
            assert totals[i - 1] + stop - start > target


def test_a_frame_has_these_partitions(laion_shards):
    frame = read_shards(laion_shards(4, 0, 1, 9))
    assert frame.npartitions == 1 and len(frame) == 14
    frame = read_shards(laion_shards(4, 0, 1, 9), max_rows_per_partition=5)
    assert [len(partition) for partition in frame.partitions] == [5, 9]
    frame = read_shards(laion_shards(10, 3, row_group_size=3), max_rows_per_partition=6)
    assert [len(partition) for partition in frame.partitions] == [6, 4, 3]
    with dask.config.set(scheduler="sync"):
        assert frame["row"].compute().tolist() == [*range(10), *range(3)]


def test_the_machine_does_not_matter(laion_shards, monkeypatch):
    paths = laion_shards(*[300] * 70)
    before = read_shards(paths)
    monkeypatch.setattr("os.cpu_count", lambda: 999)
    with dask.config.set(num_workers=999):
        after = read_shards(paths)
    assert after._name == before._name and after.npartitions == 3


def test_partitions_are_equal_if_they_read_the_same_rows(laion_shards):
    paths = laion_shards(4, 4, 4)
    one, again = (Provenance.of(read_shards(paths)).as_read[1] for _ in range(2))
    assert one == again == Provenance.of(read_shards(paths, where="width > 0")).as_read[1]
    assert one[0] is not again[0] and len({*one, *again}) == 1
    assert dask.base.tokenize(one) == dask.base.tokenize(again)
    (whole,) = one
    pieces = whole.pieces
    others = [
        ScanPartition(pieces[:2]),
        ScanPartition((*pieces[:2], Piece(pieces[2].shard, 0, 3))),
        *Provenance.of(read_shards(paths, rename={"hash": "number"})).as_read[1],
    ]
    assert len({whole, *others}) == 1 + len(others) and whole != "partition"
    assert list(shards_of([whole, *others[:2]])) == [piece.shard for piece in pieces]
    laion_shards(4, 5, 4)  # other contents
    assert Provenance.of(read_shards(paths)).as_read[1] != one
