"""The compare tab: two sets of sampled rows side by side, or the frame and another data set."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from laion_dask.curation.duplicates.diff import Diff, diff
from laion_dask.errors import LaionDaskError, OptionError
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.jobs import Job, Jobs, error_line
from laion_dask.explorer.tabs.assets import module, styles
from laion_dask.explorer.tabs.bias import MAX_IN_CALLBACK
from laion_dask.explorer.tabs.caption_terms import TermSearch
from laion_dask.explorer.tabs.diff_tables import diff_state
from laion_dask.explorer.tabs.rates import Section, Sets, sections
from laion_dask.explorer.tag_filter import in_set
from laion_dask.explorer.views.component import Component
from laion_dask.formatting import counted, printable
from laion_dask.io.parquet.read_shards import read_shards

#: The choices that are always offered.
SELECTED, REST, ALL = "selected", "rest", "all"
_FIXED = {SELECTED: "the selected rows", REST: "the rows not selected", ALL: "all rows"}
#: Maximum number of remembered selections, each with one bit per row.
_MAX_KEPT = 20


class CompareComponent(Component):
    _esm = module("rates", "table", "compare")
    _stylesheets = styles()


class CompareView:
    """Rates of two sets of the sample's rows, and what they share; or two data sets. A tab.

    Parameters
    ----------
    exploration : Exploration
    jobs : Jobs
    """

    def __init__(self, exploration: Exploration, jobs: Jobs) -> None:
        self._exploration, self._jobs = exploration, jobs
        self._kept: dict[str, np.ndarray] = {}
        self._first, self._second, self._note = SELECTED, ALL, ""
        self._diff: dict[str, Any] | None = None
        self._search = TermSearch(exploration, jobs, self._count)
        self._comparing: Job | None = None
        self._counting: Job | None = None
        self.panel = CompareComponent(self._receive, sizing_mode="stretch_both")
        jobs.subscribe(self._job_changed)
        self._draw([], "")

    def _job_changed(self) -> None:
        if self._comparing is not None:
            self._draw_states(self._sections, self._sentence)

    def refresh(self) -> None:
        """Compare the two sets as they are now. Called when the tab is shown."""
        self._search.start()
        self._count()

    def _choices(self) -> dict[str, str]:
        kept = {f"kept:{name}": f"remembered: {name}" for name in self._kept}
        sets = {f"tags:{name}": f"set: {name}" for name in self._exploration.tag_sets.by_name}
        return {**_FIXED, **kept, **sets}

    def _mask(self, key: str) -> np.ndarray:
        kind, _, name = key.partition(":")
        sample, selection = self._exploration.sample, self._exploration.selection
        if key == ALL:
            return np.ones(sample.n, bool)
        if kind == "kept":
            return np.unpackbits(self._kept[name], count=sample.n).view(bool)
        if kind == "tags":
            return in_set(sample, self._exploration.tag_sets.by_name[name])
        selected = selection.mask()
        return selected if key == SELECTED else ~selected

    def _count(self) -> None:
        if self._counting is not None:
            self._counting.cancel()
        choices = self._choices()
        self._first = self._first if self._first in choices else SELECTED
        self._second = self._second if self._second in choices else ALL
        if self._first == self._second:
            self._draw([], "Choose two different sets.")
            return
        masks = self._mask(self._first), self._mask(self._second)
        names = choices[self._first], choices[self._second]
        if self._exploration.sample.n <= MAX_IN_CALLBACK:
            self._draw(*self._compared(masks, names))
            return
        self._counting = self._jobs.start(
            "comparing two sets of rows",
            lambda job: self._compared(masks, names),
            then=lambda found: self._draw(*found),
        )

    def _compared(
        self, masks: tuple[np.ndarray, np.ndarray], names: tuple[str, str]
    ) -> tuple[list[Section], str]:
        """The rates of two sets, and a sentence on what they share."""
        sets = Sets.of(*masks)
        _, only_first, only_second, both = (int(n) for n in sets.sizes)
        union = only_first + only_second + both
        share = f", {100 * both / union:.1f} % of all rows of the two sets" if union else ""
        sentence = (
            f"Compared: {names[0]} ({counted(only_first + both, 'row')} of the sample) and "
            f"{names[1]} ({counted(only_second + both, 'row')}). They share "
            f"{counted(both, 'row')}{share}. Each rate and each difference has a 95 % "
            "interval; that of a difference allows for the shared rows."
        )
        if not union:
            return [], sentence
        return sections(self._exploration.sample, sets, self._search.terms), sentence

    def _draw(self, found: list[Section], sentence: str) -> None:
        self._draw_states([section.state() for section in found], sentence)

    def _draw_states(self, found: list[dict[str, Any]], sentence: str) -> None:
        choices = self._choices()
        self._sections, self._sentence = found, sentence
        self.panel.draw(
            {
                "choices": [[key, printable(label)] for key, label in choices.items()],
                "first": self._first,
                "second": self._second,
                "names": [printable(choices[one]) for one in (self._first, self._second)],
                "sentence": printable(sentence),
                "note": printable(self._note),
                "sections": found,
                "diff": self._diff,
                "is_comparing": self._comparing is not None and not self._comparing.has_ended,
            }
        )

    def _receive(self, message: dict[str, Any]) -> None:
        kind, self._note = message.get("kind"), ""
        try:
            self._do(kind, message)
        except LaionDaskError as error:
            self._note = error_line(error)
        self._count()

    def _do(self, kind: object, message: dict[str, Any]) -> None:
        value, name = str(message.get("value")), message.get("name")
        if kind == "first" and value in self._choices():
            self._first = value
        elif kind == "second" and value in self._choices():
            self._second = value
        elif kind == "keep" and isinstance(name, str):
            self._keep(name.strip())
        elif kind == "diff":
            self._start_diff(str(message.get("path", "")), str(message.get("by", "")))

    def _keep(self, name: str) -> None:
        if not name:
            raise OptionError("The selection has no name. Write one, such as A.")
        if name not in self._kept and len(self._kept) >= _MAX_KEPT:
            raise OptionError(f"{_MAX_KEPT} selections are remembered. Use one of their names.")
        self._kept[name] = np.packbits(self._exploration.selection.mask())
        self._second = f"kept:{name}"

    def _start_diff(self, path: str, by: str) -> None:
        if not path.strip():
            raise OptionError("No folder is named. Write that of another data set.")
        keys = [one.strip() for one in by.split(",") if one.strip()]
        frame = self._exploration.frame

        def compare(job: Job) -> Diff:
            other = read_shards(os.path.expanduser(path.strip()))
            return diff(frame, other, by=keys if len(keys) > 1 else (keys or ["url"])[0])

        def show(found: Diff) -> None:
            self._diff = diff_state(found, ", ".join(keys) or "url")
            self._draw_states(self._sections, self._sentence)

        self._diff = None
        self._comparing = self._jobs.start("comparing the data sets", compare, then=show)
