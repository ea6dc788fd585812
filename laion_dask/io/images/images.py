"""Open sources of images as shards of tars, Parquet files or folders, and look up images."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import ColumnError, ImageError, OptionError, must_be, parameter
from laion_dask.formatting import counted
from laion_dask.io.images.files import SourceFiles, find_files
from laion_dask.io.images.image_index import ImageIndex
from laion_dask.io.images.parquet import ParquetShard
from laion_dask.io.images.row_match import (
    ImageLocation,
    Match,
    RowImage,
    row_image,
    several_images_error,
    withhold_shared,
)
from laion_dask.io.images.shards import FolderShard, Shard, TarShard
from laion_dask.io.storage.member_names import IMAGE_KINDS, Member
from laion_dask.io.storage.paths import natural
from laion_dask.options import get_option

#: Samples per shard of a folder, as in img2dataset's archives.
IMAGES_PER_SHARD = 10_000

#: Columns that name a row's image; the first available one is used.
NAMES = ("image_path", "key")


def find_shards(source: str | os.PathLike | Iterable, image: str | None = None) -> list[Shard]:
    """The shards of a source, in natural order, without opening any file.

    Shard names are unique paths below the root of the source, the folder that contains all of it.

    Parameters
    ----------
    source : str, path, or list of them
        Archives, Parquet files or image files, given by name, pattern (``"data/*.tar"``), fsspec
        address or folder. Images are split into shards of ``IMAGES_PER_SHARD`` samples. In a folder
        with archives, Parquet files are ignored, because img2dataset writes its lists there.
    image : str, optional
        The column of image bytes, if Parquet files have several columns of bytes.

    Raises
    ------
    ShardNotFoundError
        When no file is found.
    ImageError
        When a named file is neither an archive, a Parquet file nor an image.
    OptionError
        When a folder contains both archives and images, a file is named twice, or a column is
        given but no file is Parquet.
    """
    if image is not None:
        must_be("image", image, str, "the name of a Parquet column")
    files = find_files(source)
    if image is not None and not files.parquet:
        raise OptionError(
            f"{parameter('image')} is {image!r}, the name of a Parquet column, but no file of the "
            "source is Parquet. Leave it out."
        )
    text = get_option("invalid_text")
    labels = files.labels()
    shards = [
        TarShard(path, labels[path], text)
        if path in files.tars
        else ParquetShard(path, image, labels[path], text)
        for path in sorted(labels, key=natural)
    ]
    return shards + _cut(files, text)


def check_outside(source, out: str | os.PathLike, shards: Sequence[Shard]) -> None:
    """Raise if output written to a folder would become part of its own source.

    Archives are found by suffix, which no output file has.

    Raises
    ------
    OptionError
        When ``out`` is in a folder that is searched for images or Parquet files.
    """
    if all(isinstance(shard, TarShard) for shard in shards):
        return
    inner = Path(os.path.realpath(out))
    for folder in [source] if isinstance(source, (str, os.PathLike)) else source:
        if os.path.isdir(folder) and inner.is_relative_to(os.path.realpath(folder)):
            raise OptionError(
                f"{parameter('out')} is {os.fspath(out)}, which is in the source "
                f"{os.fspath(folder)} and would be read as part of it. Name a folder outside."
            )


def _cut(files: SourceFiles, invalid_text: str) -> list[Shard]:
    by_key: dict[str, list[str]] = {}
    for path in sorted(files.images, key=natural):
        name = os.path.relpath(path, files.root)
        by_key.setdefault(Member(name, in_folder=True).group, []).append(name)
    keys = list(by_key)
    starts = range(0, len(keys), IMAGES_PER_SHARD)
    parts = ([f for k in keys[at : at + IMAGES_PER_SHARD] for f in by_key[k]] for at in starts)
    return [
        FolderShard(files.root, tuple(part), number, invalid_text)
        for number, part in enumerate(parts)
    ]


class Images(Displayed):
    """Reads image files by path or key from archives, Parquet files or a folder.

    A shard is indexed when it is first searched, without reading images; images are then read one
    at a time. Thread-safe; a pickled copy starts without indices.

    Parameters
    ----------
    shards : sequence of shards

    Examples
    --------
    >>> import laion_dask as ld
    >>> pictures = ld.open_images("demo-corpus/images")
    >>> pictures
    <Images in 4 shards, first ...00000.tar>
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = list(shards)
        self._indices: dict[int, ImageIndex] = {}
        self._by_file: dict[str, list[int]] = {}
        for number, shard in enumerate(self._shards):
            self._by_file.setdefault(shard.name.rpartition("/")[2], []).append(number)
        self._lock = threading.Lock()

    def __reduce__(self):
        return (Images, (self._shards,))

    def __repr__(self) -> str:
        n, first = len(self._shards), self._shards[0].name
        return f"<Images in {n:,} shards, first {first}>" if n > 1 else f"<Images in {first}>"

    def _overview(self) -> Overview:
        facts = {"shards": f"{len(self._shards):,}", "first": self._shards[0].name}
        notes = ["Local files only; each is indexed when it is first searched."]
        return Overview("Images", facts, notes=notes)

    def read(self, keys: Iterable[str]) -> list[bytes | None]:
        """The image file for each key; ``None`` if it does not exist or is truncated. Eager.

        Parameters
        ----------
        keys : iterable of str
            Either ``image_path`` as written by ``embed``, which opens only the file it names; or
            ``key``, which is searched for in every shard.

        Raises
        ------
        ImageError
            When several images have the same key, or the same path below different folders; when
            a file to search does not have the format of its suffix.
        ShardError
            When the store fails.
        """
        keys = [keys] if isinstance(keys, str) else list(keys)
        return [self._read_one(key) for key in keys]

    def read_rows(self, rows: pd.DataFrame) -> list[RowImage]:
        """The image of each row, never that of another of the rows with the same name. Eager.

        An image with a row's name is compared with the row by ``image_sha256``, which ``embed``
        writes, or else by url. If neither is available, the name decides, and the image is withheld
        if rows of different shards share the name.

        Parameters
        ----------
        rows : pandas.DataFrame
            With ``image_path`` or ``key``; the first one that is not null is used in each row.

        Raises
        ------
        ColumnError
            When both columns are missing.
        ImageError
            When several images may belong to a row.
        ShardError
            When the store fails.
        """
        return withhold_shared(rows, self.find_rows(rows))

    def find_rows(self, rows: pd.DataFrame) -> list[RowImage]:
        """As `read_rows`, but rows of different shards may get the same image by its name. Eager.

        For callers that see the rows of a frame block by block, and compare the locations of their
        images themselves.
        """
        names = [name for name in NAMES if name in rows.columns]
        if not names:
            raise ColumnError(
                f"The rows have neither {NAMES[0]!r} nor {NAMES[1]!r}, which identify an image; "
                "ld.embed writes both, img2dataset the key. Available: "
                f"{', '.join(map(str, rows.columns))}."
            )
        return [self._find_row(row, names) for _, row in rows.iterrows()]

    def _find_row(self, row: pd.Series, names: list[str]) -> RowImage:
        key = next((str(row[name]) for name in names if not pd.isna(row[name])), None)
        if key is None:
            return RowImage(None, Match.ABSENT)
        named = row_image(key, row, self._named(key))
        if named.location is not None:
            return named
        similar = row_image(key, row, self._similar(key), by_name=False)
        return similar if similar.data is not None else named

    def _read_one(self, key: str) -> bytes | None:
        locations = self._named(key)
        if len(locations) > 1:
            raise several_images_error(key, locations)
        return locations[0].read() if locations else None

    def _named(self, key: str) -> list[ImageLocation]:
        """The images with a path or key."""
        at_path = self._at_path(key)
        exact = [p for p in at_path if key.startswith(f"{p.shard.name}/")]
        return (
            exact
            or at_path
            or [
                ImageLocation(shard, location)
                for number, shard in enumerate(self._shards)
                for location in self._index(number).keys.get(key, ())
            ]
        )

    def _similar(self, key: str) -> list[ImageLocation]:
        """Further images that a path or key may refer to."""
        return self._at_path(key) + [
            ImageLocation(shard, location)
            for number, shard in enumerate(self._shards)
            if isinstance(shard, FolderShard)
            for location in self._index(number).ends.get(key, ())
        ]

    def _at_path(self, path: str) -> list[ImageLocation]:
        """The images at a path, at most one per shard.

        A path relative to another root, such as the plain file names of earlier releases, matches
        every shard whose own path ends with it.
        """
        parts = path.split("/")
        locations = []
        for at in range(1, len(parts)):
            file, inner = "/".join(parts[:at]), "/".join(parts[at:])
            for number in self._by_file.get(parts[at - 1], ()):
                shard = self._shards[number]
                ends = f"/{getattr(shard, 'path', '')}".endswith(f"/{file}")
                if (shard.name == file or ends) and inner in self._index(number).paths:
                    locations.append(ImageLocation(shard, self._index(number).paths[inner]))
        return locations

    def _index(self, number: int) -> ImageIndex:
        with self._lock:
            if number not in self._indices:
                self._indices[number] = self._shards[number].index()
            return self._indices[number]


def open_images(paths: str | os.PathLike | Iterable, image: str | None = None) -> Images:
    """Open the images of archives, Parquet files or a folder, to read them by key. Lazy.

    Parameters
    ----------
    paths : str, path, or list of them
        As for ``embed``.
    image : str, optional
        As for ``embed``.

    Raises
    ------
    ShardNotFoundError, ImageError, OptionError
        As for ``find_shards``, immediately; also when no file contains an image.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> pictures = ld.open_images("demo-corpus/images")
    >>> len(pictures.read(frame.head(2)["key"]))
    2
    """
    shards = find_shards(paths, image)
    if not any(shard.holds_images() for shard in shards):
        first = shards[0].name
        raise ImageError(
            f"Found {counted(len(shards), 'file')}, the first {first}, but none contains an image "
            f"({', '.join(IMAGE_KINDS)}). Name the archives or the folder with the images."
        )
    return Images(shards)
