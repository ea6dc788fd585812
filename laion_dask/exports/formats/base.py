"""The interface of an export format: open a writer, write each part, finish with index files.

``open(staging, schema)`` runs once, in the process that started the export, and returns a
`PartWriter`. The writer is pickled to the workers, which call ``write(part)`` once per partition,
in any order and possibly more than once. ``finish(parts)`` then runs once in the original process,
when the final name of every file is known.

A format writes only through its `StagingFolder`. The staged files become visible all at once, and
the manifest lists each with its size and digest.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from laion_dask.io.storage.atomic_file import write_error
from laion_dask.io.storage.local_file import failures, file_system, write_durable


@dataclass(frozen=True)
class StagedFile:
    """A file in the staging folder.

    Attributes
    ----------
    staged : str
        Its name in the staging folder.
    bytes : int
    sha256 : str
    """

    staged: str
    bytes: int
    sha256: str

    def final_name(self, stem: str) -> str:
        """The name of the file once it is visible.

        The name contains the file's digest, so it never overwrites a file of another export. The
        suffix is everything after the first dot of the staged name.
        """
        return f"{stem}-{self.sha256[:8]}.{self.staged.partition('.')[2]}"


@dataclass(frozen=True)
class StagingFolder:
    """The hidden folder that the parts of an export are written to.

    Attributes
    ----------
    url : str
        A local path or an fsspec address.
    """

    url: str

    def write(self, name: str, content: bytes) -> StagedFile:
        """Write one file.

        Parameters
        ----------
        name : str
            The stem of the part (`Part.stem`), or ``index``, and a suffix. The files of one part
            have different suffixes, such as ``.parquet`` and ``.images.npy``.
        content : bytes

        Raises
        ------
        ExportError
            When the file cannot be written.
        """
        fs, folder = file_system(self.url)
        try:
            if isinstance(fs, LocalFileSystem):
                write_durable(f"{folder}/{name}", content)
            else:
                fs.pipe_file(f"{folder}/{name}", content)
        except failures(fs) as error:
            raise write_error(f"{self.url}/{name}", error) from error
        return StagedFile(name, len(content), hashlib.sha256(content).hexdigest())


@dataclass(frozen=True)
class Part:
    """The rows of one partition to write.

    Attributes
    ----------
    number : int
        The partition's number.
    table : pyarrow.Table
        Sorted by shard and row. The columns have the types of the writer's schema, except that a
        column with type null in the schema has the type of its values.
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
    """

    number: int
    rows: int
    files: tuple[StagedFile, ...]

    @property
    def final_names(self) -> list[str]:
        """The names of the files once they are visible, in the order of `files`."""
        return [file.final_name(f"part-{self.number:05d}") for file in self.files]


class PartWriter(ABC):
    """Writes the parts of one export. Must be picklable and have a deterministic repr."""

    @abstractmethod
    def write(self, part: Part) -> Sequence[StagedFile]:
        """Write one part as one or more files."""

    def finish(self, parts: Sequence[WrittenPart]) -> Sequence[StagedFile]:
        """Write index files named ``index.<suffix>`` after all parts are written; none by default.

        Parameters
        ----------
        parts : sequence of WrittenPart
            All parts of the export, in order.
        """
        return ()
