"""Axes, legends and tooltips of HoloViews plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from laion_dask.plots.description import Axis, Form
from laion_dask.plots.offline_page import TOOLS
from laion_dask.plots.plain_text import plain_text
from laion_dask.plots.ticks import round_ratios

#: Bokeh's formats of numbers and of shares.
_NUMERAL = {Form.SHARE: "0.[0000]%"}
#: A legend that is always shown, regardless of the number of entries.
_LEGEND_LIMIT = 1000


def axis_options(side: str, axis: Axis) -> dict:
    """Options for the label, limits, ticks and scale of an axis.

    Parameters
    ----------
    side : {"x", "y"}
    axis : Axis
    """
    options = {f"{side}label": plain_text(axis.label, None), f"log{side}": axis.is_logarithmic}
    if axis.ends is not None:
        options[f"{side}lim"] = axis.ends
    if axis.ticks:
        options[f"{side}ticks"] = list(axis.ticks)
    elif axis.is_logarithmic and axis.ends is not None and axis.form is not None:
        options[f"{side}ticks"] = [(value, f"{value:g}") for value in round_ratios(*axis.ends)]
    elif axis.form is not None:
        form = _NUMERAL.get(axis.form, "0,0.[0000]")
        options["hooks"] = [partial(_format_ticks, side=f"{side}axis", form=form)]
    return options


def _format_ticks(plot, element, side: str, form: str) -> None:
    """Set the tick format, with a new formatter, since a Bokeh model belongs to one figure."""
    from bokeh.models import NumeralTickFormatter

    shown = plot.state.x_range if side == "xaxis" else plot.state.y_range
    if shown.end - shown.start < 0.001:  # Bokeh's default adds digits as needed
        return
    for axis in getattr(plot.state, side):
        axis.formatter = NumeralTickFormatter(format=form)


def legend_options(position: str) -> dict:
    """Options for a legend at the ``"right"`` or ``"bottom"`` of a plot; ``""`` for none."""
    if not position:
        return {"show_legend": False}
    look = {"right": {"location": "top", "border_line_color": None}, "bottom": {"spacing": 20}}
    return {
        "show_legend": True,
        "legend_position": position,
        "legend_limit": _LEGEND_LIMIT,
        "legend_opts": look[position],
    }


def tip_columns(tips: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """One text column per heading; column names do not contain data."""
    return {
        f"tip {number}": np.array(texts, dtype=object) for number, texts in enumerate(tips.values())
    }


def tip_options(tips: Mapping[str, Sequence[str]]) -> dict:
    """Options for tooltips that show the columns of `tip_columns`."""
    shown = [(plain_text(name), f"@{{tip {number}}}") for number, name in enumerate(tips)]
    return {"tools": ["hover"], "hover_tooltips": shown, **TOOLS} if shown else {}
