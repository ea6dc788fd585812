"""How each number of a page came about, in the words of the field: formula and source."""

from __future__ import annotations

from laion_dask.aggregations.methods import methods

#: By the statistic's name: what it is, and who says so.
METHODS: dict[str, tuple[str, ...]] = methods()

CAVEATS = (
    "A group is the captions that mention certain words, from versioned lists in English; it is "
    "no statement about who is in an image, nor about anybody's identity.",
    "A caption that mentions nobody may well show somebody; words have more than one meaning; "
    "other languages than English are found only where they share the word.",
    "Scores are what published models say, and those models are wrong in known ways, not equally "
    "for all groups.",
    "A share of all rows is shown even if few rows have it, since it rests on all of them; a rate "
    "within a group is left out where the group has too few rows.",
    "Intervals take rows as independent, unless they are named bootstrap; rows of one crawl are "
    "not quite.",
    "Captions, domains and labels are shown as they were found.",
)
