"""Thresholds at which published subsets were cut, by column; histograms mark them."""

from __future__ import annotations

from collections.abc import Mapping

#: The thresholds of each canonical column, by the subset that was cut there. Sources: Schuhmann et
#: al. 2021 (LAION-400M, section 2: similarity of at least 0.3); Schuhmann et al. 2022 (LAION-5B,
#: section 3: 0.28 for English by CLIP ViT-B/32, 0.26 for the rest by mCLIP; section 3.3: punsafe
#: of 0.5 and pwatermark of 0.8); Schuhmann 2022 (LAION-Aesthetics: version 1 above 7, LAION-Art
#: above 8, version 2 from 4.5 to 6.5); Schuhmann et al. 2022 (LAION-High-Resolution: 1,024
#: pixels); Gadre et al. 2023 (DataComp, basic filter: the smaller side above 200 pixels).
PUBLISHED: Mapping[str, Mapping[str, float]] = {
    "similarity": {"LAION-5B, not English": 0.26, "LAION-2B-en": 0.28, "LAION-400M": 0.3},
    "punsafe": {"LAION-Aesthetics": 0.5},
    "pwatermark": {"LAION-Aesthetics": 0.8},
    "aesthetic": {
        "LAION-Aesthetics v2 4.5+": 4.5,
        "LAION-Aesthetics v2 5+": 5.0,
        "LAION-Aesthetics v2 6+": 6.0,
        "LAION-Aesthetics v2 6.5+": 6.5,
        "LAION-Aesthetics v1": 7.0,
        "LAION-Art": 8.0,
    },
    "width": {"DataComp, basic": 200.0, "LAION-High-Resolution": 1024.0},
    "height": {"DataComp, basic": 200.0, "LAION-High-Resolution": 1024.0},
}


def published_thresholds(column: str) -> Mapping[str, float]:
    """The published thresholds of a column by the name of the subset; empty without any."""
    return PUBLISHED.get(column, {})
