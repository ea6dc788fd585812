"""A plot of the time of a planned job against the number of workers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from laion_dask.errors import OptionError, must_be
from laion_dask.formatting import in_bytes, in_time
from laion_dask.planning.measured_rates import CPU
from laion_dask.planning.plan import Plan
from laion_dask.plots.description import Axis, Curve, CurvePanel, Plot
from laion_dask.plots.interactive import render
from laion_dask.plots.palette import BLUE, DARK_ORANGE, GREY

_TIME_TICKS = {
    0.000001: "1 µs", 0.00001: "10 µs", 0.0001: "100 µs", 0.001: "1 ms", 0.01: "10 ms",
    0.1: "100 ms", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h",
    86400: "1 day", 864000: "10 days", 8640000: "100 days",
}  # fmt: skip


def scaling_plot(
    plan: Plan,
    workers: Sequence[int] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    *,
    device: str | None = "NVIDIA H200",
    title: str = "",
):
    """A plan's time against the number of workers, both logarithmic, as HoloViews. Eager.

    CPU cores are drawn by measured rates, with the spread of the benchmark as a band. A GPU without
    measured rates is drawn dashed, by the bound from its peaks. Both assume that storage is fast
    enough. If the plan has a storage bandwidth, the resulting time is a separate line, a lower
    bound for any number of workers.

    Parameters
    ----------
    plan : Plan
        Its own number of workers does not matter.
    workers : sequence of int
    device : str or None
        The GPU to draw; None draws none.
    title : str

    Raises
    ------
    MissingExtraError
        When HoloViews is not installed.
    OptionError
        When ``workers`` is empty, or none of the times is known.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> plan = ld.plan(frame, ["summary", ("where", "width >= 256")])
    >>> plot = ld.scaling_plot(plan, workers=(1, 4, 16), device=None)
    """
    must_be("plan", plan, Plan, "what ld.plan(...) returns")
    without_storage = replace(plan, storage=None)
    drawn = [_cores(without_storage, workers)]
    if device is not None:
        drawn.append(_gpus(without_storage, workers, device))
    curves = [curve for curve in drawn if curve is not None]
    if plan.storage is not None:
        reading = [plan.bytes_read / plan.storage] * len(workers)
        name = f"storage of {in_bytes(plan.storage)}/s"
        curves.append(_curve(workers, reading, name, GREY, "dotted"))
    if not curves or not len(workers):
        raise OptionError(
            "Nothing can be drawn: no step has a measured rate, or workers is empty. Plan steps "
            "that were measured, or give their rates."
        )
    panel = CurvePanel(
        title,
        tuple(curves),
        x=Axis("workers: CPU cores, or GPUs", is_logarithmic=True,
               ticks=tuple((n, f"{n:,}") for n in workers)),
        y=Axis("time (logarithmic)", is_logarithmic=True, ticks=tuple(_TIME_TICKS.items())),
        height=380,
        legend="bottom",  # outside: the lines may be anywhere inside
    )  # fmt: skip
    return render(Plot((panel,), has_tools=True))


def _cores(plan: Plan, workers: Sequence[int]) -> Curve | None:
    """The time on CPU cores, with the benchmark's spread as a band."""
    tables = [plan.scaled(workers=n, device=CPU).table for n in workers]
    lo, hi = (
        tuple(float(table[name].sum()) for table in tables)
        for name in ("seconds_low", "seconds_high")
    )
    seconds = [float(sum(table["seconds"])) for table in tables]
    if any(map(math.isnan, seconds)):
        return None
    return replace(_curve(workers, seconds, "cores, projected", BLUE, "solid"), lo=lo, hi=hi)


def _gpus(plan: Plan, workers: Sequence[int], device: str) -> Curve | None:
    """The time on GPUs: by measured rates, else at best."""
    plans = [plan.scaled(workers=n, device=device) for n in workers]
    measured = not any(math.isnan(p.seconds) for p in plans)
    times = [p.seconds if measured else p.at_best for p in plans]
    if any(map(math.isnan, times)):
        return None
    name = f"{device}, projected" if measured else f"{device}, at best (not measured)"
    return _curve(workers, times, name, DARK_ORANGE, "solid" if measured else "dashed")


def _curve(
    workers: Sequence[int], seconds: Sequence[float], name: str, color: str, dash: str
) -> Curve:
    """A curve of seconds against workers, with both as hover text."""
    tips = tuple(f"{n:,}: {in_time(s)}" for n, s in zip(workers, seconds, strict=True))
    return Curve(
        name,
        tuple(workers),
        tuple(map(float, seconds)),
        color=color,
        dash=dash,
        tips={"workers: time": tips},
    )
