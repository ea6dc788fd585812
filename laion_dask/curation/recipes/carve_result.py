"""The result of a run: the funnel, the export, and whom the steps excluded."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from laion_dask.curation.recipes.apply_steps import Application
from laion_dask.curation.recipes.definition import Definition
from laion_dask.display.grid import Grid
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import ProvenanceError
from laion_dask.exports.about_recipe import recipe_notes
from laion_dask.exports.result import Export
from laion_dask.formatting import counted, printable
from laion_dask.frame.accounting import Rows
from laion_dask.frame.funnel import funnel_of
from laion_dask.frame.provenance import Provenance
from laion_dask.reserved_labels import AMPLIFIED
from laion_dask.stats.table import Table

_COUNTS = ["before", "kept", "dropped", "unscored", "rejected", "undecided"]
_UNDECIDED = (
    "Undecided rows are among the kept ones: they lack a value that a step so far needs, and a "
    "later step drops them."
)
#: The number of groups of the audit that are printed.
_AUDIT_LINES = 12
_NOT_TESTED = "not tested"
_ALL_STEPS = "(all steps)"
_NOT_SHOWN = ("(all)", "(no term)")
_NONE_BY_FILTERS = (
    "The filters excluded no row; the audit leaves out rows that other steps dropped."
)
_VERDICT = "Verdict, at a false discovery rate of 5 %"
_MEANING = {
    AMPLIFIED: "if a group was under-represented before and is excluded more than the rest",
    "inconclusive": "if its difference from the rest may be due to chance",
}


@dataclass(frozen=True)
class Carve(Displayed):
    """A finished run of a recipe.

    Attributes
    ----------
    recipe : Recipe
    export : Export
    funnel : pandas.DataFrame
        One row per clause, in the order in which they ran, after one for reading: ``step`` (its
        position in the YAML, from 1; 0 for what precedes the steps), ``rule`` (str), and
        ``before``, ``kept``, ``dropped``, ``unscored``, ``rejected`` and ``undecided``, in rows.
        Kept rows are those before the next; ``undecided`` of them lack a value that is needed so
        far, and a later step drops them. The sums of ``dropped``, ``unscored`` and ``rejected``
        are those of ``rows``.
    audit : Table or None
        Which groups the steps excluded, see `laion_dask.audit`; None if the frame has no column to
        group by. It is ``_audit.csv`` in the export, too.
    left_out : tuple of str
        Steps that were not taken, and why: ``"step 3 left out: no column punsafe"``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> recipe = ld.Recipe("wide").where("width >= 256")
    >>> carve = recipe.run("demo-corpus/embedded/metadata", "wide-images")
    >>> int(carve.funnel["kept"].iloc[-1]) == carve.rows.kept
    True
    """

    recipe: Definition
    export: Export
    funnel: pd.DataFrame
    audit: Table | None
    left_out: tuple[str, ...] = ()

    @property
    def rows(self) -> Rows:
        """The number of rows per outcome."""
        return self.export.rows

    @property
    def path(self) -> str:
        """The folder of the export."""
        return self.export.path

    def __str__(self) -> str:
        lines = [*self._notes(), "", shown_funnel(self.funnel)]
        lines += [*self._notes_below(), *self.left_out, ""]
        lines.append(str(self.export))
        if self.audit is not None:
            head, groups, notes = _shown_audit(self.audit, self.rows, self.path)
            table = [] if groups is None else groups.to_string(index=False).splitlines()
            lines += ["", head, *table, *notes]
        return "\n".join(lines).strip("\n")

    __repr__ = __str__

    def _notes(self) -> list[str]:
        """What a reader of the rows should know."""
        return list(recipe_notes(self.recipe.tree))

    def _notes_below(self) -> list[str]:
        """Notes on the funnel: what undecided rows are, and which steps it does not list."""
        notes = [_UNDECIDED] if self.funnel["undecided"].any() else []
        document = self.recipe.document
        steps = {document.step_number(at) for at in range(len(self.recipe.steps))} - {0}
        left_out = {int(text.split()[1]) for text in self.left_out if text.startswith("step ")}
        unlisted = sorted(steps - left_out - set(self.funnel["step"]))
        if unlisted and _ALL_STEPS not in set(self.funnel["rule"]):
            which = ", ".join(map(str, unlisted))
            notes.append(
                f"Step {which} is not listed: it excludes no row by itself."
                if len(unlisted) == 1
                else f"Steps {which} are not listed: they exclude no rows by themselves."
            )
        return notes

    def _overview(self) -> Overview:
        grids = [Grid.of(self.funnel, heading="Rows after each step")]
        notes = [*self._notes(), *self._notes_below(), *self.left_out]
        if self.audit is not None:
            head, groups, below = _shown_audit(self.audit, self.rows, self.path)
            notes += [head] if groups is None else []
            grids += [] if groups is None else [Grid.of(groups, heading=head)]
            notes += below
        return Overview(
            f"Carve by {self.recipe.name}", self.export._overview().facts, grids=grids, notes=notes
        )


def funnel_by_step(provenance: Provenance, rows: Rows, application: Application) -> pd.DataFrame:
    """The funnel of a run; see `Carve`. Eager."""
    lines: list[tuple[object, ...]] = [
        (0, "read", rows.read, rows.read - rows.rejected, 0, 0, rows.rejected, 0)
    ]
    try:
        clauses = funnel_of(provenance, rows)
    except ProvenanceError:  # a step of the user's own drops rows: only totals are known
        left = rows.read - rows.rejected
        lines.append((0, _ALL_STEPS, left, rows.kept, rows.dropped, rows.unscored, 0, 0))
    else:
        for at, row in enumerate(clauses.to_dict("records")):
            counts = (int(row[name]) for name in ("before", "after", "dropped", "unscored"))
            undecided = int(row["undecided"])
            lines.append((_step_of(at, application), row["clause"], *counts, 0, undecided))
    return pd.DataFrame(lines, columns=["step", "rule", *_COUNTS])


def _step_of(clause: int, application: Application) -> int:
    """The number of the step that a clause belongs to, from 1; 0 for filters of the source."""
    counts = application.clauses
    if clause < application.clauses_before or not counts or clause >= counts[-1]:
        return 0
    at = next(n for n, count in enumerate(counts) if clause < count)
    return application.recipe.document.step_number(application.taken[at].number)


def shown_funnel(funnel: pd.DataFrame) -> str:
    """The funnel as text."""
    shown = pd.DataFrame({"step": funnel["step"].astype(str)})
    rules = [rule if len(rule) <= 60 else f"{rule[:59]}…" for rule in funnel["rule"]]
    width = max(map(len, rules))
    shown["rule"] = [rule.ljust(width) for rule in rules]
    for name in _COUNTS:
        shown[name] = [f"{value:,}" for value in funnel[name]]
    text: str = shown.to_string(index=False)
    return text


def _shown_audit(audit: Table, rows: Rows, path: str) -> tuple[str, pd.DataFrame | None, list[str]]:
    """A heading, the groups whose share of excluded rows differs most, and the conclusion."""
    groups = pd.DataFrame(audit)
    if not rows.dropped + rows.unscored:
        return "No row was excluded.", None, []
    if not rows.kept:
        return "Every row was excluded, of each group.", None, []
    if not groups.empty and not groups["k"].any():
        return _NONE_BY_FILTERS, None, []
    groups = groups[groups["ratio"].notna() & ~groups["group"].isin(_NOT_SHOWN)]
    if groups.empty:
        return f"The audit has no group of {audit.attrs['min_n']:,} rows or more.", None, []
    far = groups["ratio"].sub(1).abs().sort_values(ascending=False, kind="stable").index
    shown, n = groups.loc[far[:_AUDIT_LINES]], len(groups)
    number = f"{_AUDIT_LINES:,} of {n:,} groups" if n > _AUDIT_LINES else counted(n, "group")
    head = f"Share of rows excluded in {number}, the furthest from that of all rows first"
    verdicts = groups["verdict"].fillna(_NOT_TESTED).value_counts(sort=False)
    in_order = sorted(verdicts.items(), key=lambda pair: (pair[0] == _NOT_TESTED, pair[0]))
    summary = f"{counted(n, 'group')}: " + ", ".join(f"{m:,} {text}" for text, m in in_order)
    whole = f"The whole audit is _audit.csv in {path}."
    meanings = [f"{text}, {meaning}" for text, meaning in _MEANING.items() if text in verdicts]
    verdict = [f"{_VERDICT}: {'; '.join(meanings)}."] if meanings else []
    return head, _readable(shown), [f"{summary}.", *verdict, whole]


def _readable(groups: pd.DataFrame) -> pd.DataFrame:
    """Rows of an audit as text, with names of columns that need no explanation."""
    ends = zip(groups["lo"], groups["hi"], strict=True)
    return pd.DataFrame(
        {
            "axis": [printable(text) for text in groups["axis"]],
            "group": [printable(text) for text in groups["group"]],
            "rows": [f"{n:,}" for n in groups["n"]],
            "excluded": [f"{100 * rate:.1f} %" for rate in groups["rate"]],
            "95 % interval": [f"{100 * lo:.1f} to {100 * hi:.1f} %" for lo, hi in ends],
            "times all rows": [f"{ratio:.2f}" for ratio in groups["ratio"]],
            "verdict": groups["verdict"].fillna(_NOT_TESTED),
        }
    )
