"""Results of a table that share an axis, and the quantity on that axis."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Units of values, and labels of threshold axes, by term.
_UNITS = {"width": "pixels", "height": "pixels", "text_length": "characters"}
_THRESHOLDS = {"both sides": "both sides at least, pixels"}
#: Axis labels by the method of a value.
BY_METHOD = {"Jensen-Shannon, bits": "Jensen-Shannon divergence, bits"}
#: Terms whose values are counts, and terms whose values are concentration indices.
COUNTS = ("distinct", "effective number", "most frequent")
_INDEXES = ("gini", "herfindahl", "entropy", "theil")
#: Axis labels by measure.
_BY_KIND = {"PMI bias": "PMI bias, nats"}
#: Statistics whose values are ratios.
_RATIOS = ("intersections",)


@dataclass(frozen=True, eq=False)
class TablePanel:
    """Results that share an axis.

    Attributes
    ----------
    title : str
    measure : str
        The column to plot, such as rate or value.
    frame : pandas.DataFrame
        One row per result: ``label`` (a line of the panel, or empty), ``series`` (a color),
        ``threshold``, ``value, lo, hi, n, marked``.
    curves : bool
        Whether values are plotted over the threshold, one curve per series.
    overall : float
        Position of a line across the panel; NaN for none.
    """

    title: str
    measure: str
    frame: pd.DataFrame
    curves: bool = False
    overall: float = float("nan")

    @property
    def left_out(self) -> str:
        """The part of the title about omitted labels, such as (40 of 100 groups)."""
        ending = re.search(r"\([\d,]+ of [\d,]+ (groups|terms)\)$", self.title)
        return ending[0] if ending else ""

    @property
    def is_share(self) -> bool:
        """Whether numbers are formatted in percent."""
        return self.measure == "rate"

    @property
    def is_ratio(self) -> bool:
        """Whether the axis is logarithmic, with a line at 1."""
        return "ratio" in self.measure or self.frame["statistic"].iloc[0] in _RATIOS

    @property
    def line(self) -> float:
        """Position of the line across the panel: the overall rate, or no effect; NaN for none."""
        if self.is_ratio:
            return 1.0
        has_both = (self.frame["value"] < 0).any() and (self.frame["value"] > 0).any()
        return 0.0 if np.isnan(self.overall) and has_both else self.overall

    @property
    def axis_label(self) -> str:
        """The quantity on the axis."""
        first = self.frame.iloc[0]
        if self.is_share:
            return "share of rows" + (" excluded" if first["statistic"] == "exclusion" else "")
        if self.measure != "value":
            return self.measure.replace("_", " ")
        if first["kind"]:
            return _BY_KIND.get(first["kind"], first["kind"])
        if self.is_ratio:
            return "observed / expected"
        if first["method"] in BY_METHOD:
            return BY_METHOD[first["method"]]
        if self._all_are(COUNTS):
            return "count"
        if self._all_are(_INDEXES):
            return "index" + (", Theil's in nats" if "theil" in set(self.frame["term"]) else "")
        term = self._one_term()
        return ", ".join(filter(None, (term or first["statistic"], _UNITS.get(term))))

    @property
    def threshold_label(self) -> str:
        """The quantity to which thresholds apply."""
        term = self._one_term()
        score = term.removesuffix(f" {self.frame['side'].iloc[0]}")
        return _THRESHOLDS.get(term, "threshold" + (f" of {score}" if score else ""))

    def _all_are(self, names: tuple[str, ...]) -> bool:
        return bool((self.frame["group"].isin(names) | self.frame["term"].isin(names)).all())

    def _one_term(self) -> str:
        terms = self.frame["term"].unique()
        return terms[0] if len(terms) == 1 else ""
