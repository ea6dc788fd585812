"""Color-blind safe colors for plots."""

from __future__ import annotations

#: The colors of ordinary and highlighted points: blue and orange, distinct for all viewers.
BLUE, ORANGE = "#3b7dd8", "#d9822b"
#: An orange dark enough for thin lines and text.
DARK_ORANGE = "#b8651b"
INK, GREY, FAINT = "#1f2933", "#52606d", "#e4e8ec"
#: Colors of series, in order.
#: Okabe, M., Ito, K. (2008). Color universal design.
SERIES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b5a2b", INK,
)  # fmt: skip
