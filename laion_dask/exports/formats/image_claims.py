"""Find the images that rows of several shards name, over all parts of an export.

Keys such as ``000000012`` occur in every source, so an image that rows of several shards name may
belong to one of them only. Each part writes the claims of its rows beside its tar. When all parts
are written, the claims are compared: whether an image is withheld depends neither on the parts nor
on their order. The rule is that of `laion_dask.io.images.row_match.withhold_shared`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from laion_dask.exports.formats.npy import npy_header
from laion_dask.exports.formats.staged_files import StagedFile, StagingFolder
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.io.images.samples import CAPTION_FIELDS, URL_FIELDS, SupportsGet, first_text
from laion_dask.io.storage.local_file import file_system
from laion_dask.runtime import cancellation

#: A row's claim to an image: hashes of the image's shard, of the image, and of the row's url and
#: caption; the row's shard, and its position in the part; what proves the claim.
CLAIM = np.dtype(
    {
        "names": ["source", "image", "content", "shard", "at", "proof"],
        "formats": ["<u8", "<u8", "<u8", "<i8", "<u4", "u1"],
    }
)
_NOTHING, _URL, _DIGEST = range(3)
_PROOFS = {Match.URL: _URL, Match.DIGEST: _DIGEST}
#: Claims that are compared at a time; 150 MB.
_COMPARED = 1 << 22


def claim_of(row: SupportsGet, found: RowImage, at: int) -> tuple[int, ...] | None:
    """The claim of a row at a position of its part; None if it has no image or no shard."""
    shard = row.get("shard")
    if found.data is None or found.location is None or shard is None:
        return None
    url, caption = first_text(row, URL_FIELDS), first_text(row, CAPTION_FIELDS)
    source, image = found.location.shard.name, repr(found.location.location)
    proof = _PROOFS.get(found.match, _NOTHING)
    return _hash(source), _hash(source, image), _hash(url, caption), int(shard), at, proof


def _hash(*texts: str | None) -> int:
    data = repr(texts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def write_claims(
    staging: StagingFolder, stem: str, claims: Sequence[tuple[int, ...]]
) -> StagedFile:
    """The claims of a part as a staged file."""
    array = np.array(list(claims), CLAIM)
    return staging.write(f"{stem}.claims.npy", npy_header(CLAIM, array.shape) + array.tobytes())


def _read(staging: StagingFolder, file: StagedFile) -> np.ndarray:
    cancellation.check()
    fs, path = file_system(staging.locate(file.staged))
    with fs.open(path, "rb") as opened:
        array: np.ndarray = np.lib.format.read_array(opened)
    return array


def withheld_rows(staging: StagingFolder, files: Mapping[int, StagedFile]) -> dict[int, np.ndarray]:
    """The positions of the rows that must not have the image that they name, by part.

    Only the claims of sources that rows of several shards name are compared, some sources at a
    time: memory does not grow with the number of rows.

    Parameters
    ----------
    staging : StagingFolder
    files : mapping of int to StagedFile
        The claims of each part.
    """
    withheld: dict[int, list[np.ndarray]] = {}
    for sources, parts in _groups(staging, files):
        claims, of_part = [], []
        for part in parts:
            own = _read(staging, files[part])
            claims.append(own[np.isin(own["source"], sources)])
            of_part.append(np.full(len(claims[-1]), part))
        compared, numbers = np.concatenate(claims), np.concatenate(of_part)
        wrong = _contested(compared)
        for part in np.unique(numbers[wrong]).tolist():
            withheld.setdefault(part, []).append(compared["at"][wrong & (numbers == part)])
    return {part: np.sort(np.concatenate(found)) for part, found in withheld.items()}


def _groups(
    staging: StagingFolder, files: Mapping[int, StagedFile]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Sources that rows of several shards name, some at a time, and the parts that name them."""
    shards: dict[int, int | None] = {}  # None: several
    named: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for part, file in files.items():
        claims = _read(staging, file)
        pairs, counts = np.unique(claims[["source", "shard"]], return_counts=True)
        for (source, shard), n in zip(pairs.tolist(), counts.tolist(), strict=True):
            if shards.setdefault(source, shard) != shard:
                shards[source] = None
            if not named.setdefault(source, []) or named[source][-1] != part:
                named[source].append(part)
            sizes[source] = sizes.get(source, 0) + n
    group: list[int] = []
    room = _COMPARED
    for source in (source for source, shard in shards.items() if shard is None):
        if group and sizes[source] > room:
            yield np.array(group, np.uint64), sorted({p for s in group for p in named[s]})
            group, room = [], _COMPARED
        group.append(source)
        room -= sizes[source]
    if group:
        yield np.array(group, np.uint64), sorted({p for s in group for p in named[s]})


def _contested(claims: np.ndarray) -> np.ndarray:
    """Mask of the claims to an image of another row's, as far as anyone can tell."""
    _, image = np.unique(claims["image"], return_inverse=True)
    several_shards, several_contents = (_differ(image, claims[n]) for n in ("shard", "content"))
    proved = (claims["proof"] == _DIGEST) | ((claims["proof"] == _URL) & ~several_contents[image])
    mask: np.ndarray = several_shards[image] & ~proved
    return mask


def _differ(groups: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Whether the values of each group differ."""
    first = np.zeros(groups.max(initial=-1) + 1, values.dtype)
    first[groups] = values
    differ = np.zeros(len(first), bool)
    differ[groups[values != first[groups]]] = True
    return differ
