"""The sections of a datasheet: the data that each statistic's template displays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from markupsafe import Markup

from laion_dask.aggregations.describe import SHARES
from laion_dask.aggregations.grouping.languages import DetectedLanguage
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.formatting import counted, share_text
from laion_dask.plots.description import Form, Mark
from laion_dask.reports.environment import render
from laion_dask.reports.page_plots import picture, point_panel, size_panel, threshold_panel
from laion_dask.reports.page_tables import PageTable, result_table
from laion_dask.reserved_labels import NOT_GROUPS
from laion_dask.stats.table import Table
from laion_dask.text.language_detection import UNKNOWN, Detector

#: Maximum lines of a plot, and rows of a table.
_DRAWN, _LISTED = 25, 60


def section_markup(statistic: str, results: Table) -> Markup:
    """The section of one statistic; without a template of its own, a table under its name."""
    if statistic not in SECTIONS:
        return render("sections/other", heading=statistic, table=result_table(results))
    return render(f"sections/{statistic}", **SECTIONS[statistic](results))


def _describe(results: Table) -> dict:
    if "value" not in results:
        results = results.assign(value=np.nan)
    numbers = results[results["value"].notna()]  # a language may be called "mean"
    quantiles = numbers[numbers["group"].str.startswith("quantile")]
    sizes = {
        str(name): rows["value"].to_list()
        for name, rows in quantiles.groupby("term", sort=False)
        if len(rows) == len(SHARES)
    }
    shares = results[results["rate"].notna() & results["axis"].isna()]
    return {
        "sizes": picture(size_panel(SHARES, sizes)),
        "quantiles": _quantiles(quantiles, numbers) if len(quantiles) else None,
        "shares": _table(shares, ("term", "group", "threshold", "n", "k", "rate")),
    }


def _quantiles(rows: Table, numbers: Table) -> PageTable:
    """One row per column: selected quantiles and the mean."""
    pivoted = rows.assign(share=rows["group"].str.removeprefix("quantile "))
    pivoted = pivoted.pivot(index="term", columns="share", values="value").reset_index()
    shown = [share for share in ("0.05", "0.25", "0.50", "0.75", "0.95") if share in pivoted]
    means = numbers[numbers["group"] == "mean"].set_index("term")["value"]
    pivoted = pivoted[["term", *shown]].assign(mean=pivoted["term"].map(means))
    return result_table(pivoted, named={"term": "quantiles of"})


class AxisShares(NamedTuple):
    """The shares of the groups of one axis, as a plot and a table, and how many do not occur."""

    plot: Markup
    table: PageTable
    absent: str


class GroupRates(NamedTuple):
    """The rate of an expression in each group, and the ratio to the rest."""

    plots: list[Markup]
    table: PageTable


def _rates(results: Table) -> dict:
    shares = results[results["term"] == "rows"]
    by_language = shares["axis"].isin(["language", DetectedLanguage.axis])
    languages = shares[by_language]
    mentions = shares[shares["axis"].notna() & ~by_language]
    rates = results[results["term"] != "rows"]
    return {
        "languages": _axis(languages) if len(languages) else None,
        "language_source": _language_source(languages) if len(languages) else "",
        "mentions": {str(axis): _axis(rows) for axis, rows in mentions.groupby("axis", sort=False)},
        "by_group": {
            str(term): _group_rates(rows) for term, rows in rates.groupby("term", sort=False)
        },
    }


def _language_source(languages: Table) -> str:
    """Whether languages come from a column or a detector, and how many rows are undetermined."""
    if languages["axis"].iloc[0] != DetectedLanguage.axis:
        return (
            "As the column language of the data set has them; nothing was detected for this page."
        )
    detector = Detector().recipe()
    version = detector["detector"]["py3langid"]
    unknown = languages.loc[languages["group"] == UNKNOWN, "rate"]
    undetermined = share_text(float(unknown.iloc[0])) if len(unknown) else share_text(0.0)
    return (
        f"Detected in the captions for this page by py3langid {version}, among those of "
        f"{detector['languages']} languages that are written in a caption's script. {undetermined} "
        f"of rows are {UNKNOWN} (undetermined): fewer than {detector['min_letters']} letters, a "
        "script of no known language, or a probability below "
        f"{detector['min_confidence']}."
    )


def _axis(rows: pd.DataFrame) -> AxisShares:
    present = rows[rows["k"] > 0]
    groups = present[~present["group"].isin(NOT_GROUPS)]
    n_absent = len(rows) - len(present)
    return AxisShares(
        _points(groups, "rate", "share of rows"),
        _table(present, ("group", "n", "k", "rate", "boot"), limit=_LISTED),
        f"{counted(n_absent, 'group')} {'occurs' if n_absent == 1 else 'occur'}"
        if n_absent
        else "",
    )


def _group_rates(rows: pd.DataFrame) -> GroupRates:
    overall = rows.loc[rows["axis"].isna(), "rate"]  # a group may be called "(all)"
    groups = rows[rows["axis"].notna()]
    groups = groups[groups["ratio"].notna()]  # drop rows in no group, if those are all rows
    groups = _marked(groups, groups["axis"] + ": " + groups["group"])
    line = Mark(float(overall.iloc[0]), "all rows") if len(overall) else None
    plots = [
        _points(groups, "rate", "rate", line=line),
        _points(groups, "ratio", "ratio to the rest", form=Form.RATIO, line=Mark(1.0)),
    ]
    columns = ("axis", "group", "n", "k", "rate", "boot", "undecided", "ratio", "q")
    return GroupRates(plots, _table(rows, columns))


class Level(NamedTuple):
    """Domains at one level: concentration indices, and the most frequent domains."""

    name: str
    indices: PageTable
    most_frequent: PageTable


def _concentration(results: Table) -> dict:
    columns = ("term", "n", "k", "rate", "value")
    levels = []
    for axis, rows in results.groupby("axis", sort=False):
        is_label = rows["group"] == "label"
        levels.append(
            Level(
                _LEVELS.get(str(axis), str(axis)),
                _table(rows[~is_label], columns, named={"term": "of all"}),
                _table(rows[is_label], columns, limit=_DRAWN),
            )
        )
    return {"levels": levels}


_LEVELS = {"domain": "registered domains", "tld": "top-level domains"}


def _duplicates(results: Table) -> dict:
    """Shares, then counts of values, since their intervals have different units."""
    is_count = results["value"].notna()
    shares = results[~is_count]
    counts = results[is_count].drop(columns=["rate"])
    headings = {"term": "column", "group": "rows", "value": "count"}
    share_columns = ("term", "group", "n", "k", "rate", "method")
    count_columns = ("term", "group", "value", "method")
    return {
        "shares": _table(shares, share_columns, named=headings),
        "counts": _table(counts, count_columns, named={**headings, "group": "values"}),
    }


def _curve(results: Table) -> dict:
    curves = []
    for term, rows in results.groupby("term", sort=False):
        groups = [
            (str(group), of_group)
            for group, of_group in rows.groupby("group", sort=False)
            if group == "(all)" or group not in NOT_GROUPS
        ]
        title = f"share of rows above a threshold of {term}"
        curves.append(picture(threshold_panel(groups, title)))
    return {"curves": curves}


def _cooccurrence(results: Table) -> dict:
    """The bias of each word between two groups, in descending order, and the nPMI of each pair."""
    columns = ("term", "group", "group_2", "n", "k", "k_2", "expected", "value", "q")
    bias = results[results["measure"] == "PMI bias"]
    biases = []
    for (group, other), rows in bias.groupby(["group", "group_2"]):
        rows = rows[~rows["term"].isin(_gendered_words())]
        rows = rows.sort_values("value", key=abs, ascending=False)
        title = f"PMI with {group} less PMI with {other}"
        rows = _marked(rows, rows["term"])
        biases.append(_points(rows, "value", title, form=Form.HUNDREDTHS, line=Mark(0.0)))
    shared = results[results["measure"] == "nPMI"].sort_values("value", ascending=False)
    return {
        "biases": biases,
        "bias_table": _table(bias, columns),
        "shared": _table(shared, columns, limit=_LISTED),
        "shared_heading": f"{results['axis'].iloc[0]}: normalized PMI" if len(results) else "",
    }


def _gendered_words() -> set[str]:
    """Occupations with a term that is also in the list of genders."""
    words, genders = (terms(name).table() for name in ("occupations", "gender"))
    return set(words.loc[words["term"].isin(set(genders["term"])), "group"])


def _intersections(results: Table) -> dict:
    names = results["group"] + " and " + results["group_2"]
    rows = _marked(results[results["k"] > 0], names[results["k"] > 0])
    rows = rows.sort_values("q", kind="stable")
    columns = ("axis", "group", "axis_2", "group_2", "n", "k", "expected", "value", "q")
    title = "observed over expected"
    return {
        "ratios": _points(rows, "value", title, form=Form.RATIO, line=Mark(1.0)),
        "table": _table(results, columns, limit=_LISTED),
    }


def _marked(rows: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """The rows with other labels; rows with q < 0.05 are marked."""
    return rows.assign(group=labels, marked=(rows["q"] < 0.05).fillna(False))


def _points(rows: pd.DataFrame, name: str, title: str, **options) -> Markup:
    rows = rows[rows[name].notna()]
    return picture(point_panel(rows, name, title, limit=_DRAWN, **options))


def _table(rows: pd.DataFrame, columns: Iterable[str], **options) -> PageTable:
    """A table of the columns that exist and are not empty."""
    shown = [name for name in columns if name in rows and rows[name].notna().any()]
    return result_table(rows, columns=shown, **options)


#: The data that a section's template displays, by the name of the statistic.
SECTIONS: dict[str, Callable[[Table], dict]] = {
    "describe": _describe,
    "concentration": _concentration,
    "duplicate_share": _duplicates,
    "rates": _rates,
    "curve": _curve,
    "cooccurrence": _cooccurrence,
    "intersections": _intersections,
}
