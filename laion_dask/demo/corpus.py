"""A small LAION-shaped corpus with images, and the ground truth of every row."""

from __future__ import annotations

import hashlib
import io
import json
import operator
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from laion_dask.demo.planting import Row, plan_rows, planted
from laion_dask.demo.render import render
from laion_dask.errors import ExportError, OptionError
from laion_dask.io.storage.atomic_file import committed, writing

SCHEMA = pa.schema(
    {
        "URL": pa.string(), "TEXT": pa.string(), "WIDTH": pa.int32(), "HEIGHT": pa.int32(),
        "similarity": pa.float64(), "LANGUAGE": pa.string(), "hash": pa.int64(),
        "punsafe": pa.float32(), "pwatermark": pa.float32(), "key": pa.string(),
    }
)  # fmt: skip
"""LAION-5B's joined schema, plus the key of the sample in the webdataset archive."""

TRUTH_SCHEMA = pa.schema(
    {
        "key": pa.string(), "colour": pa.string(), "object": pa.string(), "count": pa.int32(),
        "scene": pa.string(), "occupation": pa.string(), "gender_word": pa.string(),
        "language": pa.string(), "is_watermarked": pa.bool_(), "is_unsafe": pa.bool_(),
        "is_mismatched": pa.bool_(), "duplicate_of": pa.string(),
        "near_duplicate_of": pa.string(), "domain": pa.string(), "is_broken": pa.bool_(),
        "is_hostile": pa.bool_(),
    }
)  # fmt: skip
"""``colour`` to ``occupation`` describe the image; the next two describe the caption."""

_TEXT_FOR_IMAGE = b"<!DOCTYPE html><title>404 Not Found</title><h1>This is no image</h1>\n"


def write_corpus(
    out: str | os.PathLike[str],
    *,
    n_images: int = 4000,
    n_shards: int = 4,
    seed: int = 0,
    image_size: int = 128,
) -> Path:
    """Write a corpus: Parquet shards, webdataset archives and the ground truth. Eager.

    Writes ``shards/part_0000.parquet`` … (`SCHEMA`), ``images/00000.tar`` …, whose sample i is row
    i of the shard (``<key>.jpg``, ``<key>.txt``, ``<key>.json``), ``truth.parquet``
    (`TRUTH_SCHEMA`) and ``truth.json`` (the requested and actual planted shares). Equal arguments
    give equal bytes. Memory holds one shard at a time, and the plan of all rows.

    Parameters
    ----------
    out : path
        The folder; created if missing. An existing corpus is replaced.
    n_images, n_shards : int
        Total number of rows, and number of shards, at least 1 each; shard sizes differ by at most
        one.
    seed : int
        0 or more.
    image_size : int
        Pixels per side, at least 32. WIDTH and HEIGHT describe a larger, fictitious original, as
        in the published tables of images that were resized on download.

    Raises
    ------
    OptionError
        Before anything is written, when a number is out of range.
    ExportError
        Before anything is written, when the folder contains a shard that is not of this corpus.

    Notes
    -----
    Shares are planted exactly, in whole rows: see `planting.SHARES`, `planting.LANGUAGE_SHARES`,
    `planting.P_SHE`. ``punsafe > 0.5`` exactly if the hazard disc is drawn, and
    ``pwatermark > 0.8`` exactly if the watermark is, except for nulls (no unsafe row has a null).
    ``similarity`` is also planted instead of computed by a model: normal around 0.33 for matching
    captions, in 0.26 to 0.45, and around 0.18 for mismatched ones, in 0.05 to 0.25. All hosts are
    under ``.example``, which does not resolve (RFC 2606).
    """
    for name, value, low in (
        ("n_images", n_images, 1), ("n_shards", n_shards, 1), ("seed", seed, 0),
        ("image_size", image_size, 32),
    ):  # fmt: skip
        _check_at_least(name, value, low)
    out = Path(out)
    shards = [out / "shards" / f"part_{i:04d}.parquet" for i in range(n_shards)]
    tars = [out / "images" / f"{i:05d}.tar" for i in range(n_shards)]
    _refuse_strangers(out, {*shards, *tars})
    rows = plan_rows(n_images, seed)
    cuts = [n_images * i // n_shards for i in range(n_shards + 1)]
    keys = [f"{s:05d}{i:04d}" for s in range(n_shards) for i in range(cuts[s + 1] - cuts[s])]
    for s in range(n_shards):
        span = range(cuts[s], cuts[s + 1])
        records = [_record(rows[i], keys[i], np.random.default_rng([seed, 5, i])) for i in span]
        _write_shard(shards[s], tars[s], records, (image_bytes(rows[i], image_size) for i in span))
    truth = [_truth(row, key, keys) for row, key in zip(rows, keys, strict=True)]
    with committed(out / "truth.parquet") as file:
        pq.write_table(pa.Table.from_pylist(truth, TRUTH_SCHEMA), file)
    with committed(out / "truth.json") as file:
        file.write((json.dumps({"seed": seed, **planted(rows)}, indent=2) + "\n").encode())
    return out


def image_bytes(row: Row, size: int) -> bytes:
    """The image file of a row: a JPEG, or invalid content for a broken row. Eager."""
    image = render(row.picture, size)
    quality = 90
    if row.near_kind == "recompressed":
        quality = 60
    elif row.near_kind == "resized":
        side = round(size * 0.85)
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    elif row.near_kind == "shifted":
        step = max(1, size // 40)
        image = image.crop((step, step, size, size)).resize((size, size), Image.Resampling.BICUBIC)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    data = file.getvalue()
    return {
        None: data, "truncated": data[: len(data) * 2 // 5], "empty": b"",
        "text": _TEXT_FOR_IMAGE,
    }[row.broken_kind]  # fmt: skip


def _write_shard(
    shard: Path, archive: Path, records: list[dict[str, object]], images: Iterator[bytes]
) -> None:
    for path in (shard, archive):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    with committed(shard) as file:
        pq.write_table(pa.Table.from_pylist(records, SCHEMA), file)
    with (
        committed(archive) as file,
        tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for record, image in zip(records, images, strict=True):
            _add_sample(tar, record, image)


def _check_at_least(name: str, value: int, low: int) -> None:
    try:
        fits = operator.index(value) >= low
    except TypeError:
        fits = False
    if not fits:
        raise OptionError(f"{name} is {value!r}. Expected a whole number of at least {low}.")


def _refuse_strangers(out: Path, expected: set[Path]) -> None:
    existing = {*out.glob("shards/*.parquet"), *out.glob("images/*.tar")}
    if strangers := sorted(existing - expected):
        raise ExportError(
            f"{out} contains {len(strangers)} file(s) that are not part of this corpus, the first "
            f"{strangers[0].relative_to(out)}. Expected none: a reader would mix the two. "
            "Choose an empty folder, or remove them."
        )


def _hash_of(url: str, text: str) -> int:
    digest = hashlib.blake2b(f"{url}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def _record(row: Row, key: str, rng: np.random.Generator) -> dict[str, object]:
    """The row as in the published tables; all numbers except the hash are planted."""
    url = f"https://{row.domain}/images/{key}.jpg"
    width, height = np.clip(np.exp(rng.normal(6.2, 0.55, 2)), 64, 6000).astype(int).tolist()
    low, middle, high = (0.05, 0.18, 0.25) if row.mismatched else (0.26, 0.33, 0.45)
    fit = float(np.clip(rng.normal(middle, 0.03), low, high))
    if row.nan_similarity:
        fit = float("nan")
    p_unsafe, p_mark = rng.beta(1, 25) * 0.48, rng.beta(1.2, 6) * 0.78
    if row.picture.unsafe:
        p_unsafe = rng.uniform(0.52, 0.999)
    if row.picture.watermarked:
        p_mark = rng.uniform(0.82, 0.999)
    return {
        "URL": url,
        "TEXT": row.text,
        "WIDTH": width,
        "HEIGHT": height,
        "similarity": None if row.null_similarity else fit,
        "LANGUAGE": None if row.null_language else row.language,
        "hash": _hash_of(url, row.text),
        "punsafe": None if row.null_punsafe else float(np.float32(p_unsafe)),
        "pwatermark": float(np.float32(p_mark)),
        "key": key,
    }


def _add_sample(tar: tarfile.TarFile, record: dict[str, object], image: bytes) -> None:
    plain = {k: None if v != v else v for k, v in record.items()}  # JSON has no NaN
    members = {
        "jpg": image,
        "txt": str(record["TEXT"]).encode(),
        "json": json.dumps(plain, ensure_ascii=False).encode(),
    }
    for ending, content in members.items():
        info = tarfile.TarInfo(f"{record['key']}.{ending}")
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))


def _truth(row: Row, key: str, keys: list[str]) -> dict[str, object]:
    picture = row.picture
    return {
        "key": key,
        "colour": picture.color,
        "object": picture.object,
        "count": picture.count,
        "scene": picture.scene,
        "occupation": picture.occupation,
        "gender_word": row.gender_word,
        "language": row.language,
        "is_watermarked": picture.watermarked,
        "is_unsafe": picture.unsafe,
        "is_mismatched": row.mismatched,
        "duplicate_of": keys[row.copy_of] if row.copy_of >= 0 else None,
        "near_duplicate_of": keys[row.near_copy_of] if row.near_copy_of >= 0 else None,
        "domain": row.domain,
        "is_broken": row.broken_kind is not None,
        "is_hostile": row.hostile,
    }
