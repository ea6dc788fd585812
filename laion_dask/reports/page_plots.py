"""Descriptions of the plots of pages: table points, size quantiles and threshold curves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd
from markupsafe import Markup

from laion_dask.plots.description import (
    Axis,
    Curve,
    CurvePanel,
    Form,
    Mark,
    Panel,
    Point,
    PointPanel,
    series_color,
)
from laion_dask.plots.palette import GREY, SERIES
from laion_dask.plots.static import render

#: The group label for all rows.
_ALL = "(all)"
#: Columns whose quantiles share one plot.
_SIZES = ("width", "height", "text_length")


def picture(panel: Panel) -> Markup:
    """A panel as SVG for a template; empty if there is nothing to draw."""
    return Markup(render(panel))


def point_panel(
    rows: pd.DataFrame,
    name: str,
    title: str,
    *,
    form: Form = Form.SHARE,
    line: Mark | None = None,
    limit: int = 40,
) -> PointPanel:
    """A column of a table with its intervals, one line per group.

    Parameters
    ----------
    rows : DataFrame
        With ``group``, the column and its interval; ``marked`` rows are highlighted.
    name : str
        The column. The interval of ``rate`` and ``value`` is ``lo`` to ``hi``.
    title : str
        The quantity on the axis, with its unit.
    form : Form
        Ratios use a logarithmic axis.
    line : Mark, optional
    limit : int
        Maximum number of points; the panel counts the others.
    """
    ends = ("lo", "hi") if name in ("rate", "value") else (f"{name}_lo", f"{name}_hi")
    marked = rows["marked"] if "marked" in rows else [False] * len(rows)
    columns = (rows["group"], rows[name], rows[ends[0]], rows[ends[1]], marked)
    points = [
        Point(str(group), float(value), float(lo), float(hi), is_marked=bool(is_marked))
        for group, value, lo, hi, is_marked in zip(*columns, strict=True)
    ]
    return PointPanel(
        title,
        tuple(points[:limit]),
        Axis(form=form, is_logarithmic=form is Form.RATIO),
        line,
        n_more=max(0, len(points) - limit),
    )


def size_panel(shares: Sequence[float], quantiles: Mapping[str, Iterable[float]]) -> CurvePanel:
    """Quantiles of width, height and caption length, if known.

    Parameters
    ----------
    shares : sequence of float
    quantiles : mapping of str to sequence of float
        By column: one quantile per share.
    """
    names = [name for name in _SIZES if name in quantiles]
    curves = [
        Curve(
            name.replace("_", " "),
            tuple(shares),
            tuple(map(float, quantiles[name])),
            color=series_color(number),
        )
        for number, name in enumerate(names)
    ]
    measures = ["size (pixels)"] if {"width", "height"} & {*names} else []
    measures += ["caption length (characters)"] if "text_length" in names else []
    title = " and ".join(measures)
    return CurvePanel(
        title[:1].upper() + title[1:],
        tuple(curves),
        x=Axis("share of rows at or below"),
        y=Axis(form=Form.WHOLE, is_logarithmic=True),
    )


def threshold_panel(groups: Sequence[tuple[str, pd.DataFrame]], title: str) -> CurvePanel:
    """Rates over the threshold: a curve with its band for each group, and all rows dashed.

    Only the first groups are drawn, up to the number of colors.
    """
    curves, n_colored = [], 0
    for name, rows in groups[: len(SERIES)]:
        columns = rows[["threshold", "rate", "lo", "hi"]].astype(float).to_numpy()
        x, y, lo, hi = (tuple(column) for column in columns.T.tolist())
        is_all = name == _ALL
        color = GREY if is_all else series_color(n_colored)
        n_colored += not is_all
        dash = "dashed" if is_all else "solid"
        curves.append(Curve(name, x, y, lo, hi, color=color, dash=dash))
    return CurvePanel(
        title,
        tuple(curves),
        x=Axis("threshold"),
        y=Axis(form=Form.SHARE, is_logarithmic=True),
    )
