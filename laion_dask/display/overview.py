"""An overview: what an object shows of itself in a notebook, and as plain text elsewhere.

Nothing on an overview is read or computed for it. All text is escaped, control and bidirectional
characters are visible, and long text is cut. Colors are those of the page, light or dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING

from laion_dask.formatting import counted, printable, printable_lines

if TYPE_CHECKING:
    from laion_dask.display.grid import Grid

#: Characters of a value among the facts, and of code.
_FACT, _CODE = 300, 4000


@dataclass(frozen=True)
class Overview:
    """What an object shows of itself, from top to bottom.

    Attributes
    ----------
    title : str
    facts : mapping of str to object
        Names and values, one per line; a value that is None is left out.
    code : str
        Text whose line breaks are kept.
    grids : sequence of Grid
    notes : sequence of str
        Sentences.
    more : sequence of str
        Further sentences, which the reader has to open.
    links : mapping of str to str
        Addresses of our own, such as a dashboard's, by the name of their fact. Only http and https.
    """

    title: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    code: str = ""
    grids: Sequence[Grid] = ()
    notes: Sequence[str] = ()
    more: Sequence[str] = ()
    links: Mapping[str, str] = field(default_factory=dict)

    def below(self, grid: Grid, notes: Sequence[str]) -> Overview:
        """The same overview with another grid and its notes in front of its own."""
        return replace(self, grids=[grid, *self.grids], notes=[*notes, *self.notes])

    def html(self, *, is_sortable: bool = False) -> str:
        """The overview as HTML, which stays within its output and loads nothing.

        Parameters
        ----------
        is_sortable : bool
            Whether a script sorts and pages the tables where scripts run: in a trusted notebook.
        """
        from markupsafe import escape

        from laion_dask.templates import render

        code = printable_lines(self.code[:_CODE]) + "…" * (len(self.code) > _CODE)
        return str(
            render(
                "laion_dask.display",
                "overview",
                title=self.title,
                facts=self._facts(),
                links={k: v for k, v in self.links.items() if v.startswith(("http:", "https:"))},
                code=escape(code),
                grids=self.grids,
                notes=self.notes,
                more=self.more,
                sortable=is_sortable
                and any(grid.is_sortable and len(grid.rows) > 1 for grid in self.grids),
            )
        )

    def text(self) -> str:
        """The overview as plain text."""
        facts = self._facts()
        width = max(map(len, facts), default=0)
        lines = [printable(self.title)] if self.title else []
        lines += [f"  {name.ljust(width)}  {printable(text)}" for name, text in facts.items()]
        lines += [printable_lines(self.code)] if self.code else []
        for grid in self.grids:
            lines += [printable(grid.heading)] if grid.heading else []
            cells = [grid.head, *grid.rows] if grid.head else grid.rows
            rows = [tuple(map(printable, row)) for row in cells]
            widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
            lines += [
                "  " + "  ".join(t.ljust(w) for t, w in zip(row, widths, strict=True)).rstrip()
                for row in rows
            ]
        return "\n".join([*lines, *map(printable, self.notes)])

    def _facts(self) -> dict[str, str]:
        return {
            printable(name): _cut(str(value))
            for name, value in self.facts.items()
            if value is not None
        }


def _cut(text: str) -> str:
    return text if len(text) <= _FACT else text[:_FACT] + "…"


def _value_text(value: object) -> str:
    """A parameter as text, without the content of what may be large."""
    if isinstance(value, bytes):
        return counted(len(value), "byte")
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{' x '.join(f'{n:,}' for n in value.shape)} {value.dtype}"
    return str(value) if isinstance(value, (str, PurePath)) else repr(value)


class Displayed:
    """A base class of objects that show themselves as an overview in notebooks."""

    __slots__ = ()

    def _overview(self) -> Overview:
        """What to show; by default the name of the class and its parameters."""
        if not is_dataclass(self):
            return Overview(type(self).__name__)
        shown = {one.name: getattr(self, one.name, None) for one in fields(self) if one.repr}
        facts = {
            name: _value_text(value)
            for name, value in shown.items()
            if value is not None and not (isinstance(value, (tuple, list, dict)) and not value)
        }
        return Overview(type(self).__name__, facts)

    def _repr_html_(self) -> str:
        return self._overview().html()

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        """What IPython shows: as `_repr_html_`, but tables sort and page where scripts run."""
        return {"text/html": self._overview().html(is_sortable=True), "text/plain": repr(self)}
