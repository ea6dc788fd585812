"""The interface of an export format: open a writer, write each part, finish with index files.

``open(staging, schema)`` runs once, in the process that started the export, and returns a
`PartWriter`. The writer is pickled to the workers, which call ``write(part)`` for each part, in any
order and possibly more than once. ``merge``, ``final_names`` and ``finish(parts)`` then run in the
original process; in ``finish`` the final name of every file is known.

A part is a table in memory, whose rows and bytes `export` limits. Its files must depend on its rows
alone: neither on the chunks of the table nor on who writes it.

A format writes only through its `StagingFolder`. The staged files become visible all at once, and
the manifest lists each with its size and digest. Each call writes an attempt under a name of its
own, so that a task that runs twice never writes to a file that is already counted on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pyarrow as pa

from laion_dask.exports.formats.staged_files import StagedFile


@dataclass(frozen=True)
class Part:
    """Rows to write.

    Attributes
    ----------
    number : int
        Its position among the parts of the export, from 0.
    table : pyarrow.Table
        Sorted by shard and row. All parts of an export have the same types: those of the writer's
        schema, except that a column with type null in the schema has the type of its values.
    """

    number: int
    table: pa.Table

    @property
    def stem(self) -> str:
        """The prefix of the names of the part's staged files."""
        return f"{self.number:08d}"


@dataclass(frozen=True)
class WrittenPart:
    """A part that has been written.

    Attributes
    ----------
    number : int
        Its position among the parts of the export, from 0.
    rows : int
    files : tuple of StagedFile
        The number of rows is listed with the first file.
    rights : mapping of str to mapping
        The number of rows by value, for each column of licenses or consent.
    draws : int or None
        The sum of the column ``repeats``; None without one.
    """

    number: int
    rows: int
    files: tuple[StagedFile, ...]
    rights: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    draws: int | None = None

    @property
    def final_names(self) -> list[str]:
        """The names of the files once they are visible, in the order of `files`."""
        return [file.final_name(f"part-{self.number:05d}") for file in self.files]

    def named(self, names: Sequence[str] | None) -> WrittenPart:
        """The part with these paths of its files."""
        if names is None:
            return self
        pairs = zip(self.files, names, strict=True)
        return replace(self, files=tuple(replace(file, name=name) for file, name in pairs))


class PartWriter(ABC):
    """Writes the parts of one export. Must be picklable and have a deterministic repr."""

    #: The number of rows of a part unless the caller gives one; None for a number that makes parts
    #: of a sensible size.
    rows_per_part: ClassVar[int | None] = None
    #: Whether the Hub's card, ``README.md``, is put beside the manifest.
    has_card: ClassVar[bool] = False
    #: Whether the format can only be written to a local folder.
    is_local: ClassVar[bool] = False

    @abstractmethod
    def write(self, part: Part) -> Sequence[StagedFile]:
        """Write one part as one or more files."""

    def final_names(self, part: WrittenPart, n_parts: int) -> Sequence[str] | None:
        """The paths of a part's files in the folder of parts; None for names with their digest.

        For readers that expect certain names, such as ``train-00000-of-00003.parquet``. Object
        stores, where files cannot be replaced together, do not use them.
        """
        return None

    def merge(self, parts: Sequence[WrittenPart]) -> Sequence[WrittenPart]:
        """Replace the staged parts by others, in the process that started the export.

        For formats of a single file, which holds the rows of all parts; memory must not grow with
        their number. By default, the parts are unchanged.
        """
        return parts

    def documents(self, parts: Sequence[WrittenPart]) -> Mapping[str, str]:
        """Texts to put beside the manifest, such as a script that uses the parts; none by default.

        Their names are among `laion_dask.io.storage.export_manifest.DOCUMENTS`.
        """
        return {}

    def finish(self, parts: Sequence[WrittenPart]) -> Sequence[StagedFile]:
        """Write index files named ``index.<suffix>`` after all parts are written; none by default.

        Parameters
        ----------
        parts : sequence of WrittenPart
            All parts of the export, in order.
        """
        return ()
