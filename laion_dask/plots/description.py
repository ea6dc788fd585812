"""The content of a plot as data: panels of points, curves or bars, independent of rendering.

`laion_dask.plots.interactive` draws a description with HoloViews for a notebook, and
`laion_dask.plots.static` as SVG for a page. Labels come from the data; renderers escape them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite, nan

from laion_dask.plots.palette import BLUE, ORANGE, SERIES

#: Tooltips of a series of points: a heading, and one text per point.
Tips = Mapping[str, tuple[str, ...]]


class Form(StrEnum):
    """The number format of an axis."""

    #: Three digits, such as 1,230 or 0.0456.
    NUMBER = "number"
    #: In percent, such as 4.56 %.
    SHARE = "share"
    #: Three digits without grouping, such as 1.14; ∞ for infinity.
    RATIO = "ratio"
    #: Integers.
    WHOLE = "whole"
    #: Two decimals.
    HUNDREDTHS = "hundredths"


@dataclass(frozen=True)
class Axis:
    """An axis: its quantity and number format.

    Attributes
    ----------
    label : str
        The quantity, with its unit.
    form : Form or None
        None leaves the tick format to the renderer.
    is_logarithmic : bool
    ends : tuple of float, optional
        Lower and upper limit; by default the renderer fits them to the data.
    ticks : tuple of (float, str)
        Ticks and their labels; by default the renderer chooses them.
    """

    label: str = ""
    form: Form | None = None
    is_logarithmic: bool = False
    ends: tuple[float, float] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Mark:
    """A line across a panel at one value, such as a threshold or the overall rate."""

    value: float
    label: str = ""


@dataclass(frozen=True)
class Point:
    """One value with its interval.

    Attributes
    ----------
    label : str
        The line of the panel on which the point is drawn.
    value, lo, hi : float
        A NaN value is not drawn; an end beyond the axis is drawn as continuing.
    series : str
        Points of one series share a color.
    is_marked : bool
        Whether the point is highlighted.
    expected : float
        The value expected by chance; NaN if unknown.
    tips : tuple of (str, str)
        The tooltip: headings and texts.
    """

    label: str
    value: float
    lo: float = nan
    hi: float = nan
    series: str = ""
    is_marked: bool = False
    expected: float = nan
    tips: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class PointPanel:
    """Points with intervals, one below the other, on a shared horizontal axis.

    Attributes
    ----------
    title : str
    points : tuple of Point
        From top to bottom; points with the same label share a line.
    axis : Axis
    line : Mark, optional
        A dashed line across all points.
    n_more : int
        The number of points that are not drawn.
    marked_names : tuple of str
        The legend names of highlighted and other points; empty for no legend.
    """

    title: str
    points: tuple[Point, ...]
    axis: Axis = Axis()
    line: Mark | None = None
    n_more: int = 0
    marked_names: tuple[str, str] = ("", "")

    @property
    def labels(self) -> list[str]:
        """The lines of the panel, from top to bottom."""
        return list(dict.fromkeys(point.label for point in self.points))

    @property
    def series(self) -> list[str]:
        """The series, in color order."""
        return list(dict.fromkeys(point.series for point in self.points))

    @property
    def has_expected(self) -> bool:
        """Whether the expected value of any point is known."""
        return any(isfinite(point.expected) for point in self.points)

    def color(self, point: Point) -> str:
        """The color of a point: that of its series, unless the point is highlighted."""
        if point.is_marked:
            return ORANGE
        series = self.series
        return SERIES[series.index(point.series) % len(SERIES)] if len(series) > 1 else BLUE


@dataclass(frozen=True)
class Curve:
    """A line, with a band around it if an interval is given.

    Attributes
    ----------
    name : str
        The legend name; empty for none.
    x, y : tuple of float
        Points whose y is NaN are left out.
    lo, hi : tuple of float
        The band, of the same length as x; or empty.
    color : str
    dash : {"solid", "dashed", "dotted"}
    band_name : str
        The legend name of the band; empty for none.
    has_dots : bool
        Whether each point is also drawn as a dot with a tooltip.
    has_line : bool
        Whether the points are joined; if not, they need dots.
    tips : mapping
        The tooltip of each point.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    lo: tuple[float, ...] = ()
    hi: tuple[float, ...] = ()
    color: str = BLUE
    dash: str = "solid"
    band_name: str = ""
    has_dots: bool = False
    has_line: bool = True
    tips: Tips = field(default_factory=dict)


@dataclass(frozen=True)
class CurvePanel:
    """Curves on one pair of axes; ``marks`` are x values."""

    title: str
    curves: tuple[Curve, ...]
    x: Axis = Axis()
    y: Axis = Axis()
    marks: tuple[Mark, ...] = ()
    height: int = 340
    legend: str = "right"


@dataclass(frozen=True)
class BarPanel:
    """A histogram with a logarithmic count axis; ``marks`` are x values."""

    title: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    x: Axis = Axis()
    y: Axis = Axis(is_logarithmic=True)
    marks: tuple[Mark, ...] = ()
    height: int = 300
    tips: Tips = field(default_factory=dict)


Panel = PointPanel | CurvePanel | BarPanel


@dataclass(frozen=True)
class Plot:
    """Panels, one below the other.

    Attributes
    ----------
    panels : tuple of Panel
    title : str
        Shown above all panels; empty if each panel has its own title.
    notes : tuple of str
        Sentences below the panels.
    width : int
        Pixels.
    has_tools : bool
        Whether to show a toolbar for panning and zooming, if the renderer has one.
    """

    panels: tuple[Panel, ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    width: int = 760
    has_tools: bool = False


def series_color(number: int) -> str:
    """The color of the series with this index, from 0."""
    return SERIES[number % len(SERIES)]
