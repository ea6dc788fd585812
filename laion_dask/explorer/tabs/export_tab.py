"""The export tab: what the selection is in the whole data set, whom it excludes, and writing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from laion_dask.aggregations.audit import audit, default_axes
from laion_dask.errors import ExportError, LaionDaskError, OptionError
from laion_dask.explorer.as_code import as_recipe, selected_frame
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.sample import Sample
from laion_dask.explorer.tabs.assets import current_folder, module, styles
from laion_dask.explorer.tabs.export_tables import audit_state, funnel_state
from laion_dask.explorer.unsafe_rows import (
    NO_SCORES,
    UnsafeRows,
    has_scores,
    only_safe,
    unsafe_in_frame,
    unsafe_in_sample,
)
from laion_dask.explorer.views.component import Component
from laion_dask.exports import formats
from laion_dask.exports.export import export
from laion_dask.formatting import in_bytes, printable
from laion_dask.frame.accounting import Rows
from laion_dask.frame.funnel import funnel
from laion_dask.frame.provenance import Provenance
from laion_dask.frame.rows import rows
from laion_dask.io.storage.atomic_file import committed

#: Formats that need an argument, and the attribute of the exploration that provides it.
_NEEDS = {"embeddings": "embeddings", "webdataset": "images"}


class ExportComponent(Component):
    _esm = module("table", "paths", "export_tab")
    _stylesheets = styles()


class ExportView:
    """Count, audit and write the selected rows of the whole data set. A tab.

    Parameters
    ----------
    exploration : Exploration
    jobs : Jobs
    """

    def __init__(self, exploration: Exploration, jobs: Jobs) -> None:
        self._exploration, self._jobs = exploration, jobs
        self._job: Job | None = None
        self._state: dict[str, Any] = {"facts": "", "funnel": None, "audit": None, "result": ""}
        self._computed_for: object = None
        self._unsafe: UnsafeRows | None = None  # in all rows, once they are counted
        self._sampled: tuple[np.ndarray, UnsafeRows] | None = None  # of the last mask
        self._note, self._is_error = "", False
        self.panel = ExportComponent(self._receive, sizing_mode="stretch_both")
        jobs.subscribe(self._job_changed)
        self.refresh()

    def refresh(self) -> None:
        """Show the selection as it is now; what was counted for another is marked as old."""
        exploration = self._exploration
        n, of = exploration.selection.n, exploration.sample
        has_figures = self._state["facts"] or self._state["audit"]
        is_old = has_figures and self._computed_for != exploration.selection.decided_by
        self.panel.draw(
            {
                "sentence": selected_text(n, of),
                **self._state,
                "stale": "These figures are of an earlier selection." if is_old else "",
                "unsafe": self._unsafe_text(),
                "can_leave_out": has_scores(of),
                "formats": self._formats(),
                "here": os.path.join(current_folder(), ""),
                "note": printable(self._note),
                "is_error": self._is_error,
                "is_running": self._job is not None and not self._job.has_ended,
            }
        )

    def _unsafe_text(self) -> str:
        """The selected rows that the gallery hides, which are written unless they are left out."""
        selection, sample = self._exploration.selection, self._exploration.sample
        if self._unsafe is not None and self._computed_for == selection.decided_by:
            return self._unsafe.text("selected rows")
        if not has_scores(sample):
            return NO_SCORES
        found = self._unsafe_in_sample()
        if sample.is_whole:
            return found.text("selected rows")
        text = found.text("selected rows of the sample")
        return f"{text} Count all rows counts in the whole data set."

    def _unsafe_in_sample(self) -> UnsafeRows:
        """The counts of the sample, kept until the selection changes.

        Without that, each progress report of a job would count all rows of the sample again.
        """
        mask = self._exploration.selection.mask()  # the same array until the selection changes
        if self._sampled is None or self._sampled[0] is not mask:
            self._sampled = mask, unsafe_in_sample(self._exploration.sample, mask)
        return self._sampled[1]

    def _formats(self) -> list[str]:
        """The formats that can be written: some need embeddings or images."""
        return [
            name
            for name in formats.names()
            if name not in _NEEDS or getattr(self._exploration, _NEEDS[name]) is not None
        ]

    def _receive(self, message: dict[str, Any]) -> None:
        kind = message.get("kind")
        self._note, self._is_error = "", False
        try:
            if self._job is not None and not self._job.has_ended:
                raise OptionError("Something is running already. Wait for it, or cancel it above.")
            if kind == "count":
                self._start("counting the selected rows", self._count)
            elif kind == "audit":
                self._audit()
            elif kind == "write":
                self._state["result"] = ""  # that of an earlier one says nothing of this one
                folder, chosen = str(message.get("folder", "")), str(message.get("format", ""))
                self._write(folder.strip(), chosen, message.get("leave_out") is True)
        except LaionDaskError as error:
            self._note, self._is_error = error_line(error), True
        self.refresh()

    def _start(self, label: str, work: Any) -> None:
        """Start some work, whose result is part of the state."""
        frame = selected_frame(self._exploration)  # the selection may change meanwhile
        decided_by = self._exploration.selection.decided_by

        def done(found: dict[str, Any]) -> None:
            if decided_by != self._computed_for:
                self._state |= {"facts": "", "funnel": None, "audit": None}
                self._unsafe = None
            self._unsafe = found.pop("unsafe", self._unsafe)
            self._state |= found
            self._note = ""
            self._computed_for = decided_by
            self.refresh()

        self._job = self._jobs.start(
            label, lambda job: work(frame), then=done, failed=lambda error: self._fail(label, error)
        )

    def _fail(self, label: str, error: BaseException) -> None:
        self._note, self._is_error = f"{label.capitalize()} failed: {error_line(error)}", True
        self.refresh()

    def _job_changed(self) -> None:
        """Whether buttons are enabled depends on the job; called at each step of its progress."""
        if self._job is not None:
            if self._job.state == "canceled":
                self._job, self._note = None, "Canceled."
            self.refresh()

    # -- what the jobs compute -------------------------------------------------------------------

    def _count(self, frame) -> dict[str, Any]:
        found = rows(frame)
        size = in_bytes(bytes_of(frame, found))
        facts = f"{found}\nThe rows alone: about {size} as Parquet, by the size of the shards."
        counted: dict[str, Any] = {"facts": facts, "funnel": funnel_state(funnel(frame))}
        sample = self._exploration.sample
        if has_scores(sample):
            counted["unsafe"] = unsafe_in_frame(frame, sample.types)
        return counted

    def _audit(self) -> None:
        before = self._exploration.frame
        by = default_axes(before)
        if not by:
            raise OptionError("The rows have no language and no text, by which to group them.")
        if not self._exploration.selection.filters:
            raise OptionError("No filter is set, so no row is excluded.")
        self._start(
            "auditing the filters",
            lambda frame: {"audit": audit_state(audit(before, frame, list(by)))},
        )

    # -- writing ---------------------------------------------------------------------------------

    def _write(self, folder: str, chosen: str, leave_out: bool) -> None:
        path = os.path.expanduser(folder)
        recipe = Path(os.path.abspath(check_free(path)))
        path = os.path.abspath(path)
        if chosen not in self._formats():
            raise OptionError(f"format is {chosen!r}. Expected one of {self._formats()}.")
        exploration = self._exploration
        options = {}
        if chosen in _NEEDS:
            options[_NEEDS[chosen]] = getattr(exploration, _NEEDS[chosen])
        leave_out = leave_out and has_scores(exploration.sample)
        name = Path(path).name or "selection"
        text = as_recipe(exploration, name, without_unsafe=leave_out)

        def work(frame) -> dict[str, Any]:
            frame = only_safe(frame) if leave_out else frame
            done = export(frame, path, chosen, **options)
            with committed(recipe) as file:
                file.write(text.encode())
            return {"result": f"{done}\nThe recipe: {recipe}"}

        self._note = "Writing…"
        self._start("writing the selected rows", work)


def selected_text(n: int, sample: Sample) -> str:
    """How many rows are selected, and which rows the tab reads."""
    if sample.is_whole:
        return f"{n:,} of {sample.n_rows:,} rows are selected."
    return (
        f"{n:,} of the sample's {sample.n:,} rows are selected. Here, all {sample.n_rows:,} rows "
        "of the data set are counted and written."
    )


def check_free(path: str) -> Path:
    """The file for the recipe beside a new folder; raises if either exists.

    Raises
    ------
    ExportError, OptionError
    """
    if not path:
        raise OptionError("No folder is named. Write the name of a new one.")
    if "://" in path:
        raise OptionError(
            f"The folder is {path!r}. Expected one on this machine; to write to a store, run the "
            "copied Python and call selected.laion.export(...)."
        )
    target = Path(path)
    recipe = target.parent / f"{target.name}.recipe.yaml"
    if os.path.lexists(recipe):
        raise ExportError(f"{recipe} exists already. Name another folder, or move it away.")
    if os.path.lexists(target) and (not target.is_dir() or any(target.iterdir())):
        raise ExportError(f"{path} exists already and is not an empty folder. Name a new one.")
    return recipe


def bytes_of(frame, found: Rows) -> float:
    """The size of the kept rows, at the mean size of a row of the shards."""
    shards = Provenance.of(frame).shards
    n_rows = sum(shard.n_rows for shard in shards)
    return found.kept * sum(shard.size for shard in shards) / n_rows if n_rows else 0.0
