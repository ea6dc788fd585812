"""The tables of the export tab as text: the funnel, and whom the filters exclude."""

from __future__ import annotations

from typing import Any

import pandas as pd

from laion_dask.formatting import printable

#: Maximum number of groups shown.
_MAX_GROUPS = 40


def funnel_state(table: pd.DataFrame) -> dict[str, Any] | None:
    """The funnel as text for the page; None without a filter."""
    if not len(table):
        return None
    counts = ["before", "dropped", "unscored", "after", "undecided"]
    return {
        "title": "Funnel",
        "note": "Unscored rows lack a value that the clause needs; they are never kept. Undecided "
        "rows lack one, too, and are counted where a later clause drops them.",
        "head": ["clause", *counts],
        "rows": [
            [printable(str(one["clause"])), *(f"{int(one[name]):,}" for name in counts)]
            for one in table.to_dict("records")
        ],
    }


def audit_state(table: pd.DataFrame) -> dict[str, Any]:
    """The groups that a filter excludes more or less often than others, as text for the page."""
    is_all = table["group"] == "(all)"
    overall = float(table.loc[is_all, "rate"].iloc[0])
    # A group with all rows has nothing to be compared with, hence no verdict.
    groups = table[~is_all & table["rate"].notna() & table["verdict"].notna()]
    differs = groups[groups["verdict"] != "inconclusive"]
    order = (differs["rate"] - overall).abs().sort_values(ascending=False, kind="stable").index
    rows = [
        [
            printable(f"{one['axis']}: {one['group']}"),
            f"{int(one['n']):,}",
            f"{100 * one['rate']:.1f} % [{100 * one['lo']:.1f}, {100 * one['hi']:.1f}]",
            str(one["verdict"]),
        ]
        for one in differs.loc[order].head(_MAX_GROUPS).to_dict("records")
    ]
    return {
        "title": "Whom the filters exclude",
        "note": f"Of all rows, {100 * overall:.1f} % are excluded. Groups of at least "
        f"{table.attrs['min_n']} rows are compared with the rest: {len(differs):,} of the "
        f"{len(groups):,} groups differ{'s' if len(differs) == 1 else ''}, "
        "those that differ most first. A term is a word in a caption. Amplified: a group that had "
        "less than its share before is excluded more than others.",
        "head": ["group", "rows", "excluded, 95 % interval", "verdict"],
        "rows": rows,
    }
