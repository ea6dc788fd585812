"""One shard of samples in, its embeddings out. No Dask, and no knowledge of files or models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from laion_dask.errors import ImageError
from laion_dask.kernels.lanes import in_order

#: Bytes of undecoded images that one batch holds before it is closed early.
MAX_BATCH_BYTES = 64 * 2**20


@dataclass
class EmbeddedShard:
    """What one shard became. ``len(kept) + len(rejected)`` is the number of samples read.

    Attributes
    ----------
    images : (n, dim) float16 array
        Unit norm, row i for ``kept[i]``.
    texts : (n, dim) float16 array or None
        Unit norm; NaN where a sample has no caption. ``None`` where texts were not asked for.
    kept : list
        The samples, without their image bytes.
    rejected : list
        The samples that are no row, each with its ``reason``.
    """

    images: np.ndarray
    texts: np.ndarray | None
    kept: list
    rejected: list


def embed_samples(
    samples: Iterable,
    encoder,
    *,
    dim: int,
    batch_size: int = 64,
    texts: bool = False,
    lanes: int = 1,
    after_batch: Callable[[int], None] = lambda n: None,
) -> EmbeddedShard:
    """The embeddings of a stream of samples, in its order.

    A batch is decoded, preprocessed and passed through the model by one thread, a *lane*; several
    lanes take turns, so that one decodes beside another's forward pass. Which batch a sample
    falls into depends on the stream alone, so the numbers do not depend on the lanes. At most
    ``lanes + 1`` batches are in memory.

    Parameters
    ----------
    samples : iterable
        Objects with ``image`` (bytes or None), ``caption`` and ``reason``.
    encoder : object
        ``prepare(bytes)``, ``images(list)`` and ``texts(list)``, as ``models.loading.LoadedClip``.
    dim : int
        The length of its embeddings.
    batch_size : int
    texts : bool
        Whether captions are embedded too.
    lanes : int
    after_batch : callable
        Called with the number of samples of every finished batch; what it raises ends the work.
    """
    parts = list(_in_lanes(samples, encoder, batch_size, texts, lanes, after_batch))
    full = [part for part in parts if part.kept]
    empty = np.empty((0, dim), np.float16)
    return EmbeddedShard(
        images=np.concatenate([empty, *(part.images for part in full)]),
        texts=np.concatenate([empty, *(part.texts for part in full)]) if texts else None,
        kept=[sample for part in parts for sample in part.kept],
        rejected=[sample for part in parts for sample in part.rejected],
    )


def _in_lanes(samples, encoder, batch_size, texts, lanes, after_batch) -> Iterator[EmbeddedShard]:
    batches = _batches(samples, batch_size)
    for part in in_order(lambda batch: embed_batch(batch, encoder, texts), batches, lanes):
        after_batch(len(part.kept) + len(part.rejected))
        yield part


def _batches(samples: Iterable, batch_size: int) -> Iterator[list]:
    batch, n_bytes = [], 0
    for sample in samples:
        batch.append(sample)
        n_bytes += len(sample.image or b"")
        if len(batch) == batch_size or n_bytes >= MAX_BATCH_BYTES:
            yield batch
            batch, n_bytes = [], 0
    if batch:
        yield batch


def embed_batch(batch: list, encoder, texts: bool) -> EmbeddedShard:
    """The embeddings of one batch; image bytes are dropped on the way."""
    kept, prepared, rejected = [], [], []
    for sample in batch:
        data, sample.image = sample.image, None
        if sample.reason is None:
            try:
                prepared.append(encoder.prepare(data or b""))
            except ImageError as error:
                sample.reason = str(error)
        (rejected if sample.reason else kept).append(sample)
    images = encoder.images(prepared) if prepared else np.empty((0, 1), np.float32)
    images, kept, failed = _finite_only(images, kept)
    captions = _captions(kept, encoder, images.shape[1]) if texts and kept else images
    order = {id(sample): at for at, sample in enumerate(batch)}
    rejected = sorted(rejected + failed, key=lambda sample: order[id(sample)])
    if not kept:
        return EmbeddedShard(images[:0], images[:0], [], rejected)
    return EmbeddedShard(images.astype(np.float16), captions.astype(np.float16), kept, rejected)


def _finite_only(images: np.ndarray, kept: list) -> tuple[np.ndarray, list, list]:
    good = (np.isfinite(images) & images.any(axis=1, keepdims=True)).all(axis=1)
    failed = [sample for sample, fine in zip(kept, good, strict=True) if not fine]
    for sample in failed:
        sample.reason = "the model's embedding of it is zero or not finite"
    return images[good], [s for s, fine in zip(kept, good, strict=True) if fine], failed


def _captions(kept: list, encoder, dim: int) -> np.ndarray:
    found = np.full((len(kept), dim), np.nan, np.float32)
    rows = [at for at, sample in enumerate(kept) if sample.caption is not None]
    if rows:
        found[rows] = encoder.texts([kept[at].caption for at in rows])
    return found
