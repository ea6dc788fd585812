"""Named sets of rows that a person chose, and how they are found again in a data set."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import dask.dataframe as dd
import numpy as np
import pandas as pd

from laion_dask.curation.row_pairs import rows_by_shard
from laion_dask.curation.row_table import keys_of
from laion_dask.curation.shard_names import ShardName, found_again, shard_names
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import OptionError, must_be
from laion_dask.formatting import counted
from laion_dask.frame.provenance import Provenance
from laion_dask.io.parquet.content_digest import MAX_BLOCKS, content_digest
from laion_dask.io.parquet.shard import Shard

#: Blocks that are read of all shards of a set together, 256 MB, and at least of each.
_BLOCKS, _MIN_BLOCKS = 4096, 4
#: Characters of the name of a set.
_MAX_NAME = 200


@dataclass(frozen=True)
class Content:
    """The digest of a shard's bytes; see `content_digest`.

    Attributes
    ----------
    sha256 : str
    n_blocks : int
    """

    sha256: str
    n_blocks: int


@dataclass(frozen=True, eq=False)
class TaggedShard:
    """The chosen rows of one shard.

    Attributes
    ----------
    shard : ShardName
    number : int
        Its number when the rows were chosen; the number in another frame may differ.
    n_rows : int
        The number of rows of the shard.
    rows : (n,) int64 array
        Positions in the shard, ascending, each once.
    content : Content, optional
        What the file had; None if the set is not in a file, or in one that does not say it.
    """

    shard: ShardName
    number: int
    n_rows: int
    rows: np.ndarray
    content: Content | None = None


@dataclass(frozen=True)
class ListRecord:
    """The entry of a manifest for a set of rows."""

    list: str
    sha256: str
    values: int

    def recipe(self) -> dict[str, Any]:
        return {"list": self.list, "sha256": self.sha256, "values": self.values}


@dataclass(frozen=True, eq=False, repr=False)
class Tags(Displayed):
    """A named set of rows of a data set. Immutable; `read_tags` and `write_tags` return it.

    Attributes
    ----------
    name : str
    shards : tuple of TaggedShard
        The shards with rows of the set, by name.
    path : str
        The file of the set; empty if it was not written.
    sha256 : str
        The digest of the file; without one, of its names and rows.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> tags = ld.write_tags("stars.json", frame, [[0, 1], [0, 2]], name="stars")
    >>> tags
    Tags('stars', 2 rows of 1 shard, 'stars.json')
    >>> frame.laion.tagged(tags).laion.rows().kept
    2
    """

    name: str
    shards: tuple[TaggedShard, ...]
    path: str = ""
    sha256: str = ""

    @classmethod
    def of(cls, frame: dd.DataFrame, rows: Any, name: str) -> Tags:
        """A set of rows that is not in a file. Eager; reads no data.

        The parameters and exceptions are those of `write_tags`.
        """
        check_name(name)
        provenance = Provenance.of(frame)
        provenance.check_row_identity()
        names, tagged = shard_names(provenance), []
        by_number = {shard.index: shard for shard in provenance.shards}
        for number, positions in rows_by_shard(rows):
            shard = _checked(by_number, number, positions)
            tagged.append(TaggedShard(names[number], number, shard.n_rows, positions))
        return cls.ordered(name, tagged)

    @classmethod
    def ordered(cls, name: str, shards: list[TaggedShard]) -> Tags:
        """A set of rows of shards in any order."""
        in_order = sorted(shards, key=lambda one: (one.shard.name, one.number))
        state = hashlib.sha256(name.encode("utf-8", "surrogatepass"))
        for one in in_order:
            state.update(repr((one.shard, one.number, one.n_rows)).encode("utf-8", "replace"))
            state.update(one.rows.astype("<i8").tobytes())
        return cls(name, tuple(in_order), sha256=state.hexdigest())

    def at(self, path: str, sha256: str) -> Tags:
        """The same set in a file."""
        return replace(self, path=path, sha256=sha256)

    def __len__(self) -> int:
        return sum(len(one.rows) for one in self.shards)

    def __repr__(self) -> str:
        where = f", {self.path!r}" if self.path else ""
        rows, shards = counted(len(self), "row"), counted(len(self.shards), "shard")
        return f"Tags({self.name!r}, {rows} of {shards}{where})"

    def _overview(self) -> Overview:
        facts = {
            "name": self.name,
            "rows": f"{len(self):,}",
            "shards": f"{len(self.shards):,}",
            "file": self.path or "none",
        }
        return Overview("Rows chosen by hand", facts)

    @property
    def record(self) -> ListRecord:
        """What the manifest of an export has of the set."""
        return ListRecord(self.path or self.name, self.sha256, len(self))

    @property
    def is_verified(self) -> bool:
        """Whether the digest of each shard's bytes is known."""
        return all(one.content is not None for one in self.shards)

    def located(self, frame: dd.DataFrame) -> pd.DataFrame:
        """The rows of the set as a frame numbers them. Eager; reads no data.

        Returns
        -------
        pandas.DataFrame
            ``shard`` (int32) and ``row`` (int64), ascending; also rows that a filter of the frame
            leaves out.

        Raises
        ------
        OptionError
            When a shard is missing or has changed; names what differs.
        """
        found = self.rows_by_number(Provenance.of(frame))
        shard = [np.full(len(rows), number, np.int32) for number, rows in found]
        return pd.DataFrame(
            {
                "shard": np.concatenate([np.empty(0, np.int32), *shard]),
                "row": np.concatenate([np.empty(0, np.int64), *(rows for _, rows in found)]),
            }
        )

    def keys(self, provenance: Provenance) -> np.ndarray:
        """The keys of the rows in a frame, (n,) int64, ascending; see `row_table.row_keys`."""
        found = self.rows_by_number(provenance)
        keys = [keys_of(np.array(number), rows) for number, rows in found]
        return np.concatenate([np.empty(0, np.int64), *keys])

    def rows_by_number(self, provenance: Provenance) -> list[tuple[int, np.ndarray]]:
        """The rows by the numbers that a frame gives to their shards, ascending."""
        wanted = [one.shard for one in self.shards]
        shards = found_again(wanted, provenance, f"The set of rows {self.name!r}")
        pairs = list(zip(shards, self.shards, strict=True))
        for shard, one in pairs:
            self._check_content(shard, one)
        return sorted(((shard.index, one.rows) for shard, one in pairs), key=lambda pair: pair[0])

    def with_content(self, frame: dd.DataFrame) -> Tags:
        """The same set with the digests of its shards' bytes. Eager; reads at most 16 MB a shard.

        Raises
        ------
        OptionError, ShardError
        """
        wanted = [one.shard for one in self.shards]
        found = found_again(wanted, Provenance.of(frame), f"The set of rows {self.name!r}")
        n_blocks = min(MAX_BLOCKS, max(_MIN_BLOCKS, _BLOCKS // max(len(found), 1)))
        shards = []
        for shard, one in zip(found, self.shards, strict=True):
            content = one.content or Content(content_digest(shard, n_blocks), n_blocks)
            shards.append(replace(one, content=content))
        return replace(self, shards=tuple(shards))

    def _check_content(self, shard: Shard, one: TaggedShard) -> None:
        content = one.content
        if content and content_digest(shard, content.n_blocks) != content.sha256:
            raise OptionError(
                f"The set of rows {self.name!r} names rows of the shard {one.shard.name!r}, which "
                f"has changed since, though its footer is equal: {shard.path} has other bytes. A "
                "row number may now be another row. Open the files that the rows were chosen from, "
                "or choose the rows again."
            )


def check_name(name: object) -> None:
    """Raise unless a value can be the name of a set of rows.

    Raises
    ------
    OptionError
    """
    must_be("name", name, str, "the name of the set of rows, such as 'blurred'")
    assert isinstance(name, str)
    if not name.strip() or len(name) > _MAX_NAME:
        raise OptionError(
            f"name is {name[:_MAX_NAME]!r}. Expected 1 to {_MAX_NAME} characters, such as "
            "'blurred'."
        )


def _checked(shards: Mapping[int, Shard], number: int, rows: np.ndarray) -> Shard:
    """The shard of a number; raises unless it has the rows, which are in ascending order."""
    shard = shards.get(number)
    if shard is None:
        raise OptionError(
            f"rows has a row of shard {number}, and the frame has {counted(len(shards), 'shard')}, "
            f"{min(shards, default=0)} to {max(shards, default=0)}. Choose rows of this frame."
        )
    if rows[-1] >= shard.n_rows or rows[0] < 0:
        row = rows[0] if rows[0] < 0 else rows[-1]
        raise OptionError(
            f"rows has row {row} of shard {number}, {shard.path}, which has {shard.n_rows:,} rows, "
            f"from 0. Choose rows of this frame."
        )
    return shard
