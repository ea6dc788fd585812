"""Bins, ranges, chips and code of the largest, smallest and closest numbers, against a loop."""

from __future__ import annotations

import contextlib
import io
import math
import sys

import numpy as np
import pyarrow as pa
import pytest
from support.explorations import exploration_of, state_of

import laion_dask as ld
from laion_dask.explorer.as_code import as_python, as_recipe
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.views.chips import ChipsView
from laion_dask.explorer.views.histograms import HistogramsView
from laion_dask.explorer.views.map_coloring import color_of

LARGEST, SMALLEST = sys.float_info.max, math.ulp(0.0)
N = 60
draw = np.random.default_rng(0)
of_32, of_16 = np.finfo(np.float32), np.finfo(np.float16)
COLUMNS = {
    "largest": np.full(N, LARGEST),
    "lowest": np.full(N, -LARGEST),
    "both ends": np.array([LARGEST, -LARGEST]),
    "whole range": np.append(draw.uniform(-1, 1, N - 2) * LARGEST, [LARGEST, -LARGEST]),
    "with sentinel": np.append(draw.uniform(0, 1, N - 1), LARGEST),
    "with sentinels": np.append(draw.normal(0, 1, N - 2), [LARGEST, -LARGEST]),
    "from end to end": np.array([SMALLEST, LARGEST]),
    "denormal": draw.uniform(0, 1e-310, N),
    "negative denormal": -draw.uniform(0, 1e-310, N),
    "least": draw.integers(-9, 9, N) * SMALLEST,
    "one denormal": np.full(N, SMALLEST),
    "denormal and more": np.append(draw.uniform(0, 1e-310, N - 1), 1e-300),
    "below the largest": np.array([LARGEST, np.nextafter(LARGEST, 0)]),
    "above the lowest": np.array([-LARGEST, np.nextafter(-LARGEST, 0)]),
    "neighbors": np.array([0.1, np.nextafter(0.1, 1)]),
    "float32": np.array([of_32.max, of_32.min, 0, of_32.smallest_subnormal], np.float32),
    "largest float32": np.full(N, of_32.max),
    "denormal float32": draw.integers(-9, 9, N).astype(np.float32) * of_32.smallest_subnormal,
    "one denormal float32": np.array([of_32.smallest_subnormal, 0], np.float32),
    "float32 neighbors": np.array([of_32.max, np.nextafter(of_32.max, np.float32(0))]),
    "float16": np.array([of_16.max, of_16.min, 0, of_16.smallest_subnormal], np.float16),
    "largest float16": np.full(N, of_16.max),
    "denormal float16": draw.integers(-9, 9, N).astype(np.float16) * of_16.smallest_subnormal,
    "int64": np.array([2**63 - 1, -(2**63), 0, 2**63 - 2]),
    "largest int64": np.array([2**63 - 1, 2**63 - 2]),
    "lowest int64": np.array([-(2**63)]),
    "uint64": np.array([2**64 - 1, 0, 2**63, 2**64 - 2], np.uint64),
    "largest uint64": np.array([2**64 - 1, 2**64 - 2], np.uint64),
}


@pytest.fixture(scope="module")
def sampled(tmp_path_factory):
    columns = {name: np.resize(values, N) for name, values in COLUMNS.items()}
    return exploration_of(tmp_path_factory.mktemp("extremes"), pa.table(columns))


@pytest.fixture
def exploration(sampled):
    sampled.selection.clear()
    return sampled


def bound_of(edge: float | None, dtype: np.dtype) -> float | None:
    """An edge as the ``where`` language compares it with a column of a dtype.

    It is rounded to float32 for both; a value of float16 that is the edge, rounded, also equals it.
    """
    if edge is None or dtype not in (np.float16, np.float32):
        return edge
    with np.errstate(over="ignore"):
        rounded, half = float(np.float32(edge)), float(np.float16(edge))
    bound = rounded if rounded != 0 and math.isfinite(rounded) else edge
    is_near = dtype == np.float16 and half != 0 and math.isfinite(half)
    return min(bound, half) if is_near else bound


@pytest.mark.parametrize("name", COLUMNS)
def test_each_bin_and_its_range_have_the_rows_of_a_loop(exploration, name):
    selection, column = exploration.selection, exploration.sample.columns[name]
    histograms = HistogramsView(exploration)
    histograms._columns = [column]  # a page has fewer histograms than there are columns here
    histograms.refresh()
    counts = state_of(histograms)["columns"][0]["counts"]
    assert np.isfinite(column.edges).all() and (column.edges[1:] > column.edges[:-1]).all()
    values = np.resize(COLUMNS[name], N).tolist()
    assert len(counts) == column.n_bins and sum(counts) == N
    for number in {0, *np.flatnonzero(counts).tolist(), column.n_bins - 1}:
        histograms._receive({"kind": "bins", "column": 0, "first": number, "last": number})
        edges = column.range_of(number, number)
        low, high = (bound_of(edge, COLUMNS[name].dtype) for edge in edges)
        passes = [
            (low is None or value >= low) and (high is None or value < high) for value in values
        ]
        assert selection.mask().tolist() == passes and counts[number] == sum(passes)
        selection.clear()


@pytest.mark.parametrize("name", COLUMNS)
def test_code_of_a_bin_has_its_rows_and_labels_are_short(exploration, name, tmp_path):
    selection, column = exploration.selection, exploration.sample.columns[name]
    number = int(np.argmax(np.bincount(column.codes)))
    selection.set(name, NumberRange(name, *column.range_of(number, number)))
    chips = ChipsView(exploration)
    assert "inf" not in (label := state_of(chips)["chips"][0]["label"]) and len(label) < 80
    low, high = color_of(exploration.sample, f"mean:{name}").ends
    assert "inf" not in low + high and len(low + high) < 60
    namespace: dict = {"frame": exploration.frame}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(as_python(exploration), namespace)
    rows = exploration.sample.row[selection.positions()].tolist()
    assert namespace["selected"]["row"].compute().tolist() == rows
    (tmp_path / "recipe.yaml").write_text(as_recipe(exploration))
    kept = ld.recipe(tmp_path / "recipe.yaml").apply(exploration.frame)
    assert kept["row"].compute().tolist() == rows
