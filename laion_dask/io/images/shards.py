"""Sources of a shard of embeddings: a webdataset tar, or several files of a folder.

Limits: ``decoding.MAX_IMAGE_BYTES``, ``MAX_PIXELS`` and ``MAX_ASPECT`` for an image,
``samples.MAX_TEXT_BYTES`` and ``sample_groups.MAX_FIELDS`` for the files beside it,
``tars.MAX_MEMBERS`` and ``MAX_HEADER_BYTES`` for an archive.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from laion_dask.errors import ImageError
from laion_dask.io.images.decoding import MAX_IMAGE_BYTES
from laion_dask.io.images.image_index import ImageIndex
from laion_dask.io.images.sample_groups import by_sample
from laion_dask.io.images.samples import (
    MAX_TEXT_BYTES,
    Sample,
    fields_file,
    group,
    url_in,
)
from laion_dask.io.images.tars import image_offsets, open_members, read_at
from laion_dask.io.storage.member_names import Member
from laion_dask.io.storage.paths import filesystem, reached
from laion_dask.io.storage.remote_file import unreadable


@dataclass
class Survey:
    """A summary of a shard, without reading images.

    Attributes
    ----------
    n_samples : int
    n_captions : int
    value_types : dict of str to set of str
        JSON field → the types of its values: ``null bool int wide bigint float str json``.
        ``wide`` is an integer that exceeds the 53 bits that a float represents exactly,
        ``bigint`` one that exceeds 64 bits.
    listing_sha256 : str
        Digest of the names and sizes of all members; it shows whether the shard has changed.
    """

    n_samples: int = 0
    n_captions: int = 0
    value_types: dict[str, set[str]] = field(default_factory=dict)
    listing_sha256: str = ""

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.n_samples += 1
        self.n_captions += sample.caption is not None
        for name, value in sample.fields.items():
            self.value_types.setdefault(name, set()).add(_json_type(value))


def _json_type(value) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int():
            return "int" if abs(value) <= 2**53 else "wide" if abs(value) < 2**63 else "bigint"
        case float():
            return "float"
        case str():
            return "str"
    return "json"


class _Listing:
    """Iterates over members and computes a digest of their names and sizes."""

    def __init__(self, members: Iterable[Member]) -> None:
        self._members = members
        self._digest = hashlib.sha256()

    def __iter__(self) -> Iterator[Member]:
        for member in self._members:
            name = member.name.encode("utf-8", "surrogateescape")
            self._digest.update(b"%d %d %s" % (member.n_bytes, len(name), name))
            yield member

    def sha256(self) -> str:
        return self._digest.hexdigest()


class Shard(Protocol):
    """A file, or several files of a folder, that becomes one shard of embeddings."""

    @property
    def name(self) -> str:
        """The prefix of ``image_path``, and the name in the manifest."""

    def n_bytes(self) -> int:
        """The total size of its files in bytes."""

    def samples(self) -> Iterator[Sample]:
        """Iterate over its samples in order, with image bytes."""

    def survey(self) -> Survey:
        """Summarize the shard without reading images."""

    def holds_images(self) -> bool:
        """Whether names or columns show that there is an image; reads as little as possible."""

    def index(self) -> ImageIndex:
        """The position of each image, for use with ``fetch``."""

    def fetch(self, location) -> bytes | None:
        """One image file; ``None`` if it is truncated or over the limit.

        Raises
        ------
        ShardError
            When the store of an archive or Parquet file fails.
        """

    def url(self, location) -> str | None:
        """The url in the JSON fields of one image's sample.

        Raises
        ------
        ShardError
            As `fetch`.
        """


@dataclass(frozen=True)
class TarShard:
    """One webdataset archive.

    Attributes
    ----------
    path : str
    label : str or None
        Its path below the root of the source; by default its file name.
    invalid_text : {"reject", "raise"}
        What to do about a caption or JSON that is not UTF-8.
    """

    path: str
    label: str | None = field(default=None, compare=False)
    invalid_text: str = field(default="reject", compare=False)

    @property
    def name(self) -> str:
        return self.label or self.path.rpartition("/")[2]

    def n_bytes(self) -> int:
        fs, inner = filesystem(self.path)
        return int(fs.size(inner))

    def samples(self) -> Iterator[Sample]:
        """Iterate over its samples in order, with image bytes; streams the archive once."""
        with open_members(self.path) as members:
            yield from self._group(members, with_image=True)

    def survey(self) -> Survey:
        """Summarize headers, captions and JSON without reading images."""
        survey = Survey()
        with open_members(self.path) as members:
            listing = _Listing(members)
            for sample in self._group(listing, with_image=False):
                survey.add(sample)
        survey.listing_sha256 = listing.sha256()
        return survey

    def holds_images(self) -> bool:
        """Whether a member is an image; reads headers up to the first one."""
        with open_members(self.path) as members:
            return any(member.is_image for member in members)

    def index(self) -> ImageIndex:
        """The offset and size of each image; reads only headers."""
        return image_offsets(self.path)

    def _group(self, members: Iterable[Member], *, with_image: bool) -> Iterator[Sample]:
        prefix = f"{self.name}/"
        return group(members, prefix, with_image=with_image, invalid_text=self.invalid_text)

    def fetch(self, location: tuple[int, ...]) -> bytes | None:
        return self._read(*location[:2])

    def url(self, location: tuple[int, ...]) -> str | None:
        return url_in(self._read(*location[2:])) if location[2:] else None

    def _read(self, offset: int, n_bytes: int) -> bytes | None:
        try:
            with reached(self.path):
                fs, inner = filesystem(self.path)
                with fs.open(inner, "rb") as file:
                    return read_at(file, offset, n_bytes)
        except ImageError:
            return None


@dataclass(frozen=True)
class FolderShard:
    """Several files of a folder, in natural order."""

    root: str
    files: tuple[str, ...]
    number: int
    invalid_text: str = field(default="reject", compare=False)

    @property
    def name(self) -> str:
        return f"{Path(self.root).name}[{self.number}]"

    def n_bytes(self) -> int:
        return sum(member.n_bytes for member in self._members())

    def samples(self) -> Iterator[Sample]:
        """Iterate over its samples in order, with image bytes."""
        yield from self._group(self._members(), with_image=True)

    def survey(self) -> Survey:
        """Summarize sizes, captions and JSON without reading images."""
        survey, listing = Survey(), _Listing(self._members())
        for sample in self._group(listing, with_image=False):
            survey.add(sample)
        survey.listing_sha256 = listing.sha256()
        return survey

    def holds_images(self) -> bool:
        """Whether any file name is that of an image."""
        return any(Member(name, in_folder=True).is_image for name in self.files)

    def index(self) -> ImageIndex:
        """The file of each image, and its JSON."""
        index = ImageIndex()
        for sample in by_sample(Member(name, in_folder=True) for name in self.files):
            if sample.first.is_image:
                files = (sample.first, fields_file(sample))
                index.add_file(sample, tuple(file and file.name for file in files))
        return index

    def fetch(self, location: tuple[str, str | None]) -> bytes | None:
        return self._read(location[0], MAX_IMAGE_BYTES)

    def url(self, location: tuple[str, str | None]) -> str | None:
        return url_in(self._read(location[1], MAX_TEXT_BYTES)) if location[1] else None

    def _read(self, name: str, max_bytes: int) -> bytes | None:
        try:
            path = Path(self.root, name)
            return path.read_bytes() if path.stat().st_size <= max_bytes else None
        except OSError:
            return None

    def _group(self, members: Iterable[Member], *, with_image: bool) -> Iterator[Sample]:
        return group(members, "", with_image=with_image, invalid_text=self.invalid_text)

    def _members(self) -> Iterator[Member]:
        for name in self.files:
            yield _of_file(Path(self.root, name), name)


def _of_file(path: Path, name: str) -> Member:
    """A file as a member; raises if it no longer exists. A broken link is recorded as a flaw."""
    try:
        path.lstat()
        is_file = path.is_file()
        n_bytes = path.stat().st_size if is_file else 0
    except OSError as error:
        raise unreadable(str(path), error) from error
    flaw = None if is_file else "not a regular file"
    return Member(name, n_bytes, partial(_read_file, path), flaw, in_folder=True)


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(str(path), error) from error
