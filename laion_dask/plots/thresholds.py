"""Plots of score distributions and of the share of rows kept at each threshold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import pandas as pd

from laion_dask.errors import must_be
from laion_dask.plots.description import Axis, Curve, CurvePanel, Mark, Plot
from laion_dask.plots.histogram import bar_panel
from laion_dask.plots.interactive import render
from laion_dask.plots.palette import GREY

_EXPECTED = "one column of what ld.distributions returns: ld.distributions(frame)['similarity']"


@runtime_checkable
class Distribution(Protocol):
    """The interface of `laion_dask.Distribution` that these plots use."""

    column: str
    counts: np.ndarray
    edges: np.ndarray
    n_rows: int
    n_scored: int

    def outside(self) -> str:
        """A description of how many rows lie outside the edges; empty if none do."""

    def thresholds(self, keep: str) -> pd.DataFrame:
        """The rows kept at each threshold."""


def score_plot(distribution: Distribution, *, marks: Mapping[str, float] | None = None, title=""):
    """Plot the distribution of a score with logarithmic counts, as HoloViews. Eager.

    Parameters
    ----------
    distribution : Distribution
        Values outside its edges are not drawn; the axis label gives their number.
    marks : mapping of str to float, optional
        Thresholds to mark, by name.
    title : str

    Raises
    ------
    OptionError
        When ``distribution`` is something else.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = frame.laion.distributions("similarity")
    >>> plot = ld.score_plot(found["similarity"], marks={"our threshold": 0.3})
    """
    must_be("distribution", distribution, Distribution, _EXPECTED)
    outside, label = distribution.outside(), distribution.column
    panel = bar_panel(
        distribution.counts[1:-1],
        distribution.edges,
        label=label,
        marks=_marks(marks),
        title=title,
    )
    if outside:
        panel = replace(panel, x=Axis(f"{label} (not drawn: {outside})"))
    return render(Plot((panel,), has_tools=True))


def threshold_plot(
    distribution: Distribution,
    *,
    keep: str = "below",
    marks: Mapping[str, float] | None = None,
    title: str = "",
):
    """Plot the share of rows kept at each threshold, with its 95 % band, as HoloViews. Eager.

    Parameters
    ----------
    distribution : Distribution
    keep : str
        ``"below"`` or ``"above"``, as for ``Distribution.thresholds``.
    marks : mapping of str to float, optional
        Thresholds to mark, by name.
    title : str

    Raises
    ------
    OptionError
        For another ``keep``, or when ``distribution`` is something else.
    MissingExtraError
        When HoloViews is not installed.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> found = frame.laion.distributions("similarity")
    >>> plot = ld.threshold_plot(found["similarity"], keep="above", marks={"our threshold": 0.3})
    """
    must_be("distribution", distribution, Distribution, _EXPECTED)
    table = distribution.thresholds(keep)
    at, share = table["threshold"].to_numpy(), 100 * table["share"].to_numpy()
    lo, hi = 100 * table["lo"].to_numpy(), 100 * table["hi"].to_numpy()
    scored = 100 * distribution.n_scored / max(1, distribution.n_rows)
    tips = {
        "threshold": tuple(f"{value:.6g}" for value in at),
        "rows kept": tuple(
            f"{n:,} ({value:.4g} %)" for n, value in zip(table["kept"], share, strict=True)
        ),
        "95 % interval": tuple(f"{a:.4g} % to {b:.4g} %" for a, b in zip(lo, hi, strict=True)),
    }
    kept = Curve(
        "rows kept", tuple(at), tuple(share), tuple(lo), tuple(hi), band_name="95 % interval",
        tips=tips,
    )  # fmt: skip
    ceiling = Curve("rows scored", (at[0], at[-1]), (scored, scored), color=GREY, dash="dotted")
    panel = CurvePanel(
        title,
        (kept, ceiling),
        x=Axis(f"threshold on {distribution.column}, keep {keep}"),
        y=Axis("rows kept, %", ends=(0, 104)),
        marks=_marks(marks),
        height=320,
    )
    return render(Plot((panel,), has_tools=True))


def _marks(marks: Mapping[str, float] | None) -> tuple[Mark, ...]:
    return tuple(Mark(value, name) for name, value in dict(marks or {}).items())
