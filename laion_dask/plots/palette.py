"""Colours of plots, which stay apart without colour vision."""

from __future__ import annotations

#: What is drawn, and what stands out from it: blue and orange, told apart by all.
BLUE, ORANGE = "#3b7dd8", "#d9822b"
#: An orange that is dark enough for thin lines and for text.
DARK_ORANGE = "#b8651b"
INK, GREY, FAINT = "#1f2933", "#52606d", "#e4e8ec"
#: Colours of series; the first, second, … series of a panel has the first, second, … colour.
#: Okabe, M., Ito, K. (2008). Color universal design.
SERIES = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b5a2b", INK,
)  # fmt: skip
