"""The map, its labels, the gallery and the table hide the same rows."""

import numpy as np
import pyarrow as pa
import pytest
from support.shards import laion_table

import laion_dask as ld
from laion_dask.explorer.region_labels import RegionLabels
from laion_dask.explorer.safe_rows import safe_rows, why_unsafe
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views.map_hover import card

SCORES = [0.0, 0.49, 0.5, 1.0, -1.0, float("inf"), float("nan"), None]


@pytest.mark.parametrize("dtype", [pa.float16(), pa.float32(), pa.float64()])
def test_a_row_is_hidden_everywhere_or_nowhere(write, dtype):
    table = laion_table(len(SCORES))
    scores = pa.array([None if one is None else np.float16(one) for one in SCORES], pa.float16())
    at = table.schema.names.index("punsafe")
    sample = draw_sample(
        ld.read_shards(write("a.parquet", table.set_column(at, "punsafe", scores.cast(dtype))))
    )
    safe = safe_rows(sample, "punsafe").tolist()
    assert safe == [True, True] + [False] * 6
    reasons = [why_unsafe(sample, position, "punsafe") for position in range(sample.n)]
    assert [reason is None for reason in reasons] == safe
    assert reasons[4] == "punsafe is -1" and reasons[7] == "the row has no punsafe score"
    hidden = [card(sample, at, None, reveal=False)["hidden"] for at in range(sample.n)]
    assert hidden == [not one for one in safe]
    labels = RegionLabels.of_sample(sample, np.zeros((sample.n, 2), np.float32))
    assert len(labels._points) == 2


def test_without_scores_no_row_is_safe(write):
    table = laion_table(3).drop_columns(["punsafe"])
    sample = draw_sample(ld.read_shards(write("a.parquet", table)))
    assert not safe_rows(sample, "punsafe").any()
    assert why_unsafe(sample, 0, "punsafe") == "the rows have no punsafe score"
