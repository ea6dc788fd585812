"""How the time of a planned job falls with the number of workers, as a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from laion_dask.errors import OptionError, must_be
from laion_dask.formatting import in_bytes, in_time
from laion_dask.planning.plan import Plan
from laion_dask.planning.rates import CPU
from laion_dask.plots.histogram import in_title
from laion_dask.plots.offline_page import TOOLS, holoviews

_BLUE, _ORANGE, _GREY = "#3b7dd8", "#b8651b", "#5f6b7a"
_SPANS = {
    0.000001: "1 µs", 0.00001: "10 µs", 0.0001: "100 µs", 0.001: "1 ms", 0.01: "10 ms",
    0.1: "100 ms", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h",
    86400: "1 day", 864000: "10 days", 8640000: "100 days",
}  # fmt: skip


def scaling_plot(
    plan: Plan,
    workers: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    *,
    card: str | None = "NVIDIA H200",
    title: str = "",
):
    """A plan's time against the number of workers, both logarithmic, as HoloViews. Eager.

    Cores by measured rates, with the benchmark's spread; cards, unless measured, by the bounds of
    their peaks, dashed; both as if the storage were fast enough. Where the plan says what the
    storage gives, its time is a line of its own, below which no number of workers comes.

    Parameters
    ----------
    plan : Plan
        Whose number of workers does not count.
    workers : sequence of int
    card : str or None
        None draws no card.
    title : str

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    OptionError
        When there is no number of workers, or none of the times is known.
    """
    must_be("plan", plan, Plan, "what ld.plan(...) returns")
    hv = holoviews()
    alone = replace(plan, storage=None)
    lines = [_cores(hv, alone, workers)]
    if card is not None:
        lines.append(_cards(hv, alone, workers, card))
    if plan.storage is not None:
        reading = [plan.bytes_read / plan.storage] * len(workers)
        said = f"storage of {in_bytes(plan.storage)}/s"
        lines.append([_line(hv, workers, reading, said, _GREY, "dotted")])
    lines = [line for some in lines for line in some]
    if not lines or not len(workers):
        raise OptionError(
            "Nothing can be drawn: no step has a measured rate, or workers is empty. Plan steps "
            "that were measured, or give them as rates."
        )
    ticks = [(seconds, name) for seconds, name in _SPANS.items()]
    return hv.Overlay(lines).opts(
        width=760,
        height=380,
        logx=True,
        logy=True,
        xticks=[(n, f"{n:,}") for n in workers],
        yticks=ticks,
        xlabel="workers: cores, or cards",
        ylabel="time (logarithmic)",
        legend_position="bottom",  # outside: lines go anywhere inside
        legend_opts={"spacing": 20},
        title=in_title(title),
        show_grid=True,
        **TOOLS,
    )


def _cores(hv, plan: Plan, workers: Sequence[int]) -> list:
    tables = [plan.scaled(workers=n, card=CPU).table for n in workers]
    times = {name: [t[name].sum() for t in tables] for name in ("seconds_low", "seconds_high")}
    seconds = [sum(t["seconds"]) for t in tables]
    if any(map(math.isnan, seconds)):
        return []
    band = hv.Area(
        (list(workers), times["seconds_low"], times["seconds_high"]),
        "workers",
        ["seconds", "to"],
    )
    return [
        band.opts(color=_BLUE, alpha=0.2, line_alpha=0, **TOOLS),
        _line(hv, workers, seconds, "cores, projected", _BLUE, "solid"),
    ]


def _cards(hv, plan: Plan, workers: Sequence[int], card: str) -> list:
    plans = [plan.scaled(workers=n, card=card) for n in workers]
    measured = not any(math.isnan(p.seconds) for p in plans)
    times = [p.seconds if measured else p.at_best for p in plans]
    if any(map(math.isnan, times)):
        return []
    said = f"{card}, projected" if measured else f"{card}, at best (not measured)"
    return [_line(hv, workers, times, said, _ORANGE, "solid" if measured else "dashed")]


def _line(hv, workers: Sequence[int], seconds: Sequence[float], label: str, colour: str, dash: str):
    """Seconds against workers; hovering tells both."""
    told = np.array([f"{n:,}: {in_time(s)}" for n, s in zip(workers, seconds, strict=True)], object)
    curve = hv.Curve((list(workers), seconds, told), "workers", ["seconds", "told"], label=label)
    return curve.opts(
        color=colour,
        line_width=2,
        line_dash=dash,
        tools=["hover"],
        hover_tooltips=[("workers: time", "@told")],
        **TOOLS,
    )
