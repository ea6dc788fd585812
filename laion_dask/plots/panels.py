"""Group the results of a table into panels of comparable values that share an axis."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd

from laion_dask.errors import OptionError, did_you_mean
from laion_dask.plots.table_panel import BY_METHOD, COUNTS, TablePanel
from laion_dask.reserved_labels import AMPLIFIED

#: Maximum number of lines or colors per panel.
MAX_SERIES = 8
#: Maximum number of terms with a panel each; with more, terms become the labels of one panel.
MAX_TERMS = 6
_KEYS = ("statistic", "term", "axis", "group", "measure", "side", "axis_2", "group_2", "method")
#: The group label for all rows.
_ALL = ("(all)", "all")


def panels(result: pd.DataFrame, show: str | None, limit: int) -> list[TablePanel]:
    """The panels of a table, in table order.

    Parameters
    ----------
    result : Table
    show : str, optional
        The column to plot; by default the rate, or the value if there is no rate.
    limit : int
        Maximum number of labels per panel; the first ones of the table are kept.

    Raises
    ------
    OptionError
        When the table has no such numeric column.
    """
    rows = _rows(result, show)
    if show is None:
        rows = rows[~in_table_only(rows)]
    drawn: list[TablePanel] = []
    for _, block in rows.groupby(["statistic", "kind", "measure"], sort=False):
        drawn += _of_statistic(block, limit)
    return _told_apart(drawn)


def in_table_only(result: pd.DataFrame) -> pd.Series:
    """Which rows are indices or top-k shares of a concentration whose labels the table lists.

    By default only the labels are drawn, since indices and counts do not share their axis.
    """
    if not {"statistic", "group"} <= set(result):
        return pd.Series(False, result.index)
    of_concentration = result["statistic"] == "concentration"
    is_label = of_concentration & (result["group"] == "label")
    listed = result["axis"].isin(result.loc[is_label, "axis"]) if "axis" in result else False
    return of_concentration & ~is_label & listed


def _told_apart(drawn: list[TablePanel]) -> list[TablePanel]:
    """The same panels; titles that occur several times are extended by the measure."""
    n_of_title = Counter(panel.title for panel in drawn)
    return [_with_measure(p) if n_of_title[p.title] > 1 else p for p in drawn]


def _with_measure(panel: TablePanel) -> TablePanel:
    title = panel.title.removesuffix(panel.left_out).rstrip()
    return replace(panel, title=f"{title}: {panel.axis_label} {panel.left_out}".rstrip())


def _rows(result: pd.DataFrame, show: str | None) -> pd.DataFrame:
    """The results with a number, with their keys as text."""
    source = pd.DataFrame(result).reset_index(drop=True)
    numbers = [c for c in source if pd.api.types.is_numeric_dtype(source[c])]
    if show is not None and show not in numbers:
        raise OptionError(f"show is {show!r}.{did_you_mean(str(show), numbers)}")
    rows = pd.DataFrame(index=source.index)
    for key in _KEYS:
        column = source.get(key, pd.Series(None, source.index, dtype=object))
        texts = ["" if pd.isna(v) else str(v) for v in column]
        rows[key] = pd.Series(texts, source.index, dtype=object)
    for key in ("query", "top"):  # columns of a search result
        if key in source and source[key].nunique() > 1:
            rows["term"] = (rows["term"] + f" {key} " + source[key].astype(str)).str.strip()
    rows = _paired(rows.rename(columns={"measure": "kind"}))
    for name in ("threshold", "n", "overall", "value", "lo", "hi"):
        rows[name] = _floats(source, name)
    rows["measure"] = "value"
    if show is None:
        rate = _floats(source, "rate")
        rows.loc[~np.isnan(rate), "measure"] = "rate"
        rows["value"] = np.where(np.isnan(rate), rows["value"], rate)
    elif show not in ("rate", "value"):
        rows["lo"], rows["hi"] = _floats(source, f"{show}_lo"), _floats(source, f"{show}_hi")
    if show is not None:
        rows["measure"], rows["value"] = show, _floats(source, show)
    by_chance = rows["method"].isin(BY_METHOD) & (rows["measure"] == "value")
    rows["by_chance"] = np.where(by_chance, _floats(source, "expected"), np.nan)
    rows["marked"] = source["verdict"].eq(AMPLIFIED) if "verdict" in source else False
    return rows[rows["value"].notna()]


def _paired(rows: pd.DataFrame) -> pd.DataFrame:
    """Turn pairs of groups into terms and groups; add the side to terms."""
    two, sided = rows["group_2"] != "", rows["side"] != ""
    crossed = two & (rows["term"] == "")  # a group of one axis within the groups of another
    axes = (rows["axis"] + " and " + rows["axis_2"]).where(rows["axis_2"] != "", rows["axis"])
    versus = (rows["group"] + " / " + rows["group_2"]).where(two, rows["group"])
    term = rows["term"].where(~sided, rows["term"] + " " + rows["side"])
    return rows.assign(
        term=rows["group"].where(crossed, term),
        group=rows["group_2"].where(crossed, versus),
        axis=axes.where(crossed, rows["axis"]),
    )


def _floats(source: pd.DataFrame, name: str) -> np.ndarray:
    if name not in source or not pd.api.types.is_numeric_dtype(source[name]):
        return np.full(len(source), np.nan)
    return source[name].to_numpy(dtype=float, na_value=np.nan)


def _of_statistic(block: pd.DataFrame, limit: int) -> Iterator[TablePanel]:
    """The panels of one statistic and one measure."""
    is_all = (block["axis"] == "") & block["group"].isin(_ALL)
    grouped = set(block.loc[~is_all, "term"])
    is_overall = is_all & block["term"].isin(grouped)  # drawn as a line instead of a group
    overall = block[is_overall]
    for axis, axis_rows in block[~is_overall].groupby("axis", sort=False):
        steps = axis_rows.groupby(["term", "group"], sort=False)["threshold"].transform("nunique")
        yield from _all_curves(axis_rows[steps > 1], overall, str(axis))
        yield from _points(axis_rows[steps <= 1], overall, str(axis), limit)


def _all_curves(axis_rows: pd.DataFrame, overall: pd.DataFrame, axis: str) -> Iterator[TablePanel]:
    """One panel per term with groups as curves; terms without several groups share a panel."""
    single = axis_rows.groupby("term", sort=False)["group"].transform("nunique") == 1
    steps = axis_rows.groupby("term", sort=False)["threshold"].transform(
        lambda t: hash(tuple(sorted(t)))
    )
    for _, rows in axis_rows[single].groupby([steps, "group"], sort=False):
        terms = rows["term"].unique()
        rows = rows.assign(series=rows["term"])
        group = rows["group"].iloc[0] if axis else ""
        yield _curves(rows, terms, terms[0] if len(terms) == 1 else group, axis, "terms")
    for term, rows in axis_rows[~single].groupby("term", sort=False):
        same = overall[overall["term"] == term]
        rows = rows.assign(series=rows["group"])
        same = same.assign(series=same["group"])
        yield _curves(pd.concat([same, rows]), rows["group"].unique(), str(term), axis, "groups")


def _curves(
    rows: pd.DataFrame, series: np.ndarray, subject: str, axis: str, kind: str
) -> TablePanel:
    shown = rows[~rows["series"].isin(series[MAX_SERIES:])]
    shown = shown.assign(label="").sort_values("threshold", kind="stable")
    title = _title(shown, subject, axis, len(series), MAX_SERIES, kind)
    # In table order, regardless of the order of thresholds.
    order = {name: i for i, name in enumerate(rows["series"].unique())}
    shown = shown.sort_values("series", key=lambda s: s.map(order), kind="stable")
    return TablePanel(title, shown["measure"].iloc[0], shown, curves=True)


def _points(
    axis_rows: pd.DataFrame, overall: pd.DataFrame, axis: str, limit: int
) -> Iterator[TablePanel]:
    """Panels of single values: one per term, one for all terms, or one per group."""
    groups_of = axis_rows.groupby("term", sort=False)["group"].transform("nunique")
    several = axis_rows[groups_of > 1]
    if several["term"].nunique() > MAX_TERMS:
        yield _lines(axis_rows, "term", "group", "", axis, limit)
        return
    for term, rows in several.groupby("term", sort=False):
        same = overall.loc[overall["term"] == term, "value"]
        line = float(same.iloc[0]) if len(same) else _constant(rows["overall"])
        line = float("nan") if line == 1 else line  # the share of all rows is trivially 1
        rows = rows if np.isnan(line) else rows[rows["group"] != _ALL[0]]  # drawn as the line
        yield _lines(rows, "group", None, str(term), axis, limit, line)
    single = axis_rows[groups_of <= 1]
    n_groups = single["group"].nunique()
    if n_groups > MAX_TERMS or 1 < n_groups == single["term"].nunique():  # all terms differ
        names = single["term"] + " · " + single["group"]
        yield _lines(single.assign(term=names), "term", None, "", axis, limit)
        return
    for group, rows in single.groupby("group", sort=False):
        is_count = rows["term"].isin(COUNTS) & (rows["measure"] == "value")
        for of_kind in (rows[~is_count], rows[is_count]):
            if len(of_kind):
                yield _lines(of_kind, "term", None, str(group), axis, limit)


def _lines(
    rows: pd.DataFrame,
    label: str,
    series: str | None,
    subject: str,
    axis: str,
    limit: int,
    overall: float = float("nan"),
) -> TablePanel:
    labels, shared = _without_shared_end(rows[label].where(rows[label] != "", axis))
    rows = rows.assign(label=labels, series="" if series is None else rows[series])
    subject = subject or shared
    if rows["series"].nunique() > MAX_SERIES:  # more series than colors
        rows = rows.assign(label=labels + " · " + rows["series"], series="")
    names = rows["label"].unique()
    title = _title(rows, subject, axis, len(names), limit, label + "s")
    shown = rows[rows["label"].isin(names[:limit])]
    return TablePanel(title, rows["measure"].iloc[0], shown, overall=overall)


def _without_shared_end(labels: pd.Series) -> tuple[pd.Series, str]:
    """Strip the ending after a colon that all labels share; returns the labels and the ending."""
    parts = labels.str.partition(": ")
    shared = parts[2].iloc[0] if labels.nunique() > 1 and parts[2].nunique() == 1 else ""
    return (parts[0], shared) if shared else (labels, "")


def _title(rows: pd.DataFrame, subject: str, axis: str, n: int, limit: int, kind: str) -> str:
    first = rows.iloc[0]
    subject = "" if subject in _ALL else subject
    if subject == "label":  # the most frequent labels of a concentration
        subject = "share of rows" if first["measure"] == "rate" else ""
    title = ": ".join(filter(None, (first["statistic"], first["kind"], subject)))
    title += f" by {axis}" if axis not in ("", subject) else ""
    threshold = _constant(rows["threshold"])
    if not np.isnan(threshold):
        title += f" (threshold {threshold:g})"
    return title + (f" ({limit:,} of {n:,} {kind})" if n > limit else "")


def _constant(values: pd.Series) -> float:
    """The common value of all known values, else NaN."""
    distinct = values.dropna().unique()
    return float(distinct[0]) if len(distinct) == 1 else float("nan")
