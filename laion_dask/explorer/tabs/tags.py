"""The tags tab: name rows that were ticked, keep them in sets, show a set, write it to a file."""

from __future__ import annotations

import os
import re
from typing import Any

import numpy as np

from laion_dask.errors import LaionDaskError, OptionError
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.selection import FilterKey
from laion_dask.explorer.tabs.assets import current_folder, module, styles
from laion_dask.explorer.tag_filter import MAX_ADDED, TaggedRows, in_set
from laion_dask.explorer.views.component import Component
from laion_dask.formatting import counted, printable

_UNVERIFIED = "Its file has no digests: a shard that was written again may not be noticed."


class TagsComponent(Component):
    _esm = module("tags")
    _stylesheets = styles()


class TagsView:
    """The sets of rows of an explorer. A tab.

    Parameters
    ----------
    exploration : Exploration
    """

    def __init__(self, exploration: Exploration) -> None:
        self._exploration, self._ticked = exploration, exploration.ticked
        self._sets, self._note, self._is_error = exploration.tag_sets, "", False
        self._in_sample: dict[str, tuple[str, int]] = {}
        self.panel = TagsComponent(self._receive, sizing_mode="stretch_both")
        self._ticked.subscribe(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        n_ticked = len(self._ticked)
        n_selected = self._exploration.selection.n
        self.panel.draw(
            {
                "ticked": f"{counted(n_ticked, 'row')} ticked in the table and the gallery.",
                "n_ticked": n_ticked,
                "n_selected": n_selected,
                "is_too_many": n_selected > MAX_ADDED,
                "here": current_folder(),
                "note": printable(self._note),
                "is_error": self._is_error,
                "sets": [self._state(name) for name in self._sets.by_name],
            }
        )

    def _state(self, name: str) -> dict[str, Any]:
        tags = self._sets.by_name[name]
        known = self._in_sample.get(name)
        if known is None or known[0] != tags.sha256:
            n = int(np.count_nonzero(in_set(self._exploration.sample, tags)))
            known = self._in_sample[name] = tags.sha256, n
        more = "" if known[1] == len(tags) else f", {known[1]:,} of them in the sample"
        return {
            "name": name,
            "label": printable(name),
            "count": f"{counted(len(tags), 'row')}{more}",
            "is_shown": key_of(name) in self._exploration.selection.by_key,
            "path": tags.path or file_name(name),
        }

    def _receive(self, message: dict[str, Any]) -> None:
        try:
            self._note, self._is_error = self._do(message) or "", False
        except LaionDaskError as error:
            self._note, self._is_error = " ".join(str(error).split()), True
        self.refresh()

    def _do(self, message: dict[str, Any]) -> str | None:
        """What a message asks for; returns what was done, as a sentence."""
        kind = message.get("kind")
        name, path = (message.get(one) for one in ("name", "path"))
        if kind == "open" and isinstance(path, str):
            tags = self._sets.open(os.path.expanduser(path))
            opened = f"Opened {tags.name}: {counted(len(tags), 'row')}."
            return opened if tags.is_verified else f"{opened} {_UNVERIFIED}"
        if not isinstance(name, str):
            return None
        if kind == "add":
            return self._add(name, message.get("what") == "selected")
        if name not in self._sets.by_name:
            return None
        if kind == "show":
            self._show(name)
        elif kind == "remove":
            self._exploration.selection.set(key_of(name), None)
            self._sets.remove(name)
        elif kind == "save" and isinstance(path, str):
            saved = self._sets.save(name, os.path.expanduser(path.strip() or file_name(name)))
            return f"Written to {os.path.abspath(saved.path)}."
        return None

    def _add(self, name: str, is_selection: bool) -> str:
        sample = self._exploration.sample
        if is_selection:
            at = self._exploration.selection.positions()
        else:
            at = np.array(sorted(self._ticked.positions), np.int64)
        if not len(at):
            raise OptionError("No row is ticked. Tick rows in the table or tiles in the gallery.")
        name = name.strip()
        before = len(self._sets.by_name.get(name, ()))
        tags = self._sets.add(name, sample.shard[at], sample.row[at])
        if not is_selection:
            self._ticked.clear()
        if key_of(name) in self._exploration.selection.by_key:
            self._exploration.selection.set(key_of(name), TaggedRows(tags))
        added = len(tags) - before
        again = f"; {len(at) - added:,} were in it already" if added < len(at) else ""
        return f"{counted(added, 'row')} added to {name}{again}."

    def _show(self, name: str) -> None:
        selection = self._exploration.selection
        is_shown = key_of(name) in selection.by_key
        selection.set(key_of(name), None if is_shown else TaggedRows(self._sets.by_name[name]))


def key_of(name: str) -> FilterKey:
    """The key of the filter by a set."""
    return FilterKey("tags", name)


def file_name(name: str) -> str:
    """A name for the file of a set, in the current folder."""
    plain = re.sub(r"[^\w-]+", "-", name).strip("-")[:60]
    return f"tags-{plain or 'set'}.json"
