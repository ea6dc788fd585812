"""Sources of images as shards: webdataset tars, Parquet files, folders; and finding one again."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from laion_dask.errors import ImageError, OptionError, ShardNotFoundError, must_be
from laion_dask.io.image_shards import FolderShard, Shard, TarShard
from laion_dask.io.parquet_images import ParquetShard
from laion_dask.io.paths import expand, natural
from laion_dask.io.samples import IMAGE_KINDS, Member

#: Samples of a folder that make one shard, as in img2dataset's archives.
IMAGES_PER_SHARD = 10_000


def find_shards(source: str | os.PathLike | Iterable, image: str | None = None) -> list[Shard]:
    """The shards of a source, in natural order. Nothing is opened yet.

    Parameters
    ----------
    source : str, path, or list of them
        Archives or Parquet files, by name, pattern (``"data/*.tar"``), fsspec address or folder;
        or one folder with image files, which is cut into shards of ``IMAGES_PER_SHARD`` samples.
        In a folder archives come first: Parquet files beside them are img2dataset's lists.
    image : str, optional
        The column of image bytes, where Parquet files have several of bytes.

    Raises
    ------
    ShardNotFoundError
        When nothing is there.
    ImageError
        For a file that is named and is neither ``.tar`` nor ``.parquet``.
    OptionError
        When a folder holds archives and images side by side, or a column is named and no file is
        Parquet.
    """
    if image is not None:
        must_be("image", image, str, "the name of a Parquet column")
    if isinstance(source, (str, os.PathLike)) and os.path.isdir(source):
        shards = _in_folder(os.path.abspath(source), image)  # a worker may stand elsewhere
    else:
        shards = [_of_file(path, image) for path in _expand(source)]
    if image is not None and not any(isinstance(shard, ParquetShard) for shard in shards):
        raise OptionError(
            f"image is {image!r}, the name of a Parquet column, and no file of the source is "
            "Parquet. Leave it out."
        )
    return shards


def check_outside(source, out: str | os.PathLike, shards: Sequence[Shard]) -> None:
    """Refuse a folder in which what is written would become part of its own source.

    Archives are looked for by their ending, which nothing that is written has.

    Raises
    ------
    OptionError
        When ``out`` lies in a folder that is searched for images or Parquet files.
    """
    if all(isinstance(shard, TarShard) for shard in shards):
        return
    inner = Path(os.path.realpath(out))
    for folder in [source] if isinstance(source, (str, os.PathLike)) else source:
        if os.path.isdir(folder) and inner.is_relative_to(os.path.realpath(folder)):
            raise OptionError(
                f"out is {os.fspath(out)}, which lies in the source {os.fspath(folder)} and would "
                "be read as a part of it. Name a folder outside."
            )


def _expand(source) -> list[str]:
    try:
        return expand(source, (".tar",))
    except ShardNotFoundError as error:
        try:
            return expand(source, (".parquet",))
        except ShardNotFoundError:
            raise error from None


def _of_file(path: str, image: str | None) -> TarShard | ParquetShard:
    if path.endswith(".parquet"):
        return ParquetShard(path, image)
    if path.endswith(".tar"):
        return TarShard(path)
    raise ImageError(
        f"{path} is no .tar and no .parquet. Expected uncompressed webdataset archives, Parquet "
        f"files with image bytes, or one folder of images ({', '.join(IMAGE_KINDS)}); unpack "
        ".tar.gz first."
    )


def _in_folder(root: str, image: str | None) -> list[Shard]:
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
    if images:
        return _cut(root, sorted(files, key=natural))
    if tars:
        return [TarShard(path) for path in expand(root, (".tar",))]
    if any(name.endswith(".parquet") for name in files):
        return [ParquetShard(path, image) for path in expand(root, (".parquet",))]
    kinds = ", ".join(IMAGE_KINDS)
    raise ShardNotFoundError(
        f"{root} holds no .tar, no .parquet and no image ({kinds}). Check the path."
    )


def _cut(root: str, files: list[str]) -> list[Shard]:
    by_key: dict[str, list[str]] = {}
    for name in files:
        by_key.setdefault(Member(name, 0, None, in_folder=True).key, []).append(name)
    keys = list(by_key)
    starts = range(0, len(keys), IMAGES_PER_SHARD)
    parts = ([f for k in keys[at : at + IMAGES_PER_SHARD] for f in by_key[k]] for at in starts)
    return [FolderShard(root, tuple(part), number) for number, part in enumerate(parts)]


class Images:
    """Image files by key, out of the archives, Parquet files or folder that they lie in.

    A shard is indexed when it is first searched, once, without reading an image; images are then
    read one by one. Safe to use from several threads; a pickled copy starts without the indices.

    Parameters
    ----------
    shards : sequence of shards
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = list(shards)
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
            A ``key``, or an ``image_path`` as ``embed`` writes both. A key that several shards
            have means the first of them; an ``image_path`` means exactly one image.

        Raises
        ------
        ImageError, ShardError
            When a file that has to be searched is not what it is named as.
        """
        keys = [keys] if isinstance(keys, str) else list(keys)
        return [self._read_one(key) for key in keys]

    def _read_one(self, key: str) -> bytes | None:
        named = [n for n, s in enumerate(self._shards) if key.startswith(f"{s.name}/")]
        for number in (*named, *range(len(self._shards))):
            shard, index = self._shards[number], self._index(number)
            inner = key.removeprefix(f"{shard.name}/") if number in named else key
            place = index.get(key, index.get(inner))
            if place is not None:
                return shard.fetch(place)
        return None

    def _index(self, number: int) -> dict:
        with self._lock:
            if number not in self._indices:
                self._indices[number] = self._shards[number].index()
            return self._indices[number]


def open_images(paths: str | os.PathLike | Iterable, image: str | None = None) -> Images:
    """The images of archives, Parquet files or a folder, to be read by key. Lazy.

    Parameters
    ----------
    paths : str, path, or list of them
        As for ``embed``.
    image : str, optional
        As for ``embed``.

    Raises
    ------
    ShardNotFoundError, ImageError, OptionError
        As ``find_shards``, at once.
    """
    return Images(find_shards(paths, image))
