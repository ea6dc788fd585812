"""A table of statistics as points with intervals, or as curves with bands, in HoloViews."""

from __future__ import annotations

import textwrap
from functools import partial

import numpy as np
import pandas as pd

from laion_dask.caveats import caveats_of
from laion_dask.errors import OptionError, did_you_mean
from laion_dask.plots.axis_labels import hover_columns, in_lines, percent, plain_text, tooltips
from laion_dask.plots.offline_page import holoviews
from laion_dask.plots.panels import Panel, panels
from laion_dask.validation import whole

_BLUE, _ORANGE, _GREY, _INK = "#3b7dd8", "#d9822b", "#52606d", "#1f2933"
#: Colours that stay apart without colour vision; Okabe, M., Ito, K. (2008). Color universal design.
_COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#000000",
)  # fmt: skip
#: Of a panel, in pixels.
_WIDTH, _LINE = 760, 20
#: A ratio is drawn up to this many times less or more than 1.
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
    """The results of a table with their intervals, as HoloViews. Eager.

    Groups are under each other, in the table's order, with a dashed line at the rate of all rows;
    results at several thresholds are curves with bands; statistics, terms and axes of grouping
    have panels of their own, but many terms share one, with a colour a group. A group that a filter
    amplifies (``verdict``) is drawn in orange. Hovering tells the numbers. Text from the data stays
    text. A caveat of the table stands beneath.

    Parameters
    ----------
    result : Table
    show : str, optional
        The column that is drawn, with ``<show>_lo`` and ``<show>_hi`` as its interval, such as
        ``"ratio"``, which has a logarithmic axis. By default the rate, and of results that have
        none the value.
    title : str, optional
        Instead of a panel's own; above all, where there are several panels.
    top : int
        Groups or terms of a panel, the first ones; its title says how many there are.
    sort : str, optional
        The column whose largest numbers come first, such as ``"rate"`` or ``"n"``; by default the
        table's order.
    most_panels : int
        Panels; a last one says how many more there are.
    width : int
        Pixels.

    Returns
    -------
    holoviews object
        One plot, or a layout of several under each other; see `laion_dask.show`.

    Raises
    ------
    OptionError
        When the table has no such column of numbers, or an option is out of its range.
    MissingExtraError
        When HoloViews is not installed.
    """
    if not isinstance(result, pd.DataFrame):
        raise OptionError(f"A {type(result).__name__} was given. Expected a table of statistics.")
    for name, value, least in (("top", top, 1), ("most_panels", most_panels, 1)):
        whole(name, value, "a whole number", least)
    whole("width", width, "a whole number of pixels", 200)
    hv = holoviews()
    found = panels(_sorted(result, sort), show, top)
    alone = title if len(found) == 1 else None
    drawn = [_drawn(hv, panel, width, alone) for panel in found[:most_panels]]
    if title is not None and alone is None:
        drawn.insert(0, _words(hv, title, width, is_title=True))
    if len(found) > most_panels:
        drawn.append(_words(hv, _not_drawn(result, len(found), most_panels), width))
    if not drawn:
        drawn.append(_words(hv, "No results to draw", width))
    drawn += [_words(hv, caveat, width) for caveat in caveats_of(result)]
    if len(drawn) == 1:
        return drawn[0]
    return hv.Layout(drawn).cols(1).opts(shared_axes=False, toolbar=None)


def _sorted(result: pd.DataFrame, sort: str | None) -> pd.DataFrame:
    """The table with the largest numbers of a column first; rows without one come last."""
    if sort is None:
        return result
    numbers = [name for name in result if pd.api.types.is_numeric_dtype(result[name])]
    if sort not in numbers:
        raise OptionError(f"sort is {sort!r}.{did_you_mean(str(sort), numbers)}")
    return result.sort_values(sort, ascending=False, kind="stable")


def _not_drawn(result: pd.DataFrame, n: int, drawn: int) -> str:
    """How many panels are left out, and how to see them."""
    said = f"{n - drawn:,} more panels are not drawn: plot(most_panels={n}) draws them"
    names = result["statistic"].unique() if "statistic" in result else []
    return said + (f", of({names[-1]!r}).plot() one statistic" if len(names) > 1 else "")


def _words(hv, words: str, width: int, is_title: bool = False):
    """Words in a picture of their own: what Panel would make of a Div needs more than BokehJS."""
    lines = [plain_text(line, None) for line in textwrap.wrap(words, max(20, width // 10))]
    text = hv.Text(0, 0.5, "\n".join(lines), halign="left")
    look = ("13pt", "bold", _INK) if is_title else ("9pt", "normal", _GREY)
    font = dict(zip(("text_font_size", "text_font_style", "text_color"), look, strict=True))
    return text.opts(**font, xlim=(0, 1), ylim=(0, 1)).opts(
        width=width, height=24 + 16 * len(lines), xaxis=None, yaxis=None, toolbar=None,
        show_frame=False, hooks=[_bare],
    )  # fmt: skip


def _bare(plot, element) -> None:
    plot.state.outline_line_color = None


def _drawn(hv, panel: Panel, width: int, title: str | None):
    plot = _curve_panel(hv, panel) if panel.curves else _point_panel(hv, panel)
    named = panel.title if title is None else " ".join(filter(None, (title, panel.left_out)))
    # HoloViews takes braces in a title for names of its own.
    said = in_lines(named, max(20, width // 9)).replace("{", "{{").replace("}", "}}")
    return plot.opts(
        width=width, title=said, toolbar=None, fontsize={"title": "11pt"}, active_tools=[]
    )


def _point_panel(hv, panel: Panel):
    """Points with intervals, one line a label, the first on top."""
    frame = panel.frame
    labels, series = frame["label"].unique(), frame["series"].unique()
    place = {label: -float(i) for i, label in enumerate(labels)}
    far = min(0.32, 0.09 * len(series))
    shift = np.linspace(far, -far, len(series)) if len(series) > 1 else np.zeros(1)
    ends = _ends(panel)
    parts = []
    if np.isfinite(panel.line):
        parts.append(hv.VLine(panel.line).opts(color=_GREY, line_dash="dashed", line_width=1.5))
    for number, name in enumerate(series):
        rows = frame[frame["series"] == name]
        colour = _COLOURS[number % len(_COLOURS)] if len(series) > 1 else _BLUE
        y = rows["label"].map(place) + shift[number]
        for mask, shade in ((~rows["marked"], colour), (rows["marked"], _ORANGE)):
            if mask.any():
                named = in_lines(name, 24) if len(series) > 1 else _verdict(frame, mask)
                parts += _points(hv, panel, rows[mask], y[mask], ends, shade, named)
        parts += _by_chance(hv, rows, y)
    ticks = [(y, in_lines(label)) for label, y in place.items()]
    lines = max(label.count("\n") for _, label in ticks)
    step = max(_LINE, 9 * len(series) + 4 if len(series) > 1 else 0) + 13 * lines
    coloured = frame["marked"] | frame["by_chance"].notna()
    has_legend = len(series) > 1 or bool(coloured.any())
    return hv.Overlay(parts).opts(
        yticks=ticks,
        ylabel="",
        xlabel=plain_text(panel.axis_label) + _line_meaning(panel),
        ylim=(-len(labels) + 0.4, 0.6),
        xlim=ends,
        logx=panel.is_ratio,
        hooks=[partial(_tell_axis, axis="xaxis", form=_form(panel))],
        height=90 + step * len(labels) + (20 if has_legend else 0),
        show_grid=True,
        **_legend(has_legend),
    )


def _by_chance(hv, rows: pd.DataFrame, y: pd.Series) -> list:
    """What chance alone makes of each value, where the table says it."""
    known = rows["by_chance"].notna()
    if not known.any():
        return []
    points = hv.Points((rows["by_chance"][known], y[known]), label="expected by chance")
    return [points.opts(color=None, line_color=_GREY, marker="diamond", size=9)]


def _verdict(frame: pd.DataFrame, mask: pd.Series) -> str:
    """What a colour means where only the verdict sets it."""
    if not frame["marked"].any():
        return ""
    return "amplified" if frame["marked"][mask].all() else "not amplified"


def _line_meaning(panel: Panel) -> str:
    """What the dashed line across is, told at the axis."""
    if not np.isfinite(panel.line):
        return ""
    if panel.line != panel.overall:
        return f" (dashed: {panel.line:g}, no difference)"
    tell = percent if panel.is_share else "{:,.4g}".format
    return f" (dashed: all rows, {tell(panel.overall)})"


def _points(hv, panel: Panel, rows: pd.DataFrame, y: pd.Series, ends, colour: str, name: str):
    """The intervals of some results, and their points; what lies outside is drawn at the end."""
    told = hover_columns(panel, rows)
    known = (rows["lo"].notna() & rows["hi"].notna()).to_numpy()
    lo, hi = (rows[end].clip(*ends).to_numpy()[known] for end in ("lo", "hi"))
    at = y.to_numpy()
    value = rows["value"].clip(*_within(ends, panel.is_ratio))
    inside = (value == rows["value"]).to_numpy()
    bars = hv.Segments((lo, at[known], hi, at[known]), ["from", "y", "to", "y2"])
    drawn = [bars.opts(color=colour, line_width=2)]
    for mask, marker, size in ((inside, "circle", 8), (~inside, "x", 9)):
        if not mask.any():
            continue
        some = {"x": value.to_numpy()[mask], "y": at[mask]}
        some |= {key: texts[mask] for key, texts in told.items()}
        points = hv.Points(some, ["x", "y"], list(told), label=name)
        points = points.opts(color=colour, marker=marker, size=size, line_color="white")
        points = points if marker == "circle" else points.opts(line_color=colour)
        drawn.append(points.opts(tools=["hover"], hover_tooltips=tooltips(told)))
    return drawn


def _curve_panel(hv, panel: Panel):
    """A curve over the threshold for each group, its interval as a band."""
    frame = panel.frame
    series = frame["series"].unique()
    several = len(series) > 1
    parts = []
    colours = iter(_COLOURS if several else (_BLUE,))
    for name in series:
        rows = frame[frame["series"] == name]
        everything = several and rows["axis"].iloc[0] == "" and (frame["axis"] != "").any()
        colour = _GREY if everything else next(colours)
        known = rows[np.isfinite(rows["lo"]) & np.isfinite(rows["hi"])]
        band = hv.Area((known["threshold"], known["lo"], known["hi"]), "threshold", ["lo", "hi"])
        told = hover_columns(panel, rows)
        data = {"threshold": rows["threshold"].to_numpy(), "y": rows["value"].to_numpy(), **told}
        named = {"label": in_lines(name, 24)} if several else {}
        line = hv.Curve((data["threshold"], data["y"]), "threshold", "y", **named)
        dots = hv.Points(data, ["threshold", "y"], list(told))
        parts += [
            band.opts(color=colour, alpha=0.18, line_alpha=0),
            line.opts(color=colour, line_width=2, line_dash="dashed" if everything else "solid"),
            dots.opts(color=colour, size=5, tools=["hover"], hover_tooltips=tooltips(told)),
        ]
    steps = frame["threshold"]
    edge = 0.02 * (steps.max() - steps.min())
    return hv.Overlay(parts).opts(
        xlabel=plain_text(panel.threshold_label),
        xlim=(float(steps.min() - edge), float(steps.max() + edge)),
        ylim=_ends(panel),
        ylabel=plain_text(panel.axis_label),
        hooks=[partial(_tell_axis, axis="yaxis", form=_form(panel))],
        logy=panel.is_ratio,
        height=340,
        show_grid=True,
        **_legend(several),
    )


def _ends(panel: Panel) -> tuple[float, float]:
    """The ends of the axis, around all that is finite; hardly below 0 for shares."""
    numbers = panel.frame[["value", "lo", "hi", "by_chance"]].to_numpy().ravel()
    found = np.append(numbers, panel.overall)
    found = found[np.isfinite(found)]
    if panel.is_ratio:
        found = np.log(np.clip(np.append(found[found > 0], 1.0), 1 / _FARTHEST, _FARTHEST))
    low, high = (found.min(), found.max()) if len(found) else (0.0, 1.0)
    edge = 0.05 * (high - low) or 0.05 * abs(high) or 0.5
    if panel.is_ratio:
        return float(np.exp(low - edge)), float(np.exp(high + edge))
    low = max(low - edge, -0.02 * high) if panel.is_share and high > 0 else low - edge
    return float(low), float(high + edge)


def _within(ends: tuple[float, float], logarithmic: bool) -> tuple[float, float]:
    """Where a point is drawn that lies beyond an end: a little inside of it."""
    low, high = np.log(ends) if logarithmic else ends
    low, high = low + 0.015 * (high - low), high - 0.015 * (high - low)
    return (float(np.exp(low)), float(np.exp(high))) if logarithmic else (low, high)


def _form(panel: Panel) -> str:
    return "0.[0000]%" if panel.is_share else "0,0.[0000]"


def _tell_axis(plot, element, axis: str, form: str) -> None:
    """Have an axis tell its numbers in a form; anew in each picture, since Bokeh shares none."""
    from bokeh.models import NumeralTickFormatter

    shown = plot.state.x_range if axis == "xaxis" else plot.state.y_range
    if shown.end - shown.start < 0.001:  # finer than the form; Bokeh's own takes digits as needed
        return
    for one in getattr(plot.state, axis):
        one.formatter = NumeralTickFormatter(format=form)


def _legend(wanted: bool) -> dict:
    if not wanted:
        return {"show_legend": False}
    return {
        "show_legend": True,
        "legend_position": "right",
        "legend_limit": 1000,  # parts of a plot; of more, HoloViews leaves the legend out
        "legend_opts": {"location": "top", "border_line_color": None},
    }
