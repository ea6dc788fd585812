"""The content of an export report: what was kept, by which filters, and whom they excluded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from laion_dask.errors import ProvenanceError
from laion_dask.exports.about_recipe import AboutRecipe
from laion_dask.exports.model_names import model_name
from laion_dask.exports.result import Export
from laion_dask.formatting import counted, in_bytes, share_text
from laion_dask.plots.description import Form, Mark
from laion_dask.reports.page_plots import picture, point_panel
from laion_dask.reports.page_tables import Cell, Fact, PageTable, result_table
from laion_dask.reserved_labels import AMPLIFIED
from laion_dask.stats.table import Table

_ALL = "(all)"
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
#: Maximum characters of a message about filters that cannot be separated.
_MESSAGE = 500


def export_view(export: Export, audited: Table | None, level: float) -> dict:
    """The data that the template of an export report displays.

    Parameters
    ----------
    export : Export
    audited : Table or None
        The result of its ``audit``; None if there is nothing to group by.
    level : float
        Coverage of the intervals.
    """
    funnel, error = _funnel(export)
    recipe = AboutRecipe.of(export.manifest)
    groupings = audited.attrs.get("groupings", {}) if audited is not None else {}
    return {
        "counts": export.rows.counts,
        "recipe": _recipe_facts(recipe),
        "recipe_notes": () if recipe is None else recipe.notes,
        "origin": list(_origin(export.manifest)),
        "funnel": funnel,
        "funnel_error": error,
        "audit": None if audited is None else audit_view(audited, level),
        "lists": [f"Groups by {axis}: {source}" for axis, source in groupings.items()],
    }


class AxisView(NamedTuple):
    """One axis of an audit: the amplified groups, plots and a table."""

    name: str
    amplified: list[str]
    plots: list[Markup]
    table: PageTable


class AuditView(NamedTuple):
    """An audit by axis; axes without a sufficiently large group are only listed."""

    axes: list[AxisView]
    empty_axes: list[str]
    n_missing: int
    n_suppressed: int
    min_n: int
    false_discovery_rate: str


def audit_view(audited: Table, level: float) -> AuditView:
    """The data that the audit template displays, for any page."""
    axes, empty = [], []
    for axis, rows in audited.groupby("axis", sort=False):
        if not rows["share_before"].notna().any():
            empty.append(str(axis))
            continue
        rows = rows.reset_index(drop=True)
        rows.attrs = {}
        axes.append(_axis_view(str(axis), rows, level))
    return AuditView(
        axes,
        empty,
        n_missing=audited.attrs.get("rows_before", {}).get("dropped", 0),
        n_suppressed=audited.n_suppressed,
        min_n=audited.attrs.get("min_n", 0),
        false_discovery_rate=share_text(1 - level),
    )


def _axis_view(name: str, rows: pd.DataFrame, level: float) -> AxisView:
    rows = rows.assign(marked=rows["verdict"] == AMPLIFIED)
    everyone = rows[rows["group"] == _ALL].head(1)
    groups = rows.drop(index=everyone.index)
    rate = float(everyone["rate"].iloc[0])
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
    plots = [picture(rates), *([picture(ratios)] if rate > 0 else [])]
    rows.loc[everyone.index, ["ratio", "ratio_lo", "ratio_hi"]] = float("nan")  # trivially 1
    columns = [column for column in _COLUMNS if column in rows]
    table = result_table(rows, columns=columns, named=_NAMED, shares=_SHARES, marked="marked")
    return AxisView(name, groups.loc[groups["marked"], "group"].tolist(), plots, table)


def _recipe_facts(recipe: AboutRecipe | None) -> list[Fact]:
    """Which recipe made the export, and where it is published."""
    return [] if recipe is None else [Fact(name, (text,)) for name, text in recipe.facts]


def _origin(manifest: dict) -> Iterator[Fact]:
    """The provenance of the export, from its manifest."""
    inputs, parts = manifest["inputs"], manifest["parts"]
    size = sum(part["bytes"] for part in parts)
    rows = sum(shard["rows"] for shard in inputs)
    filters = tuple(manifest["where"])
    if filters:
        yield Fact("filter", filters, is_code=True, one_a_line=True)
    else:
        yield Fact("filter", ("none by an expression",))
    yield Fact("read", (f"{counted(len(inputs), 'shard')} of {rows:,} rows",))
    yield Fact("written", (f"{counted(len(parts), 'part')}, {in_bytes(size)}",))
    yield Fact("columns", tuple(column["name"] for column in manifest["schema"]), is_code=True)
    joins = tuple(f"{', '.join(j['join'])}: {j['inputs'][0]['path']}" for j in manifest["joins"])
    if joins:
        yield Fact("joined on", joins, is_code=True, one_a_line=True)
    computed = tuple(manifest.get("computed", ()))
    if computed:
        yield Fact("columns computed by", computed, is_code=True, one_a_line=True)
    models = tuple(dict.fromkeys(model_name(model) for model in manifest["models"]))
    if models:
        yield Fact("models", models, is_code=True)
    if manifest["seed"] is not None:
        yield Fact("seed", (str(manifest["seed"]),))


def _funnel(export: Export) -> tuple[PageTable | None, str]:
    """The rows that each clause of the filters excluded, in order; or why they are unknown."""
    try:
        clauses = export.funnel()
    except ProvenanceError as error:
        return None, str(error)[:_MESSAGE]
    names = list(clauses.columns)
    rows = [
        (Cell(str(row["clause"]), "code"), *(Cell(f"{row[name]:,}") for name in names[1:]))
        for row in clauses.to_dict("records")
    ]
    return PageTable(tuple(names), tuple(rows)), ""
