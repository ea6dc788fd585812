"""The filter that keeps hand-picked rows, and the sets of rows of an explorer."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dask.dataframe as dd
import numpy as np

from laion_dask.curation.row_table import in_sorted, keys_of
from laion_dask.curation.tags import Tags, check_name
from laion_dask.curation.tags_file import is_written, read_tags, save_tags
from laion_dask.errors import OptionError
from laion_dask.explorer.filters import Filter
from laion_dask.explorer.sample import Sample
from laion_dask.formatting import counted
from laion_dask.frame.provenance import Provenance
from laion_dask.io.storage.user_cache import not_kept, user_cache

#: Maximum number of rows added to a set at once, and of sets.
MAX_ADDED, MAX_SETS = 1_000_000, 50


@dataclass(frozen=True)
class TaggedRows(Filter):
    """The rows of a set; see `laion_dask.tagged`.

    Parameters
    ----------
    tags : Tags
    """

    tags: Tags = field(compare=False, repr=False)
    name: str = field(init=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.tags.name)
        object.__setattr__(self, "digest", self.tags.sha256)

    @property
    def label(self) -> str:
        return f"tagged {self.name} ({counted(len(self.tags), 'row')})"

    def passes(self, sample: Sample) -> np.ndarray:
        return in_set(sample, self.tags)

    def file(self, frame: dd.DataFrame) -> Path:
        """A file of the set: its own if it has that content, else one in the user's cache folder.

        Raises
        ------
        ExportError
            When it cannot be written.
        """
        if is_written(self.tags):
            return Path(self.tags.path).absolute()
        path = user_cache("tags") / f"{self.digest}.json"
        try:
            os.makedirs(path.parent, mode=0o700, exist_ok=True)
        except OSError as error:
            what = f"The set of rows {self.name!r}"
            raise not_kept(what, error, hint=", or save the set to a file first") from error
        save_tags(self.tags, path, frame)
        return path


def in_set(sample: Sample, tags: Tags) -> np.ndarray:
    """Mask of the rows of a sample that are in a set, (n,) bool.

    Raises
    ------
    OptionError
        When the set is of other shards than the sample's frame; names what differs.
    """
    keys = tags.keys(Provenance.of(sample.frame))
    return in_sorted(keys_of(sample.shard, sample.row), keys)  # a merge may have duplicated a row


class TagSets:
    """The sets of rows of an explorer, by name. Mutable.

    Parameters
    ----------
    frame : dask DataFrame
    """

    def __init__(self, frame: dd.DataFrame) -> None:
        self._frame = frame
        self._sets: dict[str, Tags] = {}

    @property
    def by_name(self) -> Mapping[str, Tags]:
        """The sets in the order in which they were made."""
        return dict(self._sets)

    def add(self, name: str, shard: Iterable[int], row: Iterable[int]) -> Tags:
        """Add rows to a set, which is created if it does not exist.

        Raises
        ------
        OptionError
        """
        check_name(name)
        columns = [np.asarray(one, np.int64) for one in (shard, row)]
        if len(columns[0]) > MAX_ADDED:
            raise OptionError(
                f"{len(columns[0]):,} rows were to be added to {name!r}. Expected at most "
                f"{MAX_ADDED:,} rows; the selection itself is a filter that needs no list."
            )
        if name in self._sets:
            before = self._sets[name].located(self._frame)
            pairs = zip((before["shard"], before["row"]), columns, strict=True)
            columns = [np.concatenate([old, new]) for old, new in pairs]
        return self._put(Tags.of(self._frame, {"shard": columns[0], "row": columns[1]}, name))

    def open(self, path: str) -> Tags:
        """Add the set of a file; its rows must be of the explored frame's shards.

        Raises
        ------
        OptionError
        """
        tags = read_tags(path)
        tags.located(self._frame)
        if tags.name in self._sets:
            raise OptionError(f"There is a set {tags.name!r} already. Remove it first.")
        return self._put(tags)

    def save(self, name: str, path: str) -> Tags:
        """Write a set to a file. Raises as `laion_dask.write_tags`."""
        return self._put(save_tags(self._known(name), path, self._frame))

    def file_of(self, filter: TaggedRows) -> Path:
        """A file with the set of a filter: the one that it was saved to since, if it is the same.

        Raises as `TaggedRows.file`.
        """
        now = self._sets.get(filter.name)
        if now is not None and is_written(now):
            provenance = Provenance.of(self._frame)
            if np.array_equal(now.keys(provenance), filter.tags.keys(provenance)):
                return TaggedRows(now).file(self._frame)
        return filter.file(self._frame)

    def remove(self, name: str) -> None:
        self._sets.pop(name, None)

    def _known(self, name: str) -> Tags:
        if name not in self._sets:
            raise OptionError(
                f"There is no set {name!r}. Available: {', '.join(self._sets) or 'none'}."
            )
        return self._sets[name]

    def _put(self, tags: Tags) -> Tags:
        if tags.name not in self._sets and len(self._sets) >= MAX_SETS:
            raise OptionError(f"There are {MAX_SETS} sets. Remove one first.")
        self._sets[tags.name] = tags
        return tags
