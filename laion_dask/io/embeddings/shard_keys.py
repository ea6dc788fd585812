"""The keys that pair shards with files of embeddings, from the names of both."""

from __future__ import annotations

import re

from laion_dask.io.storage.export_manifest import is_part_name

#: Folder names that describe the content of a file, not the collection it belongs to.
_ROLES = {"metadata", "metadatas", "img_emb", "text_emb", "images", "shards", "parquet", "npz"}

#: A CLIP model in a file's name, before its number: ``b32`` in ``img_emb_b32_0012``.
_MODEL = re.compile(
    r"(?<![a-z0-9])(vit[-_]?[blhg][-_]?|[blhg])(14|16|32)(?=[-_].*\d)", re.IGNORECASE
)

#: Extensions of storage formats.
_STORED = re.compile(r"(\.(parquet|parq|pq|npy|npz|snappy|zstd|gz|lz4))+$", re.IGNORECASE)


def stem(path: str) -> str:
    """A file's name without the extensions of its storage format.

    That of a part of an export is also without the name of a set of embeddings.
    """
    name = path.rpartition("/")[2]
    if is_part_name(name):
        return name.partition(".")[0]
    return _STORED.sub("", name)


def embedding_key(path: str) -> tuple[str, str]:
    """As `shard_key`, ignoring a CLIP model in the file's name, whose digits are not a number."""
    folder, slash, name = path.rpartition("/")
    return shard_key(f"{folder}{slash}{_MODEL.sub('', name)}")


def shard_key(path: str) -> tuple[str, str]:
    """The key that pairs a metadata file with its embedding file: (collection, number or name).

    ``metadata_0012.parquet``, ``img_emb_12.npy`` and ``part-00012-<uuid>-c000.snappy.parquet``
    all have the number 12; a name without a number (DataComp's 32 hexadecimal digits) is itself the
    key. The collection is the nearest folder whose name is not a role, so that
    ``laion2B-en/metadata/…_3`` and ``laion1B-nolang/metadata/…_3`` remain distinct.

    Examples
    --------
    >>> shard_key("laion2B-en/metadata/metadata_0012.parquet")
    ('laion2B-en', '12')
    >>> shard_key("laion2B-en/img_emb/img_emb_12.npy")
    ('laion2B-en', '12')
    """
    folders = [p for p in path.split("/")[:-1] if p not in ("", ".") and p.lower() not in _ROLES]
    name = stem(path)
    if re.fullmatch(r"[0-9a-f]{32,64}", name):
        number = name
    elif part := re.match(r"part-(\d+)-", name):
        number = str(int(part.group(1)))
    else:
        name = re.sub(r"(\d+)-of-\d+$", r"\1", name)
        number = "/".join(str(int(n)) for n in re.findall("[0-9]+", name)) or name
    return (folders[-1] if folders else "", number)
