"""The result of a run: the funnel, the export, and whom the steps excluded."""

from __future__ import annotations

import html
from dataclasses import dataclass

import pandas as pd

from laion_dask.curation.recipes.apply_steps import Application
from laion_dask.curation.recipes.definition import Definition
from laion_dask.errors import ProvenanceError
from laion_dask.exports.about_recipe import recipe_notes
from laion_dask.exports.result import Export
from laion_dask.formatting import printable, printable_lines
from laion_dask.frame.accounting import Rows
from laion_dask.frame.funnel import funnel_of
from laion_dask.frame.provenance import Provenance
from laion_dask.stats.table import Table

_COUNTS = ["before", "kept", "dropped", "unscored", "rejected"]
#: Columns and the number of lines of the audit that are printed; the table has all of them.
_AUDIT = ["axis", "group", "n", "rate", "lo", "hi", "ratio", "q"]
_AUDIT_LINES = 12
_AUDIT_HEAD = (
    "Excluded share by group, the furthest from that of all rows first (carve.audit has all)"
)
_NO_GROUP = "The audit has no group with enough rows."


@dataclass(frozen=True)
class Carve:
    """A finished run of a recipe.

    Attributes
    ----------
    recipe : Recipe
    export : Export
    funnel : pandas.DataFrame
        One row per clause, in the order in which they ran, after one for reading: ``step`` (its
        position in the YAML, from 1; 0 for what precedes the steps), ``rule`` (str), and
        ``before``, ``kept``, ``dropped``, ``unscored`` and ``rejected``, in rows. Kept rows are
        those before the next. The sums over all rows are those of ``rows``.
    audit : Table or None
        Which groups the steps excluded; None if the frame has no column to group by.
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
        lines = [*self._notes(), "", shown_funnel(self.funnel), *self.left_out, ""]
        lines.append(str(self.export))
        if self.audit is not None:
            lines += ["", *_shown_audit(self.audit)]
        return "\n".join(lines).strip("\n")

    __repr__ = __str__

    def _notes(self) -> list[str]:
        """What a reader of the rows should know."""
        return list(recipe_notes(self.recipe.tree))

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(printable(note))}</li>" for note in self._notes())
        lines = "<br>".join(map(html.escape, printable_lines(str(self.export)).split("\n")))
        page = f"<ul>{notes}</ul>" if notes else ""
        page += Table(self.funnel)._repr_html_()
        page += "".join(f"<p>{html.escape(printable(one))}</p>" for one in self.left_out)
        page += f"<p>{lines}</p>"
        if self.audit is None:
            return page
        groups = _audit_groups(self.audit)
        return page + (
            f"<p>{_NO_GROUP}</p>"
            if groups.empty
            else f"<p>{_AUDIT_HEAD}</p>{Table(groups)._repr_html_()}"
        )


def funnel_by_step(provenance: Provenance, rows: Rows, application: Application) -> pd.DataFrame:
    """The funnel of a run; see `Carve`. Eager."""
    lines: list[tuple[object, ...]] = [
        (0, "read", rows.read, rows.read - rows.rejected, 0, 0, rows.rejected)
    ]
    try:
        clauses = funnel_of(provenance, rows)
    except ProvenanceError:  # a step of the user's own drops rows: only totals are known
        left = rows.read - rows.rejected
        lines.append((0, "(all steps)", left, rows.kept, rows.dropped, rows.unscored, 0))
    else:
        for at, row in enumerate(clauses.to_dict("records")):
            counts = (int(row[name]) for name in ("before", "after", "dropped", "unscored"))
            lines.append((_step_of(at, application), row["clause"], *counts, 0))
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


def _audit_groups(audit: Table) -> pd.DataFrame:
    """The groups whose share of excluded rows differs most from that of all rows."""
    groups = pd.DataFrame(audit)
    groups = groups[groups["ratio"].notna() & ~groups["group"].isin(["(all)", "(no term)"])]
    far = groups["ratio"].sub(1).abs().sort_values(ascending=False, kind="stable").index
    return groups.loc[far[:_AUDIT_LINES], [name for name in _AUDIT if name in groups]]


def _shown_audit(audit: Table) -> list[str]:
    """Those groups as text."""
    shown = _audit_groups(audit)
    if shown.empty:
        return [_NO_GROUP]
    text = shown.to_string(index=False, float_format=lambda value: f"{value:.4g}", na_rep="-")
    return [_AUDIT_HEAD, *text.splitlines()]
