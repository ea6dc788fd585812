"""negCLIPLoss: how well image and caption match, compared with those of other rows."""

from __future__ import annotations

import dask.dataframe as dd
import numpy as np

from laion_dask.cost import Cost, PlannedFrame
from laion_dask.curation import neg_clip_loss_kernel as kernels
from laion_dask.curation.neg_clip_loss_kernel import NegClipLoss
from laion_dask.curation.row_table import shards_per_block
from laion_dask.curation.row_writer import RowWriter
from laion_dask.errors import OptionError, ProvenanceError, must_be
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.parquet.read_shards import MAX_ROWS_PER_PARTITION
from laion_dask.models import check_same_space
from laion_dask.runtime import graph
from laion_dask.runtime.disk_shuffle import spill_folder
from laion_dask.schema import PROVENANCE
from laion_dask.scoring.score import assigned, check_free, checked_provenance
from laion_dask.stats.checks import check_integer

#: Each partition writes a batch for every bucket of every repeat, so their number is limited.
_MAX_BUCKETS = 1 << 14


def neg_clip_loss(
    frame: dd.DataFrame,
    emb_image: Embeddings,
    emb_text: Embeddings,
    *,
    to: str = "neg_clip_loss",
    temperature: float = 0.01,
    batch: int = 32_768,
    repeats: int = 10,
    seed: int = 0,
) -> dd.DataFrame:
    """The frame with a column of negated CLIP losses of its rows in random batches. Lazy.

    negCLIPLoss (Wang et al. 2024, "CLIPLoss and norm-based data selection methods for multimodal
    contrastive learning", section 3.1; later called s-CLIPLoss) lowers the CLIP score of rows whose
    image or caption fits many others: for the cosines s of the images with the captions of a batch,
    and the temperature t, it is ``s_ii - t/2 * (log sum_j exp(s_ij / t) + log sum_j exp(s_ji /
    t))``, with j = i in both sums, averaged over the batches that a row is in.

    In each repeat, the rows are put in the order of a hash of (seed, repeat, shard, row), and each
    ``batch`` rows are a batch. What is left at the end is scored in the batch of the last ``batch``
    rows, so that every row is compared with as many others; a frame of fewer rows is one batch.
    Batches depend on the rows of the frame alone, after its filters. The authors' code
    (``baselines/vas2.py`` of ypwang61/negCLIPLoss_NormSim) draws the same batches, but from one
    file at a time, and makes a smaller one of the rest, whose rows score higher: by ``t *
    log(batch / rows of the rest)``, 0.03 for the 1,696 rows left of 100,000, in one repeat of ten.

    The pass writes 16 bytes a row and repeat to Dask's ``temporary_directory``, which workers on
    several machines need to share, and reads the embeddings of a batch by shard and row. A task
    holds one batch: 250 MB at 768 dimensions. It is done again whenever the result is computed
    again; export the result to compute it once. A row costs ``2 * dim * batch * repeats``
    operations: 0.5 billion at the defaults and 768 dimensions.

    Parameters
    ----------
    frame : dask DataFrame
        Must have ``shard`` and ``row``, and each row once.
    emb_image, emb_text : Embeddings
        Embeddings of the frame's images and captions.
    to : str
        The new column: float32, at most 0; NaN where either embedding is NaN, infinite or zero.
        Such rows are in no sum, but count as rows of their batch.
    temperature : float
        0.01 in the paper, the temperature that OpenAI's CLIP models have learned.
    batch, repeats : int
        32,768 rows, and 10, as in the paper.
    seed : int

    Raises
    ------
    ModelMismatchError, PairingError, ProvenanceError, OptionError
        Immediately, when an argument is out of range, the embeddings are not those of the frame's
        shards or of different models, or the column already exists.
    ProvenanceError
        During the computation, when the frame contains a row more than once.
    SpillError
        During the computation, when the disk is full.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> texts = ld.open_embeddings("demo-corpus/embedded/text_emb", model="demo", like=frame)
    >>> scored = frame.laion.neg_clip_loss(images, texts, repeats=2)
    >>> bool((scored["neg_clip_loss"].dropna() <= 0).all().compute())
    True
    """
    refuse_exploded(frame, "neg_clip_loss")
    must_be("to", to, str, "the new column's name")
    for name, value in (("batch", batch), ("repeats", repeats)):
        check_integer(name, value, 1)
    check_integer("seed", seed, 0)
    number = isinstance(temperature, (int, float, np.number)) and not isinstance(temperature, bool)
    if not (number and 0 < temperature < np.inf):
        raise OptionError(
            f"temperature is {temperature!r}. Expected a number above 0, such as 0.01."
        )
    provenance = checked_provenance(frame, emb_image)
    must_be("emb_text", emb_text, Embeddings, "what ld.open_embeddings(...) returns")
    check_same_space(emb_image.model, emb_text.model, "The two sets of embeddings")
    require_extra("clip", "negCLIPLoss")
    check_free(frame, [to])
    spec = NegClipLoss(to, float(temperature), batch, repeats, seed, emb_image.dim)
    images, texts = (
        graph.share(each.paired_with(provenance.shards)) for each in (emb_image, emb_text)
    )
    n_buckets = _bucket_count(provenance, spec)
    folder, shared = spill_folder(), graph.share(spec)
    numbers = graph.map_to_values(
        frame[list(PROVENANCE)], kernels.spill_rows, shared, n_buckets, folder
    )
    parts = graph.parts(numbers)
    spilled = graph.gathered(parts, kernels.gather_spilled, shared, n_buckets, folder)
    tables = []
    for repeat in range(repeats):
        writer = RowWriter.create(kernels.SCHEMA, shards_per_block(provenance))
        arguments = (repeat, spilled, images, texts, shared, writer)
        written = graph.tasks(kernels.score_buckets, list(range(n_buckets)), *arguments)
        tables.append(writer.lazily(written, n_buckets))

    return assigned(frame, [to], kernels.averaged, *tables, images, texts, shared)


def neg_clip_loss_cost(
    frame: PlannedFrame, *_: object, batch: int = 32_768, repeats: int = 10
) -> Cost:
    """The cost of `neg_clip_loss`."""
    dim = frame.embeddings_for("neg_clip_loss").dim
    return NegClipLoss("neg_clip_loss", 0.01, batch, repeats, 0, dim).cost


def _bucket_count(provenance: Provenance, spec: NegClipLoss) -> int:
    """The number of buckets in a repeat: enough for the batches of all rows. Reads footers only."""
    try:
        n_rows = sum(partition.n_rows for partition in provenance.partitions)
    except ProvenanceError:  # not read from shards
        n_rows = provenance.frame.npartitions * MAX_ROWS_PER_PARTITION
    return max(1, min(-(-n_rows // spec.batch), _MAX_BUCKETS // spec.repeats))
