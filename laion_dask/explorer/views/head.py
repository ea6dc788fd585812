"""The head: row counts, the running job, undo and redo, and the selection as code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.views.component import Component, module, styles
from laion_dask.formatting import counted, printable
from laion_dask.runtime.workers import current_client
from laion_dask.stats import wilson


class HeadComponent(Component):
    _esm = module("head")
    _stylesheets = styles("head")


class HeadView:
    """The head of the page, shown even before the sample is drawn.

    Parameters
    ----------
    jobs : Jobs
    code : mapping of str to callable
        ``code["python"](exploration)`` and ``code["recipe"](exploration)`` write the selection.
    """

    def __init__(
        self, jobs: Jobs, code: Mapping[str, Callable[[Exploration], str]] | None = None
    ) -> None:
        self._jobs, self._code_of = jobs, dict(code or {})
        self._exploration: Exploration | None = None
        self._error = ""
        self._dismissed: Job | None = None
        self._failed_with: Job | None = None
        self._code: dict[str, Any] | None = None
        self._copies = 0
        self.panel = HeadComponent(self._receive, sizing_mode="stretch_width")
        self._jobs.subscribe(self._job_changed)
        self.refresh()

    def show(self, exploration: Exploration) -> None:
        """Show the rows of an exploration, now that there is one."""
        self._exploration = exploration
        self.refresh()

    def close(self) -> None:
        """Release the rows; call `refresh` to show it."""
        self._exploration, self._error, self._code = None, "", None

    def fail(self, error: BaseException | str) -> None:
        """Show an error in one line; an empty text removes it."""
        self._error = error if isinstance(error, str) else error_line(error)
        self._failed_with = self._jobs.current
        self.refresh()

    def _job_changed(self) -> None:
        """Draw the current job; a job that succeeds after an error removes the error."""
        job = self._jobs.current
        if job is not None and job.state == "done" and job is not self._failed_with:
            self._error, self._failed_with = "", job
        self.refresh()

    def refresh(self) -> None:
        exploration, job = self._exploration, self._jobs.current
        self.panel.draw(
            {
                **(_no_rows(job) if exploration is None else rows_text(exploration)),
                "is_ready": exploration is not None,
                "workers": workers_text(),
                "can_undo": exploration is not None and exploration.selection.can_undo,
                "can_redo": exploration is not None and exploration.selection.can_redo,
                "job": _job_state(job, self._jobs.waiting),
                "error": self._error or _failure(job, self._dismissed),
                "code": self._code,
            }
        )

    def _receive(self, message: dict[str, Any]) -> None:
        kind = str(message.get("kind"))  # it may be anything, such as a list
        if kind == "cancel":
            self._jobs.cancel()
        elif kind == "dismiss":
            self._error, self._dismissed = "", self._jobs.current
        elif kind == "close":
            self._code = None
        elif self._exploration is not None and kind in ("undo", "redo"):
            getattr(self._exploration.selection, kind)()
        elif self._exploration is not None and kind in self._code_of:
            self._write_code(kind, self._exploration)
        self.refresh()

    def _write_code(self, kind: str, exploration: Exploration) -> None:
        try:
            text = self._code_of[kind](exploration)
        except Exception as error:
            self.fail(error)
            return
        self._copies += 1
        title = {"python": "The selected rows as Python", "recipe": "The selected rows as a recipe"}
        self._code = {"title": title[kind], "text": text, "number": self._copies}


def rows_text(exploration: Exploration) -> dict[str, str]:
    """How many rows there are, how many were sampled and selected, and an estimate over all."""
    sample, k = exploration.sample, exploration.selection.n
    n, n_rows = sample.n, sample.n_rows
    rows = f"sample {n:,} of {n_rows:,} rows"
    if n == n_rows:
        rows = "the only row" if n == 1 else f"all {n_rows:,} rows"
    share = f" ({100 * k / n:.3g} %)" if n else ""
    estimate = title = ""
    if n < n_rows:
        likely, low, high = estimated_rows(k, n, n_rows)
        estimate = f"about {likely:,} of all rows ({low:,} to {high:,})"
        title = (
            "Estimated from the sample, with the 95 % Wilson interval. The code and the recipe "
            "select exactly the rows of the whole data set that pass."
        )
    return {
        "rows": rows,
        "selected": f"{k:,} selected{share}",
        "estimate": estimate,
        "estimate_title": title,
    }


def estimated_rows(k: int, n: int, n_rows: int) -> tuple[int, int, int]:
    """Rows of the frame that pass, from k of n sampled rows: the estimate, and its 95 % interval.

    This is the Wilson interval, which is conservative for a finite frame, clipped to what the
    sample shows: at least ``k`` rows pass, and at least ``n - k`` do not.

    Parameters
    ----------
    k, n, n_rows : int
        ``k`` rows pass of ``n`` that were sampled from ``n_rows``.
    """
    if n == 0:
        return 0, 0, n_rows
    low, high = wilson(k, n)
    at_least, at_most = k, n_rows - (n - k)
    likely = round(k * n_rows / n)
    bounds = max(at_least, int(low * n_rows)), min(at_most, -int(-(high * n_rows) // 1))
    return likely, *bounds


def workers_text() -> str:
    """What computes: the current client's workers, or threads of this process."""
    client = current_client()
    if client is None:
        return "computed here, without Dask workers"
    try:
        workers = len(client.scheduler_info(n_workers=-1)["workers"])
    except Exception:  # an asynchronous client, or one that was closed
        return "computed by a Dask client"
    return f"computed by {counted(workers, 'Dask worker')}"


def _no_rows(job) -> dict[str, str]:
    waits = job is not None and not job.has_ended
    text = "Reading the rows…" if waits else "No rows were read."
    return {"rows": text, "selected": "", "estimate": "", "estimate_title": ""}


def _job_state(job: Job | None, waiting: Sequence[Job]) -> dict[str, Any] | None:
    if job is None or job.has_ended or job.state in ("done", "failed", "canceled"):
        return None
    is_canceling = job.state == "canceling"
    label = printable(job.label)
    count = f": {job.done:,} of {job.total:,}" if job.total else ""
    after = f"; then {', '.join(printable(one.label) for one in waiting)}" if waiting else ""
    return {
        "label": f"canceling: {label}" if is_canceling else f"{label}{count}{after}",
        "done": job.done,
        "total": job.total,
        "can_cancel": not is_canceling,
    }


def _failure(job, dismissed) -> str:
    return "" if job is None or job is dismissed else job.error
