"""What a plot shows, as data: panels of points, curves or bars. It says nothing of how to draw.

`laion_dask.plots.interactive` draws a description with HoloViews for a notebook, and
`laion_dask.plots.static` as SVG for a page. Labels come from the data; a renderer escapes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from math import isfinite, nan

from laion_dask.plots.palette import BLUE, ORANGE, SERIES

#: What hovering over each point says: a heading, and one text a point.
Tips = Mapping[str, tuple[str, ...]]


class Form(StrEnum):
    """How the values of an axis are written."""

    #: Three digits, such as 1,230 or 0.0456.
    NUMBER = "number"
    #: In percent, such as 4.56 %.
    SHARE = "share"
    #: Three digits without grouping, such as 1.14; ∞ where it is infinite.
    RATIO = "ratio"
    #: Whole numbers.
    WHOLE = "whole"
    #: Two decimals.
    HUNDREDTHS = "hundredths"


@dataclass(frozen=True)
class Axis:
    """An axis: what it measures and how its values are written.

    Attributes
    ----------
    label : str
        What it measures, with its unit.
    form : Form or None
        None leaves the form of ticks to the renderer.
    is_logarithmic : bool
    ends : tuple of float, optional
        Lower and upper end; by default the renderer fits them to the data.
    ticks : tuple of (float, str)
        Ticks and their labels; by default the renderer chooses them.
    """

    label: str = ""
    form: Form | None = None
    is_logarithmic: bool = False
    ends: tuple[float | None, float | None] | None = None
    ticks: tuple[tuple[float, str], ...] = ()


@dataclass(frozen=True)
class Mark:
    """A line across a panel at one value, such as a threshold or the rate of all rows."""

    value: float
    label: str = ""


@dataclass(frozen=True)
class Point:
    """One value with its interval.

    Attributes
    ----------
    label : str
        The line of the panel that it stands on.
    value, lo, hi : float
        NaN is not drawn; an end beyond the axis is drawn as going on.
    series : str
        Points of one series have one colour.
    is_marked : bool
        Whether it stands out.
    expected : float
        What chance alone makes of the value; NaN where that is unknown.
    tips : tuple of (str, str)
        What hovering says: headings and texts.
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
    """Points with intervals under each other, on one horizontal axis.

    Attributes
    ----------
    title : str
    points : tuple of Point
        From top to bottom; those of one label stand on one line.
    axis : Axis
    line : Mark, optional
        A dashed line across all of them.
    n_more : int
        Points that are not drawn.
    marked_names : tuple of str
        What the legend calls points that stand out and those that do not; empty for no legend.
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
        """The series, in the order of their colours."""
        return list(dict.fromkeys(point.series for point in self.points))

    @property
    def has_expected(self) -> bool:
        """Whether chance's part of some value is known."""
        return any(isfinite(point.expected) for point in self.points)

    def colour(self, point: Point) -> str:
        """The colour of a point: that of its series, unless it stands out."""
        if point.is_marked:
            return ORANGE
        series = self.series
        return SERIES[series.index(point.series) % len(SERIES)] if len(series) > 1 else BLUE


@dataclass(frozen=True)
class Curve:
    """A line, with a band around it where its interval is given.

    Attributes
    ----------
    name : str
        In the legend; empty for none.
    x, y : tuple of float
        A point whose y is NaN is left out.
    lo, hi : tuple of float
        The band, as long as x; or empty.
    colour : str
    dash : {"solid", "dashed", "dotted"}
    band_name : str
        Of the band in the legend; empty for none.
    has_dots : bool
        Whether each point is drawn as well, and is what one hovers over.
    tips : mapping
        What hovering says of each point.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    lo: tuple[float, ...] = ()
    hi: tuple[float, ...] = ()
    colour: str = BLUE
    dash: str = "solid"
    band_name: str = ""
    has_dots: bool = False
    tips: Tips = field(default_factory=dict)


@dataclass(frozen=True)
class CurvePanel:
    """Curves over one pair of axes; ``marks`` are at values of x."""

    title: str
    curves: tuple[Curve, ...]
    x: Axis = Axis()
    y: Axis = Axis()
    marks: tuple[Mark, ...] = ()
    height: int = 340
    legend: str = "right"


@dataclass(frozen=True)
class BarPanel:
    """Counts between edges as bars on a logarithmic axis; ``marks`` are at values of x."""

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
    """Panels under each other.

    Attributes
    ----------
    panels : tuple of Panel
    title : str
        Above all panels; empty where each has its own alone.
    notes : tuple of str
        Sentences beneath.
    width : int
        Pixels.
    has_tools : bool
        Whether a toolbar for moving and zooming is shown, where there is one.
    """

    panels: tuple[Panel, ...]
    title: str = ""
    notes: tuple[str, ...] = ()
    width: int = 760
    has_tools: bool = False


def series_colour(number: int) -> str:
    """The colour of the series of a number, from 0."""
    return SERIES[number % len(SERIES)]
