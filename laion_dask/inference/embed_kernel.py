"""Embed one shard of samples, independently of Dask, files and models."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from laion_dask.errors import ImageError
from laion_dask.io.images.decoding import SCALED_FROM
from laion_dask.numerics.normalization import unit
from laion_dask.runtime.ordered_map import in_order

#: Bytes of encoded images at which a batch is closed early.
MAX_BATCH_BYTES = 64 * 2**20


@dataclass
class EmbeddedShard:
    """The result for one shard. ``len(kept) + len(rejected)`` is the number of samples read.

    Attributes
    ----------
    images : (n, dim) float16 array
        Unit norm, row i for ``kept[i]``.
    texts : (n, dim) float16 array or None
        Unit norm; NaN without a caption. ``None`` if texts were not requested.
    kept : list
        The samples, without their image bytes.
    rejected : list
        The rejected samples, each with its ``reason``.
    scores : dict of str to (n,) float32 array
        One array per head over images, by name.
    """

    images: np.ndarray
    texts: np.ndarray | None
    kept: list
    rejected: list
    scores: dict[str, np.ndarray] = field(default_factory=dict)


def embed_samples(
    samples: Iterable,
    encoder,
    *,
    dim: int,
    batch_size: int = 64,
    texts: bool = False,
    heads: Sequence = (),
    n_concurrent: int = 1,
    after_batch: Callable[[int], None] = lambda n: None,
) -> EmbeddedShard:
    """The embeddings of a stream of samples, in order.

    Each batch is decoded, preprocessed and passed through the model by one thread. Several batches
    run concurrently, so that one is decoded during another's forward pass. The batch of a sample
    depends only on the stream, so the results do not depend on ``n_concurrent``. At most
    ``n_concurrent + 1`` batches are in memory.

    Parameters
    ----------
    samples : iterable
        Objects with ``image`` (bytes or None), ``caption`` and ``reason``.
    encoder : object
        An object with ``decode(bytes)``, ``prepare(picture)``, ``images(list)`` and
        ``texts(list)``, such as `laion_dask.models.clip_runtime.LoadedClip`.
    dim : int
        The dimension of the embeddings.
    batch_size : int
    texts : bool
        Whether to embed captions as well.
    heads : sequence of heads over images
        Each has ``name``, ``prepare(picture)`` and ``of_prepared(list)``. Images are decoded once.
    n_concurrent : int
        The number of batches processed concurrently.
    after_batch : callable
        Called with the number of samples in every finished batch; an exception stops the run.
    """
    task = partial(embed_batch, encoder=encoder, texts=texts, heads=heads)
    parts = list(_embedded_in_order(_batches(samples, batch_size), task, n_concurrent, after_batch))
    full = [part for part in parts if part.kept]
    empty, no_score = np.empty((0, dim), np.float16), np.empty(0, np.float32)
    return EmbeddedShard(
        images=np.concatenate([empty, *(part.images for part in full)]),
        texts=np.concatenate([empty, *(part.texts for part in full)]) if texts else None,
        kept=[sample for part in parts for sample in part.kept],
        rejected=[sample for part in parts for sample in part.rejected],
        scores={
            head.name: np.concatenate([no_score, *(part.scores[head.name] for part in full)])
            for head in heads
        },
    )


def _embedded_in_order(batches, task, n_concurrent, after_batch) -> Iterator[EmbeddedShard]:
    for part in in_order(task, batches, n_concurrent):
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


def embed_batch(batch: list, encoder, texts: bool, heads: Sequence = ()) -> EmbeddedShard:
    """The embeddings of one batch; removes the image bytes from its samples."""
    kept: list = []
    rejected: list = []
    prepared = []
    for sample in batch:
        data, sample.image = sample.image, None
        if sample.reason is None:
            try:
                picture = encoder.decode(data or b"")
                sample.rescaled = SCALED_FROM in getattr(picture, "info", ())
                prepared.append([encoder.prepare(picture), *(h.prepare(picture) for h in heads)])
                sample.image_sha256 = hashlib.sha256(data).hexdigest()
            except ImageError as error:
                sample.reason = str(error)
        (rejected if sample.reason else kept).append(sample)
    if not kept:
        return EmbeddedShard(np.empty((0, 1), np.float16), None, [], rejected)
    for_model, *for_heads = (list(inputs) for inputs in zip(*prepared, strict=True))
    images = encoder.images(for_model)
    scores = {h.name: h.of_prepared(p) for h, p in zip(heads, for_heads, strict=True)}
    return _finite_only(images, kept, scores, rejected, batch, encoder if texts else None)


def _finite_only(images, kept, scores, rejected, batch, encoder) -> EmbeddedShard:
    """The rows with a valid embedding, and those of their captions if an encoder is given."""
    valid = (np.isfinite(images) & images.any(axis=1, keepdims=True)).all(axis=1)
    for sample, is_valid in zip(kept, valid, strict=True):
        if not is_valid:
            sample.reason = "its embedding is zero or not finite"
            rejected.append(sample)
    order = {id(sample): at for at, sample in enumerate(batch)}
    rejected.sort(key=lambda sample: order[id(sample)])
    kept = [sample for sample, is_valid in zip(kept, valid, strict=True) if is_valid]
    texts = _captions(kept, encoder, images.shape[1]) if encoder else None
    scores = {name: values[valid] for name, values in scores.items()}
    return EmbeddedShard(images[valid].astype(np.float16), texts, kept, rejected, scores)


def _captions(kept: list, encoder, dim: int) -> np.ndarray:
    embeddings = np.full((len(kept), dim), np.nan, np.float32)
    rows = [at for at, sample in enumerate(kept) if sample.caption is not None]
    if rows:
        embeddings[rows] = encoder.texts([kept[at].caption for at in rows])
    return embeddings.astype(np.float16)


def clip_scores(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """The cosine of each image and its caption, from float16 embeddings as written.

    Parameters
    ----------
    images, texts : (n, dim) float16 arrays
        Text embeddings are NaN without a caption.

    Returns
    -------
    (n,) float32 array
        In [-1, 1]; NaN without a caption.
    """
    image, text = unit(images), unit(texts)
    return np.clip(np.einsum("ij,ij->i", image, text), -1, 1)
