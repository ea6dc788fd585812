"""Embed images from archives, Parquet files or a folder, with output in clip-retrieval's layout."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from dask.system import CPU_COUNT

from laion_dask.backend import gpu_count
from laion_dask.cost import IMAGES, Cost, PlannedFrame
from laion_dask.errors import ShardError, must_be, parameter
from laion_dask.extras import require_extra
from laion_dask.inference.embed_kernel import clip_scores, embed_samples
from laion_dask.inference.metadata_columns import metadata_table, plan_columns, rejects_table
from laion_dask.inference.output_folder import EmbedFolder, EmbedResult
from laion_dask.io.images.images import check_outside, find_shards
from laion_dask.io.images.shards import Shard, Survey
from laion_dask.models.clip import ClipModel, as_clip
from laion_dask.models.clip_runtime import check_precision
from laion_dask.models.heads import Head
from laion_dask.models.heads.compatibility import check_heads
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime.tasks import Run, run_each
from laion_dask.runtime.workers import waiting_client
from laion_dask.validation import whole_number

#: With fewer shards per core than this, each shard gets two concurrent batches, so that no core
#: idles at the end.
FEW_SHARDS = 4

#: Libraries whose version can change digits of the results.
_LIBRARIES = ("laion_dask", "open_clip_torch", "torch", "torchvision", "pillow")


@dataclass(frozen=True)
class _Work:
    """The parameters shared by all tasks of a run."""

    model: ClipModel
    precision: str
    heads: tuple[Head, ...]
    clip_score: str | None
    columns: list
    folder: EmbedFolder
    batch_size: int
    n_concurrent: int


def embed(
    source: str | os.PathLike | Iterable,
    out: str | os.PathLike,
    model: ClipModel | str,
    *,
    batch_size: int = 64,
    precision: str | None = None,
    heads: Head | Iterable[Head] | None = (),
    clip_score: str | None = "clip_score",
    image: str | None = None,
    progress: bool | None = None,
) -> EmbedResult:
    """Compute CLIP embeddings of images and of their captions, shard by shard. Eager.

    A broken image costs one row, which is counted; the reason is recorded in ``out/_rejects``. If a
    run is killed, the same call resumes it by shard; on the same kind of CPU or GPU the result is
    byte-identical to an uninterrupted run, for any number of workers. A run cannot be resumed with
    a different ``batch_size`` or other library versions. Runs on this process's distributed client
    if there is one, otherwise on threads.

    Parameters
    ----------
    source : str, path, or list of them
        Webdataset tars, Parquet files with image bytes, or images (JPEG, PNG, WebP, GIF, BMP, TIFF,
        AVIF), given by name, pattern or folder; tars and Parquet files also by fsspec address. A
        caption comes from ``key.txt``, or else from ``caption``, ``TEXT`` or ``text`` in
        ``key.json``, whose fields become columns. In Parquet it comes from a column with one of
        these names; every other column without bytes is kept, and the key comes from ``key`` or
        ``__key__``, or else is the row number. ``image_path`` and ``image_sha256``, the digest of
        the image file, identify the image of a row; JSON fields with these names and ``key`` are
        ignored. ``set_options(invalid_text=…)`` applies to text that is neither UTF-8 nor UTF-16.
    out : path
        A folder that all workers share: new, empty, or from an earlier run of the same call.
    model : ClipModel or str
        Its weights must be available on every worker.
    batch_size : int
        Images per forward pass.
    precision : str, optional
        ``"float32"`` or ``"bfloat16"``. The default is bfloat16 if the CPUs or GPUs of all workers
        support it in hardware; it is several times faster, and its embeddings have a cosine of at
        least 0.999 with those of float32. A run can only be resumed with the same precision.
    heads : head or iterable of heads, optional
        Heads over embeddings, applied to the float16 values as written, or heads over images, such
        as ``ld.heads.watermark``; each adds a column to the metadata.
    clip_score : str, optional
        Name of the column for the cosine between image and caption embeddings, as written; float32,
        NaN without a caption. Omitted if ``None``, or if there are no captions.
    image : str, optional
        The column of image bytes, if Parquet files have several columns of bytes.
    progress : bool, optional
        Whether to show a progress bar; the default is set by ``set_options(progress=…)``.

    Returns
    -------
    EmbedResult
        Counts and paths.

    Raises
    ------
    ShardNotFoundError, ShardError, ImageError, OptionError, WeightsError, ModelMismatchError
        Immediately, before anything is computed.
    ExportError
        Immediately, when ``out`` contains anything other than this run.

    Examples
    --------
    >>> import laion_dask as ld
    >>> result = ld.embed("demo-corpus/images/00000.tar", "new-embeddings", "demo")
    >>> result.n_read == result.n_kept + result.n_rejected
    True
    >>> frame = ld.read_shards(result.metadata)
    >>> images = ld.open_embeddings(result.img_emb, model="demo", like=frame)
    """
    must_be("out", out, (str, os.PathLike), "a folder: embed(source, out, model)")
    require_extra("clip", "Embedding images")
    model = as_clip(model)
    heads = tuple(check_heads(_as_list(heads), model, ("embeddings", "images")))
    batch_size = whole_number(parameter("batch_size"), batch_size, "images per forward pass")
    if precision is not None:
        check_precision(precision)
    if clip_score is not None:
        must_be("clip_score", clip_score, str, "a column's name, or None")
    model.require()
    source = source if isinstance(source, (str, os.PathLike)) else _as_list(source)
    shards = find_shards(source, image)
    check_outside(source, out, shards)
    surveys, native = _survey_all(shards, model, progress)
    texts = any(survey.n_captions for survey in surveys)
    score = clip_score if texts else None
    plan = _plan(model, precision or native, heads, score, shards, surveys)
    plan = {**plan, "batch_size": batch_size}
    folder = EmbedFolder(os.path.abspath(out), len(shards), texts)
    plan = folder.begin(plan)
    pending = [number for number in range(len(shards)) if not folder.is_done(number)]
    work = _Work(
        model,
        plan["precision"],
        heads,
        score,
        plan["columns"],
        folder,
        batch_size,
        _n_concurrent_batches(pending),
    )
    try:
        run_each(
            _embed_shard,
            [(shards[number], number, surveys[number].n_samples, work) for number in pending],
            sizes=[surveys[number].n_samples for number in pending],
            label="embed",
            unit="image",
            progress=progress,
        )
    finally:
        folder.sweep()
    return EmbedResult.of(Path(out), folder.finish(plan))


def embed_cost(
    frame: PlannedFrame, model: ClipModel | str | Head = "ViT-B-32", *heads: Head
) -> list[Cost]:
    """The costs of `embed` for as many images as the frame has rows, or of heads over images."""
    heads = (model, *heads) if isinstance(model, Head) else heads
    costs = [replace(head.cost, label=f"score, {head.name}") for head in heads]
    if isinstance(model, Head):
        return costs
    name = as_clip(model).name.partition(":")[0]
    note = "embed: the bytes of the images are not in a frame, and are not counted"
    rate, label = f"embed {name}", f"embed, {name}"
    return [Cost((rate,), reads=IMAGES, label=label, is_pass=False, notes=(note,)), *costs]


def _as_list(value) -> list:
    """A list of one or more values; empty for None."""
    if isinstance(value, Iterable) and not isinstance(value, (str, os.PathLike)):
        return list(value)
    return [] if value is None else [value]


def _survey_all(shards: list[Shard], model: ClipModel, progress) -> tuple[list[Survey], str]:
    """The surveys of all shards, and the precision that is fast on every worker."""
    items, once = [(shard, model) for shard in shards], [1] * len(shards)
    results = run_each(_survey, items, sizes=once, label="survey", unit="shard", progress=progress)
    fast = {precision for _, precision in results}
    return [survey for survey, _ in results], fast.pop() if len(fast) == 1 else "float32"


def _plan(model: ClipModel, precision: str, heads, score, shards: list, surveys: list) -> dict:
    sources = [
        {
            "name": shard.name,
            "n_bytes": shard.n_bytes(),
            "n_samples": survey.n_samples,
            "listing_sha256": survey.listing_sha256,
        }
        for shard, survey in zip(shards, surveys, strict=True)
    ]
    return {
        "format": "laion_dask embed 3",
        "model": model.recipe(),
        "precision": precision,
        "heads": [head.recipe() for head in heads],
        "clip_score": score,
        "columns": plan_columns(surveys, [score] if score else [], [head.name for head in heads]),
        "sources": sources,
        "versions": {name: version(name) for name in _LIBRARIES},
    }


def _n_concurrent_batches(pending: list[int]) -> int:
    """The number of concurrent batches per shard, so that all shards together use all cores."""
    if waiting_client() is not None:
        return 1  # each worker thread processes one shard
    minimum = 2 if len(pending) < FEW_SHARDS * CPU_COUNT and CPU_COUNT > 1 else 1
    return max(minimum, CPU_COUNT // max(1, len(pending)))


def _survey(run: Run, shard: Shard, model: ClipModel) -> tuple[Survey, str]:
    with run:
        survey = shard.survey()
        run.advance(1)
    return survey, model.fastest_precision()


def _embed_shard(run: Run, shard: Shard, number: int, n_samples: int, work: _Work) -> None:
    with run, one_torch_thread():
        encoder, n_concurrent = work.model.load(work.precision), work.n_concurrent
        if encoder.on_gpu:  # the CPU cores only decode images
            n_concurrent = max(n_concurrent, CPU_COUNT // gpu_count())
        done = embed_samples(
            shard.samples(),
            encoder,
            dim=work.model.dim,
            batch_size=work.batch_size,
            texts=work.folder.texts,
            heads=[head for head in work.heads if head.reads == "images"],
            n_concurrent=n_concurrent,
            after_batch=run.advance,
        )
        _check_count(shard, len(done.kept) + len(done.rejected), n_samples)
        arrays, scores = {"img_emb": done.images}, dict(done.scores)
        if done.texts is not None:
            arrays["text_emb"] = done.texts
            if work.clip_score:
                scores[work.clip_score] = clip_scores(done.images, done.texts)
        for head in work.heads:
            if head.reads == "embeddings":
                scores[head.name] = head.scored(done.images)
        metadata = metadata_table(done.kept, work.columns, scores)
        work.folder.write(number, arrays, metadata, rejects_table(done.rejected))


def _check_count(shard: Shard, n_read: int, n_samples: int) -> None:
    if n_read != n_samples:
        raise ShardError(
            f"{shard.name} has {n_read:,} samples, but had {n_samples:,} when it was surveyed: it "
            "changed in the meantime. Run again when it is complete; nothing from it was written."
        )
