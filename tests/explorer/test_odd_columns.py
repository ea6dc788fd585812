"""Bins, labels and orders of odd columns, against the verb `where` and pandas' sort."""

import contextlib
import io
from datetime import datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import laion_dask as ld
from laion_dask.errors import OptionError, SchemaError
from laion_dask.explorer.as_code import as_python, as_recipe
from laion_dask.explorer.columns import CategoryColumn, NumberColumn
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import Categories, NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.selection import Selection

TEXTS = [
    *("<script>alert(1)</script>", "a'b", 'c"d', "back\\slash", "new\nline", "$dollar", "$$"),
    *("", "None", "\N{PARTY POPPER}", "{x}", "%s", "\u202e", "nul\0"),
]
EVIL_NAME = "a b'c\"\\ <script>$x"


def with_odd_values(numbers: np.ndarray) -> np.ndarray:
    numbers = numbers.copy()
    numbers[::17] = np.nan
    numbers[5:9] = np.array([np.inf, -np.inf, 0.0, -0.0])[: max(len(numbers) - 5, 0)]
    return numbers


def odd_table(n: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    hosts = ("a.com", "b.co.uk", "c.de", "127.0.0.1")
    whole = draw.integers(-(2**62), 2**62, n).tolist()
    columns = {
        "url": [f"https://x.{hosts[i % 4]}/{i}" if i % 7 else None for i in range(n)],
        "mark": [TEXTS[i % len(TEXTS)] if i % 9 else None for i in range(n)],
        "f16": with_odd_values(draw.uniform(0, 1, n)).astype(np.float16),
        "f32": with_odd_values(draw.uniform(-1, 1, n)).astype(np.float32),
        "f64": with_odd_values(np.round(draw.uniform(0, 1, n), 2)),
        "f32 as f64": np.round(draw.uniform(0, 1, n), 2).astype(np.float32).astype(np.float64),
        "i8": pa.array([None if i % 11 == 0 else v % 100 for i, v in enumerate(whole)], pa.int8()),
        "i64": pa.array([None if i % 11 == 0 else v for i, v in enumerate(whole)], pa.int64()),
        "u64": draw.integers(0, 2**64 - 1, n, dtype=np.uint64),
        "above 2**53": np.arange(2**53, 2**53 + n),
        "sizes": (draw.pareto(0.5, n) * 10).astype(np.int64),
        "min": draw.uniform(0, 1, n),
        "class": draw.uniform(0, 1e9, n),
        EVIL_NAME: draw.uniform(0, 1e-9, n),
        "\ufb01": draw.integers(0, 3, n),
        "constant": np.full(n, 0.25),
        "no number": pa.nulls(n, pa.float32()),
        "no text": pa.nulls(n, pa.string()),
        "flag": [None if i % 9 == 0 else i % 2 == 0 for i in range(n)],
        "when": [datetime(2020, 1, 1 + i % 28) for i in range(n)],
        "vector": [[1.0, 2.0]] * n,
        "domain": ["x" if i % 2 else "y" for i in range(n)],
    }
    return pa.table(columns)


@pytest.fixture
def frame(write):
    sizes = (60, 45)
    return ld.read_shards([write(f"{i}.parquet", odd_table(n, i)) for i, n in enumerate(sizes)])


#: The columns that are tested on frames which are not as they were read.
SOME = ("f16", "f32", "i8", "double", "mark", "tld", "flag")
FRAMES = {
    "read": lambda frame: frame,
    "filtered": lambda frame: frame.laion.where("f32 > 0"),
    "computed": lambda frame: frame.assign(
        double=frame["f32"] * 2, group=frame["mark"].astype("category")
    ),
    "persisted": lambda frame: frame.persist(),
    "no rows": lambda frame: frame.laion.where("f32 > 5"),
    "few columns": lambda frame: frame[["f16", "shard", "row"]],
}


def pairs(data) -> set[tuple[int, int]]:
    return set(zip(data["shard"].tolist(), data["row"].tolist(), strict=True))


def passing(sample, chosen) -> set[tuple[int, int]]:
    mask = chosen.passes(sample)
    return set(zip(sample.shard[mask].tolist(), sample.row[mask].tolist(), strict=True))


@pytest.mark.parametrize("kind", FRAMES)
def test_bins_and_labels_are_filters_of_the_where_language(frame, kind):
    frame = FRAMES[kind](frame)
    sample = draw_sample(frame)
    selection = Selection(sample)
    assert sample.n == sample.n_rows == len(frame)
    names = list(sample.columns) if kind == "read" else [n for n in SOME if n in sample.columns]
    for name in names:
        column, counts = sample.columns[name], selection.counts(name)
        assert counts.sum() == sample.n
        for chosen, count in filters_of(column, counts):
            rows = passing(sample, chosen)
            assert len(rows) == count, chosen.where
            assert rows == pairs(frame.laion.where(chosen.where).compute()), chosen.where


def filters_of(column, counts):
    """Filters of single bins or labels, with the number of rows that they should have."""
    if isinstance(column, CategoryColumn):
        labels = [*column.labels, None]
        for at in range(0, len(labels), 5):
            yield Categories.of(column, labels[at : at + 3]), counts[at : at + 3].sum()
        return
    for at in {0, int(np.argmax(counts[:-1]))}:
        yield NumberRange(column.name, *column.range_of(at, at)), counts[at]
    yield NumberRange(column.name), counts[:-1].sum()


@pytest.mark.parametrize("kind", ["read"])
def test_bounds_that_are_values_and_bounds_beyond_them(frame, kind):
    frame = FRAMES[kind](frame)
    sample = draw_sample(frame)
    for name, column in sample.columns.items():
        if isinstance(column, NumberColumn) and column.n_missing < sample.n:
            known = column.values[~column.missing()]
            low, high = known.min(), known.max()
            for number, bounds in enumerate(((low, high), (known[3], known[3]), (-1e300, 1e300))):
                chosen = NumberRange(name, *bounds, with_high=number > 0)
                expected = pairs(frame.laion.where(chosen.where).compute())
                assert passing(sample, chosen) == expected, chosen.where


@pytest.mark.parametrize("kind", ["read", "computed"])
def test_orders_have_missing_values_last_and_equal_ones_in_their_order(frame, kind):
    frame = FRAMES[kind](frame)
    data = frame.compute().sort_values(["shard", "row"]).reset_index(drop=True)
    selection = Selection(draw_sample(frame))
    selection.set("f32", NumberRange("f32", -0.5, None))
    kept = selection.mask()
    for name in selection.sample.names:
        values = data[name].astype(object)
        known = [i for i in np.flatnonzero(kept).tolist() if not pd.isna(values[i])]
        missing = [i for i in np.flatnonzero(kept).tolist() if pd.isna(values[i])]
        if name in ("when", "group"):
            values = values.astype(str)
        for descending in (False, True):
            ordered = sorted(known, key=lambda i, v=values: v[i], reverse=descending)
            expected = ordered + missing
            order = selection.sample.order(name, descending)
            assert order[kept[order]].tolist() == expected, name


def test_copied_code_quotes_every_name_and_label(frame, tmp_path):
    exploration = Exploration(draw_sample(frame))
    sample, selection = exploration.sample, exploration.selection
    mark = sample.columns["mark"]
    selection.set("mark", Categories.of(mark, [*mark.labels, None][1:]))
    for name in (EVIL_NAME, "\ufb01", "min", "class"):
        selection.set(name, NumberRange(name, *sample.columns[name].range_of(0, 40)))
    expected = {
        (int(sample.shard[at]), int(sample.row[at])) for at in selection.positions().tolist()
    }
    assert 0 < len(expected) < sample.n
    namespace: dict = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(as_python(exploration), namespace)
    assert pairs(namespace["selected"].compute()) == expected
    (tmp_path / "recipe.yaml").write_text(as_recipe(exploration))
    assert pairs(ld.recipe(tmp_path / "recipe.yaml").apply(frame).compute()) == expected


def test_columns_of_text_with_a_text_a_row_are_no_categories(frame):
    sample = draw_sample(frame)
    categories = [k for k, v in sample.columns.items() if isinstance(v, CategoryColumn)]
    assert categories == ["url.domain()", "tld", "mark", "flag", "domain"]
    assert "vector" not in sample.names
    assert list(sample.page(np.array([2]))["above 2**53"]) == [str(2**53 + 2)]


@pytest.mark.parametrize("bound", [np.nan, "0.3", True])
def test_a_bound_is_a_number(bound):
    with pytest.raises(OptionError, match="Expected a number"):
        NumberRange("similarity", bound)


@pytest.mark.parametrize("name", [5, 1.5, ("a", "b")])
def test_a_name_that_is_no_text_is_named_with_the_remedy(frame, name, tmp_path):
    renamed = frame.map_partitions(
        lambda part: part.rename(columns={"f32": name}),
        meta=frame._meta.rename(columns={"f32": name}),
    )
    with pytest.raises(SchemaError) as raised:
        draw_sample(renamed)
    with pytest.raises(SchemaError, match="Expected text"):
        renamed.laion.export(tmp_path / "out")
    message = str(raised.value)
    assert f"column is {name!r}" in message and "frame.rename(columns=" in message
    again = renamed.rename(columns={name: "f32"})
    assert draw_sample(again).n == len(frame)
