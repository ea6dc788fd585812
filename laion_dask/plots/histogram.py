"""Histograms of values, with an optional threshold line."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.plots.description import Axis, BarPanel, Mark, Plot
from laion_dask.plots.interactive import render
from laion_dask.plots.offline_page import show as show


def histogram(
    values, *, threshold: float | None = None, bins: int = 60, title: str = "", label: str = "score"
):
    """A histogram with logarithmic counts and an optional threshold line, as HoloViews. Eager.

    Parameters
    ----------
    values : array or Series of float, (n,)
        NaN, null and infinite values are ignored.
    threshold : float, optional
        Position of a dashed line.
    bins : int
    title, label : str
        The title of the plot and the label of its horizontal axis.

    Raises
    ------
    OptionError
        When ``values`` are not numeric. For the result of `distributions`, use `score_plot`.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> plot = ld.histogram(frame["similarity"].compute(), threshold=0.3, label="similarity")
    >>> type(plot).__module__.split(".")[0]
    'holoviews'
    """
    numbers = _numbers(values)
    counts, edges = np.histogram(numbers[np.isfinite(numbers)], bins=bins)
    marks = () if threshold is None else (Mark(threshold, f"threshold {threshold:g}"),)
    return render(Plot((bar_panel(counts, edges, label=label, marks=marks, title=title),),
                       has_tools=True))  # fmt: skip


def _numbers(values) -> np.ndarray:
    """The values as a flat float64 array."""
    of_many = isinstance(values, Mapping)
    each = list(values.values()) if of_many else [values]
    if each and all(hasattr(one, "counts") and hasattr(one, "edges") for one in each):
        column = each[0].column
        one = f"distributions(...)[{column!r}]" if of_many else "the distribution"
        raise OptionError(
            "histogram was given the result of ld.distributions, which is already binned. Expected "
            f"an array or Series of numbers. To plot it: ld.score_plot({one})."
        )
    try:
        return np.asarray(values, dtype="float64").ravel()
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"histogram was given a {type(values).__name__} that is not numeric ({error}). "
            "Expected an array or Series of numbers, such as frame['similarity'].compute()."
        ) from error


def bar_panel(
    counts: np.ndarray, edges: np.ndarray, *, label: str, marks: Sequence[Mark], title: str
) -> BarPanel:
    """Counts between edges; each tooltip shows the bin and the exact number of rows."""
    tips = {
        label: tuple(f"{lo:.6g} to {hi:.6g}" for lo, hi in itertools.pairwise(edges)),
        "rows": tuple(f"{n:,}" for n in counts),
    }
    return BarPanel(
        title,
        tuple(float(edge) for edge in edges),
        tuple(int(n) for n in counts),
        x=Axis(label),
        y=Axis("rows in a bin (logarithmic)", is_logarithmic=True),
        marks=tuple(marks),
        tips=tips,
    )
