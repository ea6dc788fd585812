"""Files in the hidden folder of an export, before they are visible."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import IO, TypeAlias

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from laion_dask.io.storage.atomic_file import write_error
from laion_dask.io.storage.export_manifest import is_attempt_name
from laion_dask.io.storage.local_file import failures, file_system, write_durable
from laion_dask.runtime import cancellation

#: What a file accepts: bytes, or an object with the buffer protocol.
Buffer: TypeAlias = bytes | memoryview


@dataclass(frozen=True)
class StagedFile:
    """A file in the staging folder.

    Attributes
    ----------
    staged : str
        Its name in the staging folder.
    bytes : int
    sha256 : str
    name : str or None
        Its path in the folder of parts, if readers of the format expect a certain one.
    counts : mapping of str to int
        Numbers that the manifest lists with the file and adds up over all files, such as
        ``{"missing_images": 3}``.
    """

    staged: str
    bytes: int
    sha256: str
    name: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)

    def counted(self, **counts: int) -> StagedFile:
        """The file with these `counts`."""
        return replace(self, counts=counts)

    def final_name(self, stem: str) -> str:
        """The name of the file once it is visible.

        In an object store, where the file is staged in its place, this is its staged name.
        Elsewhere it is `name`, if the format gives one. Other names contain the file's digest, so
        they never overwrite a file of another export; the suffix is everything after the first dot
        of the staged name.
        """
        if is_attempt_name(self.staged):
            return self.staged
        if self.name is not None:
            return self.name
        return f"{stem}-{self.sha256[:8]}.{self.staged.partition('.')[2]}"


@dataclass(frozen=True)
class StagingFolder:
    """The hidden folder that the parts of an export are written to.

    Attributes
    ----------
    url : str
        A local path or an fsspec address.
    parts : str, optional
        The folder of parts, if parts are staged there: in object stores, which cannot rename.
    export_id : str
        Eight hexadecimal digits that the names of all attempts of this export contain.
    attempt : str
        Those of one attempt to write a part; by default, each file has its own.
    """

    url: str
    parts: str | None = None
    export_id: str = ""
    attempt: str = ""

    def of_attempt(self) -> StagingFolder:
        """The folder for one attempt, whose files have the same names but for their suffixes.

        For formats whose readers pair the files of a part by name, also in object stores.
        """
        return replace(self, attempt=uuid.uuid4().hex[:8])

    def locate(self, staged: str) -> str:
        """The path or address of a staged file."""
        return f"{self.parts if self.parts and is_attempt_name(staged) else self.url}/{staged}"

    def _attempt(self, name: str) -> str:
        """A name for one attempt to write a file."""
        stem, _, suffix = name.partition(".")
        attempt = self.attempt or uuid.uuid4().hex[:8]
        if self.parts is None:
            return f"{stem}-{attempt}.{suffix}"
        stem = f"part-{int(stem):05d}" if stem.isdigit() else stem
        return f"{stem}-{self.export_id}{attempt}.{suffix}"

    def holds(self, file: StagedFile) -> bool:
        """Whether a staged file has its size and, on a local file system, its digest."""
        fs, path = file_system(self.locate(file.staged))
        try:
            if not isinstance(fs, LocalFileSystem):
                return bool(fs.size(path) == file.bytes)
            with open(path, "rb") as opened:
                return hashlib.file_digest(opened, "sha256").hexdigest() == file.sha256
        except failures(fs):
            return False

    def remove(self, names: Sequence[str]) -> None:
        """Remove staged files; the end of the export removes those that cannot be removed now."""
        for name in names:
            fs, path = file_system(self.locate(name))
            with suppress(failures(fs)):
                fs.rm_file(path)

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
        name = self._attempt(name)
        fs, path = file_system(self.locate(name))
        try:
            if isinstance(fs, LocalFileSystem):
                write_durable(path, content)
            else:
                fs.pipe_file(path, content)
        except failures(fs) as error:
            raise write_error(self.locate(name), error) from error
        return StagedFile(name, len(content), hashlib.sha256(content).hexdigest())

    @contextmanager
    def create(self, name: str) -> Iterator[StagedSink]:
        """Write one file piece by piece, without holding it in memory.

        Parameters
        ----------
        name : str
            As for `write`.

        Raises
        ------
        ExportError
            When the file cannot be written.
        """
        name = self._attempt(name)
        fs, path = file_system(self.locate(name))
        sink = StagedSink(name, self.locate(name), failures(fs))
        with sink.writing():
            sink.file = _created(fs, path)
        try:
            yield sink
            with sink.writing():
                if isinstance(fs, LocalFileSystem):
                    sink.file.flush()
                    os.fsync(sink.file.fileno())
                sink.file.close()
        except BaseException:
            with suppress(failures(fs)):
                _abandon(sink.file)
            raise


def _abandon(file: IO[bytes]) -> None:
    """Close an incomplete file; a store then keeps nothing of it."""
    if isinstance(file, AbstractBufferedFile):
        file.discard()
        file.closed = True
    else:
        file.close()


def _created(fs: fsspec.AbstractFileSystem, path: str) -> IO[bytes]:
    return open(path, "wb") if isinstance(fs, LocalFileSystem) else fs.open(path, "wb")


class StagedSink:
    """A file that is being written: any writer of binary files may write to it.

    Attributes
    ----------
    staged : StagedFile
        The bytes written so far.
    """

    closed = False
    file: IO[bytes]

    def __init__(self, name: str, path: str, failures: type[Exception]) -> None:
        self._name, self._path, self._failures = name, path, failures
        self._bytes, self._sha256 = 0, hashlib.sha256()

    def write(self, data: Buffer) -> int:
        """Write bytes; raises ``Cancelled`` if the export has ended."""
        cancellation.check()
        data = memoryview(data).cast("B")
        try:
            self.file.write(data)
        except self._failures as error:
            raise write_error(self._path, error) from error
        self._sha256.update(data)
        self._bytes += len(data)
        return len(data)

    def tell(self) -> int:
        """The number of bytes written."""
        return self._bytes

    def flush(self) -> None:
        """Does nothing: the file is flushed when it is complete."""

    @property
    def staged(self) -> StagedFile:
        return StagedFile(self._name, self._bytes, self._sha256.hexdigest())

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turn a failure of the file system into an ExportError."""
        try:
            yield
        except self._failures as error:
            raise write_error(self._path, error) from error
