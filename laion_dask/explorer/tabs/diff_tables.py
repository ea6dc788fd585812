"""The comparison with another data set as a sentence and tables, as text for the page."""

from __future__ import annotations

from typing import Any

import pandas as pd

from laion_dask.curation.duplicates.diff import Diff
from laion_dask.formatting import counted, printable

#: Maximum number of rates shown: those that differ most.
_MAX_RATES = 40
#: Columns of the statistics that identify a rate.
_WHAT = ("term", "axis", "group", "group_2", "threshold", "side")
HERE, OTHER = "here", "in the other"


def diff_state(found: Diff, by: str) -> dict[str, Any]:
    """What the page shows: a sentence, and tables of rows, changed values and rates."""
    tables = [_rows(found, by), _changed(found), _rates(found.statistics)]
    return {
        "sentence": printable(" ".join(_sentences(found))),
        "tables": [table for table in tables if table["rows"]],
    }


def _sentences(found: Diff) -> list[str]:
    here, other = _sides(found)
    only = f"{counted(here['only_here'], 'row')} only {HERE}, {other['only_here']:,} only {OTHER}"
    sentences = [f"{only}, {here['in_both']:,} in both."]
    if not (here["in_both"] == here["keys"] == other["in_both"]):
        sentences = [
            f"{only}, {here['in_both']:,} {HERE} and {other['in_both']:,} {OTHER} with a key that "
            "both have.",
            "Some keys occur several times; the first row of each is compared.",
        ]
    if not found.changed["changed"].any():
        n = len(found.changed)
        sentences.append(f"No value differs in the {counted(n, 'column')} that both have.")
    for names, which in (
        (found.only_in_a, f"Columns only {HERE}"),
        (found.only_in_b, f"Columns only {OTHER}"),
        (found.not_compared, "Columns of other types, not compared"),
    ):
        sentences += [f"{which}: {', '.join(names)}."] if names else []
    return sentences


def _sides(found: Diff) -> list[dict[str, int]]:
    """The counts of this side and of the other."""
    sides: dict[Any, Any] = found.rows.to_dict("index")
    return [sides["a"], sides["b"]]


def _rows(found: Diff, by: str) -> dict[str, Any]:
    labels = {
        "rows": "all rows",
        "only_here": "rows that only this side has",
        "in_both": "rows that both have",
        "without_key": f"rows without {by}",
    }
    sides = _sides(found)
    rows = [
        [printable(text), *(f"{side[key]:,}" for side in sides)] for key, text in labels.items()
    ]
    if not any(side["without_key"] for side in sides):
        rows.pop()
    return {"title": "Rows", "note": "", "head": ["", HERE, "the other"], "rows": rows}


def _changed(found: Diff) -> dict[str, Any]:
    changed = found.changed[found.changed["changed"] > 0].sort_values(
        "changed", ascending=False, kind="stable"
    )
    return {
        "title": "Values that differ",
        "note": f"{len(changed):,} of {counted(len(found.changed), 'column')} "
        f"differ{'s' if len(changed) == 1 else ''}. Shares are of the "
        f"{counted(_sides(found)[0]['keys'], 'key')} that both have.",
        "head": ["column", "differ", "share"],
        "rows": [
            [printable(one["column"]), f"{one['changed']:,}", f"{100 * one['share']:.3g} %"]
            for one in _records(changed)
        ],
    }


def _rates(table: pd.DataFrame) -> dict[str, Any]:
    """The rates that differ most, each side with its interval."""
    needed = [f"{name}_{side}" for side in "ab" for name in ("rate", "lo", "hi")]
    has_rates = set(needed) <= set(table.columns)
    known = table[table[needed].notna().all(axis=1)] if has_rates else table[:0]
    distance = (known["rate_a"] - known["rate_b"]).abs() if has_rates else pd.Series(dtype=float)
    order = distance[distance > 0].sort_values(ascending=False, kind="stable").index
    shown = known.loc[order].head(_MAX_RATES)
    which = f"The {len(shown):,} that differ most" if len(shown) < len(order) else "Those"
    return {
        "title": "Rates that differ",
        "note": f"{which} among {counted(len(known), 'rate')} that both have, each with the 95 % "
        "interval of its side; ld.diff(…).statistics has all.",
        "head": ["rate", HERE, "the other"],
        "rows": [
            [_label(one), *(_interval(one, side) for side in "ab")] for one in _records(shown)
        ],
    }


def _label(one: dict[str, Any]) -> str:
    parts = [one.get(name) for name in _WHAT]
    words = [
        f"{part:g}" if isinstance(part, float) else str(part) for part in parts if _is_set(part)
    ]
    return printable(f"{one['statistic']}: {', '.join(words)}")


def _is_set(part: Any) -> bool:
    return isinstance(part, (str, float)) and part != "(all)" and not pd.isna(part)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[Any] = table.to_dict("records")
    return found


def _interval(one: dict[str, Any], side: str) -> str:
    rate, lo, hi = (100 * one[f"{name}_{side}"] for name in ("rate", "lo", "hi"))
    return f"{rate:.3g} % [{lo:.3g}, {hi:.3g}]"
