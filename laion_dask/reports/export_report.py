"""What the report of an export says: what was kept, by which filter, and whom it left out."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from laion_dask.errors import ProvenanceError
from laion_dask.exports.result import Export
from laion_dask.formatting import counted, megabytes, share_text
from laion_dask.plots.description import Form, Mark
from laion_dask.plots.static import render
from laion_dask.reports.html import (
    boxes,
    caveat,
    code,
    facts,
    grid,
    note,
    notes,
    paragraph,
    part,
    plots,
    results,
    section,
    text,
)
from laion_dask.reports.page_plots import point_panel
from laion_dask.reserved_labels import AMPLIFIED
from laion_dask.stats.table import Table

_COUNTS = ("read", "kept", "dropped", "unscored", "rejected")
_ALL = "(all)"
_CAVEAT = (
    "Groups are what a column says, or which words a caption has: they are not who is in a "
    "picture. A word may be used of anybody, and most people are mentioned by no word at all. "
    "The numbers are of all rows together; they say nothing of any one row or person."
)
_NAMED = {
    "n": "rows",
    "k": "excluded",
    "rate": "rate",
    "ratio": "ratio",
    "share_before": "before",
    "share_after": "after",
    "share_expected": "expected",
}
_COLUMNS = (
    "group", "n", "k", "undecided", "rate", "ratio", "q", "share_before", "share_after",
    "share_expected", "verdict",
)  # fmt: skip
_SHARES = ("rate", "share_before", "share_after", "share_expected")
_NOTES = (
    "Rate: the exclusion rate of a group, E_g = 1 - kept / n, with n its rows before. Rows that "
    "the filter could not decide on, because what it compares is null or NaN, are not kept and "
    "count as excluded.",
    "Interval of a rate: Wilson (1927). Ratio: E_g over the rate of all rows. Its interval "
    "is the log interval of the ratio to the rest (Katz et al. 1978), brought to all rows with the "
    "group's part of them held fixed.",
    "q: of the hypothesis that the group's rate is that of the rest (two proportions, two-sided), "
    "corrected for the number of groups shown (Benjamini and Hochberg 1995). p is Fisher's exact "
    "one where fewer than 500 rows are expected in a cell of the table, else the pooled z test's.",
    "Before, after: the group's share among the axis' groups. Under-represented before: it is "
    "below the expected one, which is an equal share unless a reference was given; the equal share "
    "is our choice. Verdict: amplified, a group under-represented before that is excluded more "
    "than the rest (exclusion amplification: Hong, Agnew, Kohno and Morgenstern (2024), Who's in "
    "and who's out?); excluded more, or less, than the rest; inconclusive, where q is above "
    "1 - level.",
    "All of these take rows as independent, which rows of one crawl are not quite: the same page "
    "or seller gives many. The intervals are rather too narrow than too wide.",
    "A row that is in several groups counts once in each; shares are of these memberships.",
)


def export_parts(export: Export, audited: Table | None, level: float) -> Iterator[str]:
    """The parts of the page of an export.

    Parameters
    ----------
    export : Export
    audited : Table or None
        The result of its ``audit``; None when there is nothing to group by.
    level : float
        Of the intervals.
    """
    yield boxes({name: getattr(export.rows, name) for name in _COUNTS})
    yield section("How it came about", _origin(export.manifest))
    yield section("Rows left out, clause by clause", _funnel(export))
    yield section("Whom the filter left out", *audit_parts(audited, level))
    yield section("How to read this", notes((*_lists(audited), *_NOTES)))


def audit_parts(audited: Table | None, level: float) -> Iterator[str]:
    """An audit as sentences, plots and tables, axis by axis; for any page."""
    yield caveat(_CAVEAT)
    if audited is None:
        yield paragraph(
            "There is no column of languages or captions to group by. Name one: "
            "write_report(..., by=...)."
        )
        return
    empty = []
    missing = audited.attrs.get("rows_before", {}).get("dropped", 0)
    if missing:
        yield paragraph(
            f"{missing:,} rows were left out by a step that is no filter, such as a merge; they "
            "are not among the rows before."
        )
    for axis, of_axis in audited.groupby("axis", sort=False):
        if not of_axis["share_before"].notna().any():
            empty.append(str(axis))
            continue
        of_axis = of_axis.reset_index(drop=True)
        of_axis.attrs = {}
        yield part(f"By {axis}", *_axis_parts(of_axis, level))
    if empty:
        yield paragraph(f"By {', '.join(empty)}: no group has enough rows to report.")
    few = audited.n_suppressed
    if few:
        has, is_ = ("group has", "is") if few == 1 else ("groups have", "are")
        least = audited.attrs["min_n"]
        yield note(f"{few:,} {has} fewer than {least:,} rows and {is_} left out.")


def _axis_parts(of_axis: pd.DataFrame, level: float) -> Iterator[str]:
    everyone = of_axis[of_axis["group"] == _ALL].head(1)
    groups = of_axis.drop(index=everyone.index)
    groups = groups.assign(marked=groups["verdict"] == AMPLIFIED)
    rate = float(everyone["rate"].iloc[0])
    yield f"<p>{_verdicts(groups, level)}</p>"
    interval = f"{share_text(level)} interval"
    rates = point_panel(
        groups,
        "rate",
        f"Share of rows excluded, {interval}",
        line=Mark(rate, f"all rows: {share_text(rate)}"),
    )
    ratios = point_panel(
        groups,
        "ratio",
        f"Ratio to the rate of all rows, {interval}",
        form=Form.RATIO,
        line=Mark(1.0, "as all rows"),
    )
    yield plots(render(rates), render(ratios) if rate > 0 else "")
    of_axis.loc[everyone.index, ["ratio", "ratio_lo", "ratio_hi"]] = float("nan")  # 1 of itself
    columns = [name for name in _COLUMNS if name in of_axis]
    of_axis = of_axis.assign(amplified=of_axis["verdict"] == AMPLIFIED)
    yield results(of_axis, columns=columns, named=_NAMED, shares=_SHARES, marked="amplified")


def _verdicts(groups: pd.DataFrame, level: float) -> str:
    """Which groups were few before and are excluded more than the rest."""
    rate = text(share_text(1 - level))
    at = f"at a false discovery rate of {rate}"
    found = groups[groups["verdict"] == AMPLIFIED]
    if not len(found):
        return f"No group was under-represented before and excluded more than the rest, {at}."
    return f"Under-represented before, and excluded more than the rest {at}: {_named(found)}."


def _named(groups: pd.DataFrame) -> str:
    shown = ", ".join(f"<b><bdi>{text(label, 40)}</bdi></b>" for label in groups["group"].head(12))
    return shown + (f" and {len(groups) - 12:,} more" if len(groups) > 12 else "")


def _origin(recipe: dict) -> str:
    inputs, parts = recipe["inputs"], recipe["parts"]
    size = sum(one["bytes"] for one in parts)
    rows = sum(one["rows"] for one in inputs)
    where = [code(one) for one in recipe["where"]]
    told = {
        "filter": "<br>".join(where) or "none by an expression",
        "read": f"{counted(len(inputs), 'shard')} of {rows:,} rows",
        "written": f"{counted(len(parts), 'part')}, {megabytes(size)}",
        "columns": ", ".join(code(column["name"]) for column in recipe["schema"]),
    }
    joins = [code(f"{', '.join(j['join'])}: {j['inputs'][0]['path']}") for j in recipe["joins"]]
    told |= {"joined on": "<br>".join(joins)} if joins else {}
    models = dict.fromkeys(_model(one) for one in recipe["models"])
    told |= {"models": ", ".join(map(code, models))} if models else {}
    told |= {"seed": str(recipe["seed"])} if recipe["seed"] is not None else {}
    return facts(told) + note("All of it, with digests and versions, is in _recipe.json.")


def _funnel(export: Export) -> str:
    """The rows that each clause of the filters left out, in order."""
    try:
        found = export.funnel()
    except ProvenanceError as error:
        return paragraph(str(error)[:500])
    if not len(found):
        return paragraph("No filter left out any row.")
    lines = [
        [code(row["clause"]), *(f"{row[name]:,}" for name in found.columns[1:])]
        for row in found.to_dict("records")
    ]
    explained = note(
        "A row is dropped by the first clause that is false for it. Where no clause is false but "
        "one is unknown, because a value is null or NaN, the row is unscored and counts under the "
        "first unknown clause."
    )
    return grid(list(found.columns), lines) + explained


def _model(recipe: dict) -> str:
    """A short name for what a model, a head or embeddings say of themselves."""
    if "embeddings" in recipe:
        return f"embeddings by {_model(recipe.get('model') or {})}"
    named = (str(recipe[key]) for key in ("name", "arch", "pretrained") if recipe.get(key))
    return " ".join(named) or "unnamed"


def _lists(audited: Table | None) -> Iterator[str]:
    """Where the groups come from: the term lists with their versions and sources."""
    for axis, told in (audited.attrs.get("groupings", {}) if audited is not None else {}).items():
        yield f"Groups by {axis}: {told}"
