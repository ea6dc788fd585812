"""A table of statistics as a plot: points with intervals, or curves with bands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from laion_dask.caveats import caveats_of
from laion_dask.errors import OptionError, did_you_mean
from laion_dask.plots.description import (
    Axis,
    Curve,
    CurvePanel,
    Form,
    Mark,
    Plot,
    Point,
    PointPanel,
    series_color,
)
from laion_dask.plots.interactive import render
from laion_dask.plots.palette import BLUE, GREY
from laion_dask.plots.panels import in_table_only, panels
from laion_dask.plots.plain_text import plain_text
from laion_dask.plots.table_panel import TablePanel
from laion_dask.validation import whole_number

#: Width of a plot in pixels.
_WIDTH = 760
#: Ratios are drawn up to this factor below or above 1.
_FARTHEST = 1000.0


def interval_plot(
    result: pd.DataFrame,
    *,
    show: str | None = None,
    title: str | None = None,
    top: int = 40,
    sort: str | None = None,
    most_panels: int = 12,
    width: int = _WIDTH,
):
    """Plot the results of a table with their intervals, as HoloViews. Eager.

    Groups are listed from top to bottom in the order of the table, with a dashed line at the
    overall rate. Results at several thresholds are curves with bands. Each statistic, term and
    grouping axis has its own panel; many terms share one panel, with one color per group. Groups
    that a filter amplifies (``verdict``) are orange. Of a concentration, the most frequent labels
    are drawn; its indices are in the table. Tooltips show the numbers. Text from the data
    is escaped. The caveats of the table are shown below.

    Parameters
    ----------
    result : Table
    show : str, optional
        The column to plot, with ``<show>_lo`` and ``<show>_hi`` as its interval; for example,
        ``"ratio"``, which uses a logarithmic axis. By default the rate, or the value if there is
        no rate.
    title : str, optional
        Replaces the title of a single panel; with several panels, it is shown above them.
    top : int
        Maximum number of groups or terms per panel; the title gives the total.
    sort : str, optional
        Sort by this column in descending order, such as ``"rate"`` or ``"n"``; by default, keep
        the order of the table.
    most_panels : int
        Maximum number of panels; a note gives the number of the others.
    width : int
        Width in pixels.

    Returns
    -------
    holoviews object
        One plot, or a vertical layout of several; see `laion_dask.show`.

    Raises
    ------
    OptionError
        When the table has no such numeric column, or an option is out of range.
    MissingExtraError
        When HoloViews is not installed.
    """
    return render(
        describe_table(
            result,
            show=show,
            title=title,
            top=top,
            sort=sort,
            most_panels=most_panels,
            width=width,
        )
    )


def describe_table(
    result: pd.DataFrame,
    *,
    show: str | None = None,
    title: str | None = None,
    top: int = 40,
    sort: str | None = None,
    most_panels: int = 12,
    width: int = _WIDTH,
) -> Plot:
    """The description of the plot of `interval_plot`, for any renderer. Eager.

    Parameters and errors are the same as for `interval_plot`.
    """
    if not isinstance(result, pd.DataFrame):
        raise OptionError(
            f"interval_plot was given a {type(result).__name__}. Expected a table of statistics."
        )
    for name, value, minimum in (("top", top, 1), ("most_panels", most_panels, 1)):
        whole_number(name, value, "a whole number", minimum)
    whole_number("width", width, "a whole number of pixels", 200)
    of_table = panels(_sorted(result, sort), show, top)
    single_title = title if len(of_table) == 1 else None
    notes = []
    if len(of_table) > most_panels:
        notes.append(_not_drawn(result, len(of_table), most_panels))
    if show is None and in_table_only(result).any():
        notes.append("Top-k shares and indices are in the table; show='value' draws the indices")
    if not of_table:
        notes.append("No results to draw")
    return Plot(
        tuple(_described(panel, single_title) for panel in of_table[:most_panels]),
        title=title if title is not None and single_title is None else "",
        notes=(*notes, *caveats_of(result)),
        width=width,
    )


def _sorted(result: pd.DataFrame, sort: str | None) -> pd.DataFrame:
    """Sort a table in descending order of a column; rows without a value come last."""
    if sort is None:
        return result
    numbers = [name for name in result if pd.api.types.is_numeric_dtype(result[name])]
    if sort not in numbers:
        raise OptionError(f"sort is {sort!r}.{did_you_mean(str(sort), numbers)}")
    return result.sort_values(sort, ascending=False, kind="stable")


def _not_drawn(result: pd.DataFrame, n: int, drawn: int) -> str:
    """A note on how many panels are omitted, and how to see them."""
    note = f"{n - drawn:,} more panels are not drawn: plot(most_panels={n}) draws them"
    names = list(result["statistic"].unique()) if "statistic" in result else []
    return note + (f", of({names[-1]!r}).plot() one statistic" if len(names) > 1 else "")


def _described(panel: TablePanel, title: str | None) -> PointPanel | CurvePanel:
    title = panel.title if title is None else " ".join(filter(None, (title, panel.left_out)))
    return _curve_panel(panel, title) if panel.curves else _point_panel(panel, title)


def _point_panel(panel: TablePanel, title: str) -> PointPanel:
    """Points with intervals, one line per label."""
    frame = panel.frame
    has_verdict = frame["marked"].any() and frame["series"].nunique() <= 1
    return PointPanel(
        title,
        tuple(_points(panel)),
        axis=Axis(
            plain_text(panel.axis_label) + _line_meaning(panel),
            Form.SHARE if panel.is_share else Form.NUMBER,
            is_logarithmic=panel.is_ratio,
            ends=_ends(panel),
        ),
        line=Mark(panel.line) if np.isfinite(panel.line) else None,
        marked_names=("amplified", "not amplified") if has_verdict else ("", ""),
    )


def _points(panel: TablePanel) -> Iterator[Point]:
    frame = panel.frame
    tips = _tips(panel, frame)
    numbers = frame[["value", "lo", "hi", "by_chance"]].to_numpy(float)
    for number, (value, lo, hi, expected) in enumerate(numbers.tolist()):
        row = frame.iloc[number]
        yield Point(
            row["label"],
            value,
            lo,
            hi,
            series=row["series"],
            is_marked=bool(row["marked"]),
            expected=expected,
            tips=tuple((name, texts[number]) for name, texts in tips.items()),
        )


def _line_meaning(panel: TablePanel) -> str:
    """The meaning of the dashed line, appended to the axis label."""
    if not np.isfinite(panel.line):
        return ""
    if panel.line != panel.overall:
        return f" (dashed: {panel.line:g}, no difference)"
    return f" (dashed: all rows, {_value_text(panel, panel.overall)})"


def _curve_panel(panel: TablePanel, title: str) -> CurvePanel:
    """One curve over the threshold per series, with its interval as a band."""
    frame = panel.frame
    names = frame["series"].unique()
    several = len(names) > 1
    curves, n_colored = [], 0
    for name in names:
        rows = frame[frame["series"] == name]
        is_all = several and rows["axis"].iloc[0] == "" and (frame["axis"] != "").any()
        color = GREY if is_all else series_color(n_colored) if several else BLUE
        n_colored += not is_all
        columns = rows[["threshold", "value", "lo", "hi"]].to_numpy(float)
        x, y, lo, hi = (tuple(column) for column in columns.T.tolist())
        curves.append(
            Curve(
                name if several else "",
                x,
                y,
                lo,
                hi,
                color=color,
                dash="dashed" if is_all else "solid",
                has_dots=True,
                tips=_tips(panel, rows),
            )
        )
    first, last = float(frame["threshold"].min()), float(frame["threshold"].max())
    edge = 0.02 * (last - first)
    return CurvePanel(
        title,
        tuple(curves),
        x=Axis(plain_text(panel.threshold_label), ends=(first - edge, last + edge)),
        y=Axis(
            plain_text(panel.axis_label),
            Form.SHARE if panel.is_share else Form.NUMBER,
            is_logarithmic=panel.is_ratio,
            ends=_ends(panel),
        ),
        legend="right" if several else "",
    )


def _tips(panel: TablePanel, rows: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Tooltips of the rows: a heading, and one text per row."""

    def texts(name: str) -> list[str]:
        return [_value_text(panel, value) for value in rows[name]]

    tips = {"what": [_named(*pair) for pair in zip(rows["term"], rows["group"], strict=True)]}
    tips[panel.measure] = texts("value")
    has_interval = rows["lo"].notna() & rows["hi"].notna()
    if has_interval.any():
        ends = zip(has_interval, texts("lo"), texts("hi"), strict=True)
        tips["interval"] = [f"{lo} to {hi}" if both else "-" for both, lo, hi in ends]
    if rows["by_chance"].notna().any():
        tips["by chance"] = texts("by_chance")
    if rows["threshold"].notna().any():
        tips["threshold"] = [f"{value:g}" for value in rows["threshold"]]
    if rows["n"].notna().any():
        tips["n"] = ["-" if n != n else f"{n:,.0f}" for n in rows["n"]]
    return {name: tuple(column) for name, column in tips.items()}


def _named(term: str, group: str) -> str:
    return " · ".join(plain_text(label, 60) for label in (term, group) if label)


def _value_text(panel: TablePanel, value: float) -> str:
    return f"{100 * value:.4g} %" if panel.is_share else f"{value:,.4g}"


def _ends(panel: TablePanel) -> tuple[float, float]:
    """The limits of the axis: around all finite values, and barely below 0 for shares."""
    values = panel.frame[["value", "lo", "hi", "by_chance"]].to_numpy().ravel()
    values = np.append(values, panel.overall)
    if panel.is_share and panel.frame["label"].nunique() == 1:
        values = np.append(values, 0.0)  # a single share has no other to be compared with
    values = values[np.isfinite(values)]
    if panel.is_ratio:
        values = np.log(np.clip(np.append(values[values > 0], 1.0), 1 / _FARTHEST, _FARTHEST))
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    edge = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    if panel.is_ratio:
        return float(np.exp(low - edge)), float(np.exp(high + edge))
    low = max(low - edge, -0.02 * high) if panel.is_share and high > 0 else low - edge
    return float(low), float(high + edge)
