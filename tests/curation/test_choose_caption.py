"""One of several captions of a row: the one that a loop chooses."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.frames import both

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError

N = 120


@pytest.fixture(scope="module")
def rows() -> list[dict]:
    draw = np.random.default_rng(0)
    made = []
    for n in range(N):
        k = int(draw.integers(0, 5))
        captions = [
            [None, "", " ", "a", "ab", "日本語の", "abc"][x] for x in draw.integers(0, 7, k)
        ]
        scores = [[None, math.nan, 0.1, 0.5, 0.5, -1.0][x] for x in draw.integers(0, 6, k)]
        row = {
            "url": f"http://{n}",
            "all_captions": None if n % 17 == 0 else captions,
            "all_similarities": None if n % 19 == 0 else scores + [0.3] * (n % 23 == 1),
        }
        row |= {f"c{m}": captions[m] if m < k else None for m in range(2)}
        row |= {f"s{m}": scores[m] if m < k else None for m in range(2)}
        made.append(row)
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("captions")
    types = {"all_captions": pa.list_(pa.string()), "all_similarities": pa.list_(pa.float32())}
    types |= {"url": pa.string(), "c0": pa.string(), "c1": pa.string()}
    types |= {"s0": pa.float64(), "s1": pa.float64()}
    for number, (a, b) in enumerate([(0, 50), (50, 50), (50, N)]):
        columns = {n: pa.array([row[n] for row in rows[a:b]], t) for n, t in types.items()}
        pq.write_table(pa.table(columns), folder / f"{number}.parquet", row_group_size=20)
    return folder


def expected(captions, scores, by):
    """The caption that a loop chooses, and its position."""
    best = None
    if scores is not None and len(scores) != len(captions):
        return None, None
    for n, text in enumerate(captions):
        if text is None or not text.strip():
            continue
        value = {"first": 0, "longest": len(text), "shortest": -len(text)}.get(by)
        if value is None:
            value = scores[n]
            if value is None or math.isnan(value):
                continue
        if best is None or value > best[0]:
            best = value, text, n
    return best[1:] if best else (None, None)


def found(frame, to, number) -> list[tuple]:
    table = frame[[to, number]].compute()
    texts = [t if isinstance(t, str) else None for t in table[to].astype(object)]
    numbers = [None if n != n or n is None else int(n) for n in table[number].astype(float)]
    return list(zip(texts, numbers, strict=True))


@both
@pytest.mark.parametrize("by", ["first", "longest", "shortest", "all_similarities"])
@pytest.mark.parametrize("most", [15, 1000])
def test_captions_in_lists(folder, rows, by, most):
    frame = ld.read_shards(folder, max_rows_per_partition=most)
    chosen = frame.laion.choose_caption("all_captions", by, number="which")
    wanted = []
    for row in rows:
        scores = None if by != "all_similarities" else row["all_similarities"] or []
        wanted.append(expected(row["all_captions"] or [], scores, by))
    assert found(chosen, "text", "which") == wanted
    assert chosen.laion.rows().read == N == len(chosen)


@both
@pytest.mark.parametrize("by", ["first", "longest", "shortest", ["s0", "s1"]], ids=str)
def test_captions_in_columns(folder, rows, by):
    frame = ld.read_shards(folder, max_rows_per_partition=30)
    chosen = frame.laion.choose_caption(["c0", "c1"], by, to="best", number="which")
    wanted = [
        expected([row["c0"], row["c1"]], [row["s0"], row["s1"]], by if isinstance(by, str) else "s")
        for row in rows
    ]
    assert found(chosen, "best", "which") == wanted


def test_rows_without_a_caption_are_unscored_by_a_filter_and_no_rows(folder, rows):
    frame = ld.read_shards(folder)
    chosen = frame.laion.choose_caption("all_captions", "longest")
    counted = chosen.laion.where("text.len() > 1").laion.rows()
    lacking = sum(expected(row["all_captions"] or [], None, "first")[0] is None for row in rows)
    assert counted.unscored == lacking > 0
    assert len(frame.laion.where("url == 'x'").laion.choose_caption("all_captions")) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("s0",), "Expected text"),
        (("all_captions", "s0"), "Expected lists of numbers"),
        ((["c0", "c1"], "s0"), "one column of scores for each"),
        ((["c0", "all_captions"],), "Expected text"),
        (([],), "Expected a column"),
    ],
)
def test_arguments_that_do_not_fit(folder, arguments, message):
    frame = ld.read_shards(folder)
    with pytest.raises(OptionError, match=message):
        frame.laion.choose_caption(*arguments)
    with pytest.raises(OptionError, match="a column already"):
        frame.laion.choose_caption("all_captions", to="url")
    with pytest.raises(ColumnError, match="'longest'"):
        frame.laion.choose_caption("all_captions", "longes")
