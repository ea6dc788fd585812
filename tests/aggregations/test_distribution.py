"""Distributions and threshold curves against a plain loop, and their plots."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.frames import both

import laion_dask as ld
from laion_dask.dtypes import column_type
from laion_dask.errors import ColumnError, OptionError
from laion_dask.frame.where_kernel import passes
from laion_dask.predicate import parse
from laion_dask.stats import wilson

pytestmark = both


@pytest.fixture
def scored(write):
    """Three shards of scores with nulls, NaN, and values on and beyond the bin edges."""
    rng = np.random.default_rng(0)
    for i, n in enumerate((400, 0, 77)):
        values = rng.random(n)
        values[::7], values[3::50], values[5::60] = np.nan, 0.5, 1.5
        known = [None if k % 11 == 0 else v for k, v in enumerate(values)]
        columns = {
            "punsafe": pa.array(known, pa.float32()),
            "width": pa.array(range(n), pa.int32()),
        }
        write(f"shards/{i}.parquet", columns)
    columns["width"] = pa.array(range(n, 2 * n), pa.int32())
    return write("shards/3.parquet", columns).rpartition("/")[0]


def plain(values: pd.Series, t: float) -> tuple[int, int, int]:
    below = above = unknown = 0
    for v in values:
        if pd.isna(v):
            unknown += 1
        elif v < t:
            below += 1
        else:
            above += 1
    return below, above, unknown


def test_every_threshold_against_a_plain_loop(scored):
    frame = ld.read_shards(scored)
    values = frame["punsafe"].compute()
    result = frame.laion.distributions("punsafe", "width", edges=[0, 0.25, 0.5, 0.75, 1])
    assert list(result) == ["punsafe", "width"]
    below, above = result["punsafe"].thresholds(), result["punsafe"].thresholds("above")
    for at, t in enumerate([0, 0.25, 0.5, 0.75, 1]):
        under, over, unknown = plain(values, t)
        assert tuple(below.loc[at, ["kept", "dropped", "unscored"]]) == (under, over, unknown)
        assert tuple(above.loc[at, ["kept", "dropped", "unscored"]]) == (over, under, unknown)
        assert below.loc[at, "share"] == under / len(values)
        assert tuple(below.loc[at, ["lo", "hi"]]) == pytest.approx(wilson(under, len(values)))
    assert result["punsafe"].n_rows == len(values) == 554
    assert (frame["punsafe"] < 0.5).sum().compute() == below.loc[2, "kept"]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_every_threshold_keeps_what_where_keeps(write, kind):
    edges = [i / 100 for i in range(101)]
    near = np.float32(edges)
    values = [*edges, *near.tolist(), *np.nextafter(near, np.float32(2)).tolist(), None, np.nan]
    values = pa.array(values, pa.float64()).cast(kind, safe=False)
    frame = ld.read_shards(write("shards/0.parquet", {"similarity": values}))
    result = ld.distributions(frame, "similarity")["similarity"]
    kept = {keep: result.thresholds(keep)["kept"] for keep in ("below", "above")}
    seen, column_types = frame.compute(), {"similarity": column_type(frame.dtypes["similarity"])}
    for at, t in enumerate(edges):
        for keep, op in (("below", "<"), ("above", ">=")):
            expression = f"similarity {op} {t!r}"
            assert kept[keep][at] == passes(seen, parse(expression, column_types)).sum(), expression
            if at % 20 == 10:
                assert kept[keep][at] == len(frame.laion.where(expression)), expression


def test_it_does_not_depend_on_the_partitioning_and_sees_filters(scored):
    frame = ld.read_shards(scored)
    one = frame.repartition(npartitions=1).laion.distributions("punsafe")["punsafe"]
    many = ld.distributions(frame, "punsafe")["punsafe"]
    np.testing.assert_array_equal(one.counts, many.counts)
    assert one.n_unscored == many.n_unscored and "unscored" in repr(many)
    edges = (50.0 * i for i in range(3))
    wide = frame.laion.where("width >= 50").laion.distributions("width", edges=edges)
    assert wide["width"].counts[:2].tolist() == [0, 0]
    none = frame.laion.where("width > 5000").laion.distributions("punsafe")["punsafe"]
    assert none.n_rows == 0 and none.thresholds()["share"].isna().all()


def test_what_is_refused(scored):
    frame = ld.read_shards(scored)
    for call, kind, match in [
        (lambda: ld.distributions(frame), OptionError, "No column"),
        (lambda: ld.distributions(frame, "punsaf"), ColumnError, "Did you mean 'punsafe'"),
        (
            lambda: ld.distributions(frame, ["punsafe", "width"]),
            OptionError,
            "as separate arguments",
        ),
        (lambda: ld.distributions(frame, "width", edges=[1, 0]), OptionError, "not ascending"),
        (lambda: ld.distributions(frame, "width", edges=[0, np.nan]), OptionError, "not ascend"),
        (lambda: ld.distributions(frame, "width", edges=[[0, 1]]), OptionError, "not ascend"),
        (lambda: ld.distributions(frame, "width", edges="abc"), OptionError, "edges is 'abc'"),
        (lambda: ld.distributions(frame, "width", edges=["a", "b"]), OptionError, "edges is"),
        (lambda: ld.distributions(frame, "width", edges=[[0], [1, 2]]), OptionError, "edges is"),
        (lambda: ld.distributions(frame, "width", edges=3), OptionError, "edges is 3"),
        (
            lambda: ld.distributions(frame, "width")["width"].thresholds("under"),
            OptionError,
            "Available: above, below",
        ),
    ]:
        with pytest.raises(kind, match=match):
            call()


@pytest.mark.only_pandas
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_plots_mark_thresholds_and_need_no_network(scored):
    result = ld.read_shards(scored).laion.distributions("punsafe")["punsafe"]
    marks = {"LAION, 0.5": 0.5, "<b>strict</b>": 0.1}
    for plot in (
        ld.score_plot(result, marks=marks, title="Scores"),
        ld.threshold_plot(result, marks=marks, title="Kept"),
        ld.threshold_plot(result, keep="above"),
        ld.score_plot(result),
    ):
        page = ld.show(plot).html
        assert "<link" not in page and "<script src" not in page and "punsafe" in page
