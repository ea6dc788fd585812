"""Plots and pages refuse what they cannot draw, and say what they take."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from support.laion_columns import laion_columns

import laion_dask as ld
from laion_dask.errors import OptionError

SERIES = pd.Series(np.linspace(0, 1, 5))


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: ld.show(3), "a plot of HoloViews"),
        (lambda: ld.show(SERIES), "a plot of HoloViews"),
        (lambda: ld.score_plot(SERIES), "what ld.distributions returns"),
        (lambda: ld.threshold_plot(3), "what ld.distributions returns"),
        (lambda: ld.scaling_plot(SERIES), "what ld.plan"),
        (lambda: ld.gallery(3), "a DataFrame of rows"),
        (lambda: ld.gallery(SERIES), "a DataFrame of rows"),
        (lambda: ld.gallery([{"url": "a"}]), "a DataFrame of rows"),
    ],
)
def test_what_is_no_input_is_refused(call, expected):
    with pytest.raises(OptionError, match=expected):
        call()


def test_a_distribution_is_one_column_of_the_result(write):
    frame = ld.read_shards(write("a.parquet", laion_columns(50, 0)))
    several = ld.distributions(frame, "similarity")
    with pytest.raises(OptionError, match=r"ld.distributions\(frame\)\['similarity'\]"):
        ld.score_plot(several)
    ld.score_plot(several["similarity"])
    with pytest.raises(OptionError, match=r"path is 3. Expected the path of the page"):
        frame.laion.datasheet(3)
