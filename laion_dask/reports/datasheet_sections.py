"""The sections of a datasheet: each makes HTML of the results of one statistic."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from laion_dask.aggregations.describe import SHARES
from laion_dask.aggregations.grouping.languages import DetectedLanguage
from laion_dask.aggregations.grouping.terms import terms
from laion_dask.formatting import counted, share_text
from laion_dask.plots.description import Form, Mark
from laion_dask.plots.static import render
from laion_dask.reports.html import (
    folded,
    note,
    paragraph,
    part,
    plots,
    results,
    section,
)
from laion_dask.reports.page_plots import point_panel, size_panel, threshold_panel
from laion_dask.reserved_labels import NOT_GROUPS
from laion_dask.stats.table import Table
from laion_dask.text.language_detection import UNKNOWN, Detector

#: Lines of a plot, rows of a table.
_DRAWN, _LISTED = 25, 60


def _describe(told: Table) -> str:
    if "value" not in told:
        told = told.assign(value=np.nan)
    numbers = told[told["value"].notna()]  # a language may be called "mean" or "quantile 0.50"
    quantiles = numbers[numbers["group"].str.startswith("quantile")]
    sizes = {
        str(name): rows["value"].to_list()
        for name, rows in quantiles.groupby("term", sort=False)
        if len(rows) == len(SHARES)
    }
    drawn = render(size_panel(SHARES, sizes))
    table = _quantiles(quantiles, numbers) if len(quantiles) else ""
    shares = told[told["rate"].notna() & told["axis"].isna()]
    columns = _columns(shares, ("term", "group", "threshold", "n", "k", "rate"))
    return section(
        "Images and captions",
        plots(drawn),
        table,
        part("Missing values, sizes, scores", results(shares, columns=columns)),
    )


def _quantiles(rows: Table, numbers: Table) -> str:
    """A line a column: some of its quantiles, and its mean."""
    wide = rows.assign(share=rows["group"].str.removeprefix("quantile "))
    wide = wide.pivot(index="term", columns="share", values="value").reset_index()
    few = [share for share in ("0.05", "0.25", "0.50", "0.75", "0.95") if share in wide]
    means = numbers[numbers["group"] == "mean"].set_index("term")["value"]
    found = wide[["term", *few]].assign(mean=wide["term"].map(means))
    return results(found, named={"term": "quantiles of"})


def _rates(told: Table) -> str:
    shares = told[told["term"] == "rows"]
    by_language = shares["axis"].isin(["language", DetectedLanguage.axis])
    languages = shares[by_language]
    mentions = shares[shares["axis"].notna() & ~by_language]
    parts = []
    if len(languages):
        parts.append(section("Languages", note(_how_told(languages)), _axis(languages)))
    if len(mentions):
        by_list = mentions.groupby("axis", sort=False)
        each = [part(str(axis), _axis(rows)) for axis, rows in by_list]
        said = paragraph("The share of all rows whose caption mentions a word of the group.")
        parts.append(section("Whom captions mention", said, *each))
    for term, rows in told[told["term"] != "rows"].groupby("term", sort=False):
        parts.append(_by_group(str(term), rows))
    return "".join(parts)


def _how_told(languages: Table) -> str:
    """Who says so: the data set's column, or a detector, and how much it left open."""
    if languages["axis"].iloc[0] != DetectedLanguage.axis:
        return (
            "As the column language of the data set has them; nothing was detected for this page."
        )
    detector = Detector().recipe()
    version = detector["detector"]["py3langid"]
    unknown = languages.loc[languages["group"] == UNKNOWN, "rate"]
    left = share_text(float(unknown.iloc[0])) if len(unknown) else share_text(0.0)
    return (
        f"Detected in the captions for this page by py3langid {version}, among those of "
        f"{detector['languages']} languages that are written in a caption's script. {left} of rows "
        f"are {UNKNOWN} (undetermined): fewer than {detector['min_letters']} letters, a script of "
        f"no known language, or a probability below {detector['min_confidence']}."
    )


_SHARE = ("group", "n", "k", "rate", "boot")
_RATE = ("axis", "group", "n", "k", "rate", "boot", "undecided", "ratio", "q")


def _columns(told: Table, wanted: Iterable[str]) -> list[str]:
    return [name for name in wanted if name in told and told[name].notna().any()]


def _axis(rows: Table) -> str:
    """The shares of the groups of one axis; those that do not occur are only counted."""
    seen = rows[rows["k"] > 0]
    groups = seen[~seen["group"].isin(NOT_GROUPS)]
    absent = len(rows) - len(seen)
    said = note(f"{counted(absent, 'group')} of the list in no row.") if absent else ""
    table = results(seen, columns=_columns(seen, _SHARE), most=_LISTED)
    if groups.empty:
        return said
    return plots(_points(groups, "rate", "share of rows")) + said + folded("as a table", table)


def _by_group(term: str, rows: Table) -> str:
    """Every group's rate of an expression, and how it compares with the rest."""
    overall = rows.loc[rows["axis"].isna(), "rate"]  # a group may be called "(all)"
    groups = rows[rows["axis"].notna()]
    groups = groups[groups["ratio"].notna()]  # not the rows in no group, where they are all
    groups = _marked(groups, groups["axis"] + ": " + groups["group"])
    line = Mark(float(overall.iloc[0]), "all rows") if len(overall) else None
    drawn = [
        _points(groups, "rate", "rate", line=line),
        _points(groups, "ratio", "ratio to the rest", form=Form.RATIO, line=Mark(1.0)),
    ]
    said = "Marked: a ratio other than 1 at q < 0.05, adjusted for the groups of its axis."
    columns = _columns(rows, _RATE)
    return section(
        f"Rows with {term}, by group",
        plots(*drawn),
        note(said),
        folded("as a table", results(rows, columns=columns, most=200)),
    )


def _concentration(told: Table) -> str:
    parts = []
    for axis, rows in told.groupby("axis", sort=False):
        shown = ("term", "n", "k", "rate", "value")
        indices = rows[rows["group"] != "label"]
        labels = rows[rows["group"] == "label"]
        parts.append(
            part(
                _LEVELS.get(str(axis), str(axis)),
                results(indices, columns=_columns(indices, shown), named={"term": "of all"}),
                results(labels, columns=_columns(labels, shown), most=_DRAWN),
            )
        )
    return section("Where rows come from", *parts)


def _duplicates(table: Table) -> str:
    """Shares, then counts of values: their intervals are in other units."""
    is_count = table["value"].notna()
    shares = table[~is_count]
    counts = table[is_count].drop(columns=["rate"])
    headings = {"term": "column", "group": "rows", "value": "count"}
    share_columns = _columns(shares, ("term", "group", "n", "k", "rate", "method"))
    count_columns = _columns(counts, ("term", "group", "value", "method"))
    return section(
        "Addresses and captions that repeat",
        paragraph("Compared byte by byte; missing values are counted separately."),
        results(shares, columns=share_columns, named=headings),
        results(counts, columns=count_columns, named={**headings, "group": "values"}),
    )


_LEVELS = {"domain": "registered domains", "tld": "top-level domains"}


def _curve(told: Table) -> str:
    parts = []
    for term, rows in told.groupby("term", sort=False):
        groups = [
            (str(group), of_group)
            for group, of_group in rows.groupby("group", sort=False)
            if group == "(all)" or group not in NOT_GROUPS
        ]
        title = f"share of rows above a threshold of {term}"
        parts.append(render(threshold_panel(groups, title)))
    said = paragraph("Logarithmic; the band is the interval. Groups are captions' mentions.")
    return section("Rate against threshold", said, plots(*parts))


def _cooccurrence(told: Table) -> str:
    """The bias of each word between two groups, the largest first, and the nPMI of each pair."""
    columns = ("term", "group", "group_2", "n", "k", "k_2", "expected", "value", "q")
    parts = []
    for (group, other), rows in told[told["measure"] == "PMI bias"].groupby(["group", "group_2"]):
        rows = rows[~rows["term"].isin(_by_definition())]
        rows = rows.sort_values("value", key=abs, ascending=False)
        title = f"PMI with {group} less PMI with {other}"
        drawn = _points(
            _marked(rows, rows["term"]), "value", title, form=Form.HUNDREDTHS, line=Mark(0.0)
        )
        parts.append(plots(drawn))
    bias = told[told["measure"] == "PMI bias"]
    parts.append(folded("PMI bias", results(bias, columns=_columns(bias, columns))))
    shared = told[told["measure"] == "nPMI"].sort_values("value", ascending=False)
    listed = results(shared, columns=_columns(shared, columns), most=_LISTED)
    heading = f"{told['axis'].iloc[0]}: normalised PMI" if len(told) else ""
    said = note(
        "Not drawn: occupations whose own word names a gender, such as actress; they are in the "
        "tables."
    )
    return section("Mentioned together", *parts, said, folded(heading, listed))


def _by_definition() -> set[str]:
    """Occupations of which a term is in the list of genders too."""
    words, genders = (terms(name).table() for name in ("occupations", "gender"))
    return set(words.loc[words["term"].isin(set(genders["term"])), "group"])


def _intersections(told: Table) -> str:
    names = told["group"] + " and " + told["group_2"]
    rows = _marked(told[told["k"] > 0], names[told["k"] > 0])
    rows = rows.sort_values("q", kind="stable")
    columns = ("axis", "group", "axis_2", "group_2", "n", "k", "expected", "value", "q")
    return section(
        "Intersections",
        plots(_points(rows, "value", "observed over expected", form=Form.RATIO, line=Mark(1.0))),
        folded("as a table", results(told, columns=_columns(told, columns), most=_LISTED)),
    )


def _marked(rows: Table, labels) -> Table:
    """The rows under other labels; those of q < 0.05 stand out."""
    return rows.assign(group=labels, marked=(rows["q"] < 0.05).fillna(False))


def _points(rows: Table, name: str, title: str, **options) -> str:
    rows = rows[rows[name].notna()]
    return render(point_panel(rows, name, title, most=_DRAWN, **options))


#: By the statistic's name, in the order of the page.
SECTIONS: dict[str, Callable[[Table], str]] = {
    "describe": _describe,
    "concentration": _concentration,
    "duplicate_share": _duplicates,
    "rates": _rates,
    "curve": _curve,
    "cooccurrence": _cooccurrence,
    "intersections": _intersections,
}
