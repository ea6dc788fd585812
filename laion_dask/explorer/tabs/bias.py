"""The bias tab: rates among the selected rows beside those of all other rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs
from laion_dask.explorer.tabs.assets import module, styles
from laion_dask.explorer.tabs.caption_terms import TermSearch
from laion_dask.explorer.tabs.rates import Section, Sets, sections
from laion_dask.explorer.views.component import Component

#: Larger samples are counted in the background; a million rows take 0.07 s.
MAX_IN_CALLBACK = 3_000_000


class RatesComponent(Component):
    _esm = module("rates", "bias")
    _stylesheets = styles()


class BiasView:
    """Rates with intervals for the selection and for the rest of the sample. A tab.

    Captions are searched once, when the tab is first shown.

    Parameters
    ----------
    exploration : Exploration
    jobs : Jobs
    """

    def __init__(self, exploration: Exploration, jobs: Jobs) -> None:
        self._exploration, self._jobs = exploration, jobs
        self._search = TermSearch(exploration, jobs, self._count)
        self._counting: Job | None = None
        self.panel = RatesComponent(lambda message: None, sizing_mode="stretch_both")
        self._draw(None)

    def refresh(self) -> None:
        """Compare the selection as it is now. Called when the tab is shown."""
        self._search.start()
        self._count()

    def _count(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
        selected = self._exploration.selection.mask()
        if selected.all() or not selected.any():
            self._draw(None)
        elif len(selected) <= MAX_IN_CALLBACK:
            self._draw(self._sections(selected))
        else:
            self._counting = self._jobs.start(
                "comparing the selection with the rest",
                lambda job: self._sections(selected),
                then=self._draw,
            )

    def _sections(self, selected: np.ndarray) -> list[Section]:
        sets = Sets.of(selected, ~selected)
        return sections(self._exploration.sample, sets, self._search.terms)

    def _draw(self, found: list[Section] | None) -> None:
        state: dict[str, Any] = {
            "sentence": self._sentence(),
            "waiting": "",
            "names": ["selected", "not selected"],
            "sections": [section.state() for section in found or []],
        }
        if found is not None and self._search.terms is None and self._search.is_running:
            state["waiting"] = "Terms in captions are being searched…"
        self.panel.draw(state)

    def _sentence(self) -> str:
        sample, n = self._exploration.sample, self._exploration.selection.n
        if n == 0 or n == sample.n:
            which = "Every row is" if n else "No row is"
            return f"{which} selected: select some rows to compare them with the others."
        return (
            f"The {n:,} selected rows of the sample are compared with the {sample.n - n:,} others: "
            "rates in percent, with 95 % intervals. Of many differences, about one in twenty looks "
            "real by chance. A term is a word in a caption: it does not say who is in an image."
        )
