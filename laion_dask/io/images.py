"""Sources of images: webdataset tars and folders of files, cut into shards; and finding one again.

Limits: ``pictures.MAX_IMAGE_BYTES``, ``MAX_PIXELS`` and ``MAX_ASPECT`` for an image,
``samples.MAX_TEXT_BYTES`` and ``MAX_FIELDS`` for what lies beside it, ``tars.MAX_MEMBERS`` and
``MAX_HEADER_BYTES`` for an archive.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import fsspec.core

from laion_dask.errors import ImageError, OptionError, ShardNotFoundError
from laion_dask.io.paths import expand, natural
from laion_dask.io.samples import IMAGE_KINDS, Member, Sample, group
from laion_dask.io.tars import image_offsets, open_members, read_at
from laion_dask.models.pictures import MAX_IMAGE_BYTES

#: Samples of a folder that make one shard, as in img2dataset's archives.
IMAGES_PER_SHARD = 10_000


@dataclass
class Survey:
    """What a first look at a shard finds, without reading an image.

    Attributes
    ----------
    n_samples : int
    n_captions : int
    kinds : dict of str to set of str
        JSON field → the kinds of its values: ``null bool int wide bigint float str json``;
        ``wide`` is an integer beyond the 53 bits that a float holds exactly, ``bigint`` one
        beyond 64 bits.
    listing_sha256 : str
        Over the names and sizes of all members: tells whether the shard is still the same.
    """

    n_samples: int = 0
    n_captions: int = 0
    kinds: dict[str, set[str]] = field(default_factory=dict)
    listing_sha256: str = ""

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        self.n_samples += 1
        self.n_captions += sample.caption is not None
        for name, value in sample.fields.items():
            self.kinds.setdefault(name, set()).add(_kind(value))


def _kind(value) -> str:
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
    """Members on their way through, and the digest of their names and sizes."""

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


@dataclass(frozen=True)
class TarShard:
    """One webdataset archive."""

    path: str

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def n_bytes(self) -> int:
        fs, inner = fsspec.core.url_to_fs(self.path)
        return int(fs.size(inner))

    def samples(self) -> Iterator[Sample]:
        """Its samples in order, with image bytes; the archive is read once, as a stream."""
        with open_members(self.path) as members:
            yield from group(members, f"{self.name}/", with_image=True)

    def survey(self) -> Survey:
        """A first look: headers, captions and JSON, no image."""
        survey = Survey()
        with open_members(self.path) as members:
            listing = _Listing(members)
            for sample in group(listing, f"{self.name}/", with_image=False):
                survey.add(sample)
        survey.listing_sha256 = listing.sha256()
        return survey


@dataclass(frozen=True)
class FolderShard:
    """Some of the files of a folder, in natural order."""

    root: str
    files: tuple[str, ...]
    number: int

    @property
    def name(self) -> str:
        return f"{Path(self.root).name}[{self.number}]"

    def n_bytes(self) -> int:
        return sum(member.n_bytes for member in self._members())

    def samples(self) -> Iterator[Sample]:
        """Its samples in order, with image bytes."""
        yield from group(self._members(), "", with_image=True)

    def survey(self) -> Survey:
        """A first look: sizes, captions and JSON, no image."""
        survey, listing = Survey(), _Listing(self._members())
        for sample in group(listing, "", with_image=False):
            survey.add(sample)
        survey.listing_sha256 = listing.sha256()
        return survey

    def _members(self) -> Iterator[Member]:
        for name in self.files:
            path = Path(self.root, name)
            flaw = None if path.is_file() else "not a regular file"
            yield Member(name, 0 if flaw else path.stat().st_size, path.read_bytes, flaw)


def find_shards(source: str | os.PathLike | Iterable) -> list[TarShard | FolderShard]:
    """The shards of a source, in natural order. Nothing is opened yet.

    Parameters
    ----------
    source : str, path, or list of them
        Archives, by name, pattern (``"data/*.tar"``), fsspec address or folder; or one folder
        with image files, which is cut into shards of ``IMAGES_PER_SHARD`` samples.

    Raises
    ------
    ShardNotFoundError
        When nothing is there.
    ImageError
        For a file that is named and is no ``.tar``.
    OptionError
        When a folder holds archives and images side by side.
    """
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        return _in_folder(os.fspath(source))
    paths = expand(source, (".tar",))
    for path in paths:
        if not path.endswith(".tar"):
            raise ImageError(
                f"{path} is no .tar. Expected uncompressed webdataset archives, or one folder of "
                f"images ({', '.join(IMAGE_KINDS)}); unpack .tar.gz first."
            )
    return [TarShard(path) for path in paths]


def _in_folder(root: str) -> list[TarShard | FolderShard]:
    files = [
        os.path.relpath(os.path.join(folder, name), root)
        for folder, _, names in os.walk(root)
        for name in names
        if not name.startswith(".")
    ]
    tars = [name for name in files if name.endswith(".tar")]
    images = [name for name in files if name.lower().endswith(tuple(f".{k}" for k in IMAGE_KINDS))]
    if tars and images:
        raise OptionError(
            f"{root} holds {len(tars)} archives and {len(images)} images. Say which is meant: "
            f"'{root}/*.tar' for the archives, or a folder that has only images."
        )
    if tars:
        return [TarShard(path) for path in expand(root, (".tar",))]
    if not images:
        kinds = ", ".join(IMAGE_KINDS)
        raise ShardNotFoundError(f"{root} holds no .tar and no image ({kinds}). Check the path.")
    return _cut(root, sorted(files, key=lambda name: natural(name)))


def _cut(root: str, files: list[str]) -> list[FolderShard]:
    by_key: dict[str, list[str]] = {}
    for name in files:
        by_key.setdefault(Member(name, 0, None).key, []).append(name)
    keys = list(by_key)
    starts = range(0, len(keys), IMAGES_PER_SHARD)
    parts = ([f for k in keys[at : at + IMAGES_PER_SHARD] for f in by_key[k]] for at in starts)
    return [FolderShard(root, tuple(part), number) for number, part in enumerate(parts)]


class Images:
    """Image files by key, out of the archives or the folder that they lie in.

    An archive is indexed (headers only) when it is first searched, once; images are then read by
    seeking. Safe to use from several threads; a pickled copy starts without the indices.

    Parameters
    ----------
    shards : list of TarShard or FolderShard
    """

    def __init__(self, shards: list[TarShard | FolderShard]) -> None:
        self._shards = shards
        self._indices: dict[int, dict] = {}
        self._lock = threading.Lock()

    def __reduce__(self):
        return (Images, (self._shards,))

    def __repr__(self) -> str:
        return f"<Images in {len(self._shards)} shards, first {self._shards[0].name}>"

    def read(self, keys: Iterable[str]) -> list[bytes | None]:
        """The image file of each key; ``None`` where there is none or it is cut off. Eager.

        Parameters
        ----------
        keys : iterable of str
            A ``key``, or an ``image_path`` as ``embed`` writes both. A key that several archives
            have means the first of them; an ``image_path`` means exactly one image.

        Raises
        ------
        ImageError
            When an archive that has to be searched is none.
        """
        keys = [keys] if isinstance(keys, str) else list(keys)
        return [self._read_one(key) for key in keys]

    def _read_one(self, key: str) -> bytes | None:
        named = [n for n, s in enumerate(self._shards) if key.startswith(f"{s.name}/")]
        for number in (*named, *range(len(self._shards))):
            shard = self._shards[number]
            inner = key.removeprefix(f"{shard.name}/") if number in named else key
            if place := self._index(number).get(inner):
                return self._fetch(shard, place)
        return None

    def _index(self, number: int) -> dict:
        with self._lock:
            if number not in self._indices:
                shard = self._shards[number]
                by_tar = isinstance(shard, TarShard)
                self._indices[number] = image_offsets(shard.path) if by_tar else _by_key(shard)
            return self._indices[number]

    def _fetch(self, shard: TarShard | FolderShard, place) -> bytes | None:
        try:
            if isinstance(shard, FolderShard):
                path = Path(shard.root, place)
                return path.read_bytes() if path.stat().st_size <= MAX_IMAGE_BYTES else None
            fs, inner = fsspec.core.url_to_fs(shard.path)
            with fs.open(inner, "rb") as file:
                return read_at(file, *place)
        except OSError:
            return None


def _by_key(shard: FolderShard) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in shard.files:
        member = Member(name, 0, None)
        if member.kind in IMAGE_KINDS:
            found[name] = name
            found.setdefault(member.key, name)
    return found


def open_images(paths: str | os.PathLike | Iterable) -> Images:
    """The images of archives or of a folder, to be read by key. Lazy.

    Parameters
    ----------
    paths : str, path, or list of them
        As for ``embed``: archives or one folder of images.

    Raises
    ------
    ShardNotFoundError, ImageError, OptionError
        As ``find_shards``, at once.
    """
    return Images(find_shards(paths))
