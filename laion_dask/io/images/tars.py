"""Stream webdataset tars: headers are read one by one and members by seeking, never extracted.

Archives are untrusted. Only regular members are read, with explicit seeks and reads, never with
``extract``. Header reads, member sizes and member counts are limited, and an offset that does not
increase ends the archive.
"""

from __future__ import annotations

import tarfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from laion_dask.errors import ImageError
from laion_dask.io.images.decoding import MAX_IMAGE_BYTES
from laion_dask.io.images.image_index import ImageIndex
from laion_dask.io.images.sample_groups import by_sample
from laion_dask.io.images.samples import fields_file
from laion_dask.io.storage.member_names import Member, is_no_sample_file, unsafe_name
from laion_dask.io.storage.paths import filesystem
from laion_dask.io.storage.remote_file import StoreFile

#: Maximum members of one archive; img2dataset writes 10,000 samples of three.
MAX_MEMBERS = 1_000_000

#: Maximum bytes read for the headers of one member; long names, PAX records and sparse maps are
#: much smaller.
MAX_HEADER_BYTES = 2**20

#: Initial bytes of other formats that may be named .tar, and what to do about them.
_OTHER_FILES = {
    b"\x1f\x8b": "it is compressed with gzip; unpack it with gunzip",
    b"BZh": "it is compressed with bzip2; unpack it with bunzip2",
    b"\xfd7zXZ": "it is compressed with xz; unpack it with unxz",
    b"\x28\xb5\x2f\xfd": "it is compressed with zstd; unpack it with unzstd",
    b"PK\x03\x04": "it is a zip archive; unpack it, and name the folder",
    b"Rar!": "it is a rar archive; unpack it, and name the folder",
    b"7z\xbc\xaf": "it is a 7z archive; unpack it, and name the folder",
    b"PAR1": "it is a Parquet file; name it .parquet",
    b"<!DOCTYP": "it is a web page, such as a download that failed",
    b"<html": "it is a web page, such as a download that failed",
    b"version ": "it is a pointer of Git LFS; fetch the file with git lfs pull",
}


class _HeaderReads:
    """The file as tarfile sees it: headers only, with a byte budget per member."""

    def __init__(self, file: StoreFile) -> None:
        self._file = file
        self.tell = file.tell
        self.refill()

    def refill(self) -> None:
        self._left = MAX_HEADER_BYTES

    def seek(self, offset: int) -> int:
        if not 0 <= offset <= self._file.size:
            raise tarfile.ReadError(f"a header points to byte {offset}")
        return self._file.seek(offset)

    def read(self, n: int = -1) -> bytes:
        if not 0 <= n <= self._left:
            raise tarfile.ReadError(f"a header asks for {n} bytes")
        self._left -= n
        return self._file.read(n)


@contextmanager
def open_members(path: str) -> Iterator[Iterator[Member]]:
    """Open an archive and iterate over its members in order.

    Directories are skipped. Damage after the first member ends the archive with a member whose
    ``flaw`` describes it and which is rejected and counted.

    Raises
    ------
    ImageError
        When the file is missing, empty, or not an uncompressed tar.
    ShardError
        When its store fails during a read, as opposed to a damaged archive.
    """
    try:
        fs, inner = filesystem(path)
        file = fs.open(inner, "rb")
    except (OSError, ValueError) as error:
        raise ImageError(f"{path} cannot be opened: {error}. Check the path.") from error
    with file:
        store = StoreFile(file, path)
        headers = _HeaderReads(store)
        try:
            # A file opened for reading is neither written nor closed by tarfile.
            archive = tarfile.TarFile(fileobj=headers, mode="r")  # type: ignore[arg-type]
        except OSError:
            raise
        except Exception as error:  # headers can make int(), str.decode() and seek() fail
            raise ImageError(
                f"{path} ({store.size} bytes) is not a tar archive: {_what_it_is(store, error)}. "
                "Expected an uncompressed .tar of images, with captions and JSON beside them."
            ) from error
        yield _members(archive, headers, store)


def _what_it_is(store: StoreFile, error: Exception) -> str:
    store.seek(0)
    begin = store.read(8)
    kind = next((kind for magic, kind in _OTHER_FILES.items() if begin.startswith(magic)), None)
    if not begin:
        return "it is empty"
    return kind or " ".join(str(error).split()) or type(error).__name__


def _members(archive: tarfile.TarFile, headers: _HeaderReads, file: StoreFile) -> Iterator[Member]:
    last, count, end, n_bytes = -1, 0, 0, file.size
    times: Counter[str] = Counter()
    while True:
        try:
            headers.refill()
            info = archive.next()
            # Otherwise tarfile keeps every header; the type stub lacks the attribute.
            archive.members = []  # type: ignore[attr-defined]
        except OSError:  # the store failed: offsets and sizes in the archive are checked
            raise
        except Exception as error:
            if end <= n_bytes:  # otherwise the last member has already reported the truncation
                why = str(error) or type(error).__name__
                yield _end(f"archive is damaged after {count} members: {why}")
            return
        if info is None:
            if end <= n_bytes and not _has_end_mark(file, archive.offset):
                yield _end(f"archive has no end mark after {count} members; it may be truncated")
            return
        count += 1
        if info.offset <= last or info.size < 0 or count > MAX_MEMBERS:
            yield _end(f"archive is damaged or has over {MAX_MEMBERS} members, at number {count}")
            return
        last, end = info.offset, info.offset_data + info.size
        if not info.isdir() and not is_no_sample_file(info.name):
            yield _with_unique_path(_member(info, file), times)


def _end(flaw: str) -> Member:
    return Member("(archive)", flaw=flaw)


def _has_end_mark(file, offset: int) -> bool:
    file.seek(offset)
    return file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE)


def _with_unique_path(member: Member, times: Counter[str]) -> Member:
    """The member, numbered if an earlier image has the same path."""
    if not member.is_image:
        return member
    member = replace(member, number=times[member.text])
    while times[member.path] and member.number:  # if a name itself ends in such a number
        member = replace(member, number=member.number + 1)
    times[member.text] = member.number + 1
    times[member.path] += member.path != member.text
    return member


def _member(info: tarfile.TarInfo, file: StoreFile) -> Member:
    flaw = unsafe_name(info.name)
    if not info.isreg() or info.issparse():
        flaw = "not a regular file (a link, a device or a sparse file)"
    elif info.offset_data + info.size > file.size:
        flaw = f"declares {info.size} bytes, beyond the end of the archive"

    def read() -> bytes:
        return read_at(file, info.offset_data, info.size)

    return Member(info.name, info.size, read, flaw, info.offset_data)


def read_at(file, offset: int, size: int) -> bytes:
    """``size`` bytes at ``offset``; raises ``ImageError`` if there are fewer."""
    file.seek(offset)
    data = file.read(size)
    if len(data) != size:
        raise ImageError(f"member is truncated: {len(data)} of {size} bytes")
    return data


def image_offsets(path: str) -> ImageIndex:
    """The positions of an archive's images and of their JSON. Reads headers, but no image.

    A position is (offset, bytes) of the image, followed by those of the JSON, if there is one. A
    key refers to the image of its sample; images rejected by name are only found by their path.
    """
    index = ImageIndex()
    with open_members(path) as members:
        for sample in by_sample(members):
            image = sample.first
            if image.is_image and not image.flaw and image.n_bytes <= MAX_IMAGE_BYTES:
                files = [file for file in (image, fields_file(sample)) if file]
                location = tuple(n for file in files for n in (file.offset, file.n_bytes))
                index.add_sample(sample, location)
    return index
