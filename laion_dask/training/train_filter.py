"""Train a data filtering network on trusted pairs of images and captions."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost, PlannedFrame
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.extras import require_extra
from laion_dask.frame.exploded import refuse_exploded
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.models import ClipModel, EmbeddingSpace, check_same_space
from laion_dask.models.heads.filter_network import FilterNetwork
from laion_dask.models.heads.filter_report import FilterReport
from laion_dask.numerics.torch_threads import one_torch_thread
from laion_dask.runtime.tasks import verb_bar
from laion_dask.schema import PROVENANCE
from laion_dask.stats.checks import check_integer
from laion_dask.training.contrastive import SAME, Settings, fit_towers
from laion_dask.training.pairs import Pairs, pairs_of_arrays, pairs_of_frame
from laion_dask.training.train import MAX_ROWS, _check_out

#: Share of the pairs that are held out, and their maximum number.
_HELD_OUT, _MAX_HELD_OUT = 0.1, 1000
#: The fewest pairs to train on.
_MIN_PAIRS = 16


def train_filter(
    emb_image: Embeddings | np.ndarray,
    emb_text: Embeddings | np.ndarray,
    trusted=None,
    out: str | os.PathLike | None = None,
    *,
    frame=None,
    to: str = "filter_score",
    clip: ClipModel | EmbeddingSpace | str | None = None,
    hidden: int = 256,
    steps: int = 500,
    batch: int = 1024,
    blend: float = 0.25,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> FilterNetwork:
    """Train a data filtering network on trusted pairs of images and captions. Eager.

    A data filtering network (Fang et al. 2024, "Data filtering networks") is a CLIP model that is
    trained on a small set of trustworthy pairs, and whose similarity of image and caption then
    filters a large pool. Here, two small towers are trained on embeddings that are not changed;
    `fine_tune_clip` trains the whole model. The loss is contrastive: it needs pairs whose captions
    state what distinguishes the images. Keep the rows with the highest scores, 15 % in the paper.

    Rows are sampled and ordered by a hash of (seed, shard, row), and the training runs on one
    thread, so the same rows give the same network for any partitioning and number of cores.

    Parameters
    ----------
    emb_image, emb_text : Embeddings, or array of shape (n, dim)
        Embeddings of the images and of their captions, by one model.
    trusted : dask DataFrame, str, table or array
        The trusted rows: a frame of them; an expression, which `where` applies to ``frame``; or a
        table with ``shard`` and ``row``, or an (n, 2) array of these. With arrays of embeddings, a
        mask or positions. By default all rows of ``frame``, or of the arrays.
    out : path, optional
        A folder for ``filter_network.safetensors``; see also ``network.save``.
    frame : dask DataFrame, optional
        The frame that an expression is applied to.
    to : str
        The network's output column.
    clip : ClipModel, EmbeddingSpace or str, optional
        The model of the embeddings; required for arrays, otherwise checked.
    hidden : int
        The width of the hidden layer of each tower.
    steps, batch : int
        Number of steps, and pairs per step. With the defaults and 512 dimensions, about a minute of
        CPU time.
    blend : float
        The share of the trained change that is kept, above 0 and at most 1: ``up`` of each tower is
        multiplied by it. Between the embeddings' own cosine and the trained network lie networks
        that are better than both outside of the trusted pairs (Wortsman et al. 2022, "Robust
        fine-tuning of zero-shot models"); more trusted pairs and steps bear a higher share.
    max_rows : int
        Maximum number of trusted rows to sample; their embeddings are in memory as float32.
    seed : int

    Returns
    -------
    FilterNetwork
        With a ``report``; can be passed to `score`.

    Raises
    ------
    OptionError, EmbeddingsError, PairingError, ProvenanceError, ModelMismatchError
        Immediately, when embeddings, frame and trusted rows do not match; or when fewer than 16
        trusted rows have both embeddings, or these are all the same.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> texts = ld.open_embeddings("demo-corpus/embedded/text_emb", model="demo", like=frame)
    >>> network = ld.train_filter(
    ...     images, texts, trusted="similarity > 0.3", frame=frame, steps=5, batch=64
    ... )
    >>> print(network.report)
    own caption first for ... of ... held-out images (... before); fitted on ... pairs
    >>> scored = frame.laion.score(images, network, texts=texts)
    """
    for rows in (trusted, frame):
        refuse_exploded(rows, "train_filter")
    for name, value, low in (
        ("hidden", hidden, 1), ("steps", steps, 1), ("batch", batch, 2), ("max_rows", max_rows, 1),
        ("seed", seed, 0),
    ):  # fmt: skip
        check_integer(name, value, low)
    number = isinstance(blend, (int, float, np.number)) and not isinstance(blend, bool)
    if not (number and 0 < blend <= 1):
        raise OptionError(f"blend is {blend!r}. Expected a share above 0 and at most 1.")
    _check_out(out)
    require_extra("clip", "Training a filter network")
    model = getattr(emb_image, "model", None)
    if clip is not None and model is not None:
        check_same_space(clip, model, "clip and the embeddings")
    if isinstance(emb_image, Embeddings) != isinstance(emb_text, Embeddings):
        raise EmbeddingsError(
            f"The embeddings are {type(emb_image).__name__} and {type(emb_text).__name__}. "
            "Expected both from ld.open_embeddings(...), or two arrays."
        )
    if isinstance(emb_image, Embeddings) and isinstance(emb_text, Embeddings):
        if trusted is None and frame is None:
            raise OptionError("There are no trusted rows. Name them with trusted=.")
        pairs = pairs_of_frame(emb_image, emb_text, trusted, frame, seed, max_rows)
    else:
        pairs = pairs_of_arrays(emb_image, emb_text, trusted, clip, seed, max_rows)
    network = _trained(pairs, Settings(hidden, steps, batch, seed), float(blend), max_rows, to)
    if out is not None:
        network.save(Path(out))
    return network


def train_filter_cost(frame: PlannedFrame, trusted: object = None) -> list[Cost]:
    """The costs of `train_filter` with its defaults: a pass over the trusted rows, and training."""
    embeddings = frame.embeddings_for("train_filter")
    note = (
        f"train_filter: on at most {MAX_ROWS:,} trusted rows; 500 steps of 1,024 pairs, which no "
        "rate covers"
    )
    return [
        Cost(("labels",), columns=PROVENANCE, label="train_filter, trusted rows"),
        Cost(
            ("train",),
            reads=EMBEDDINGS,
            flop=4.0 * embeddings.dim,
            label="train_filter, fit",
            max_rows=MAX_ROWS,
            is_pass=False,
            notes=(note,),
        ),
    ]


def _trained(
    pairs: Pairs, settings: Settings, blend: float, max_rows: int, name: str
) -> FilterNetwork:
    n = len(pairs.images)
    if n < _MIN_PAIRS:
        raise OptionError(
            f"{n} trusted rows have embeddings of both the image and the caption, of "
            f"{pairs.n_trusted:,} trusted rows. Expected at least {_MIN_PAIRS}; trust more rows."
        )
    for side, x in (("images", pairs.images), ("captions", pairs.texts)):
        if (x @ x[0] > SAME).all():
            raise OptionError(
                f"The embeddings of the {side} of all {n:,} trusted rows are the same. Expected "
                "pairs that differ: the loss compares each with the others."
            )
    held = min(round(_HELD_OUT * n), _MAX_HELD_OUT)
    weights, losses = _on_one_thread(pairs.images[held:], pairs.texts[held:], settings)
    for tower in ("image", "text"):
        weights[f"{tower}.up"] = np.float32(blend) * weights[f"{tower}.up"]
    last = losses[-max(1, len(losses) // 10) :]
    report = FilterReport(
        n_trusted=pairs.n_trusted,
        n_unscored=pairs.n_unscored,
        n_train=n - held,
        n_test=held,
        accuracy=float("nan"),
        accuracy_before=_accuracy(pairs.images[:held], pairs.texts[:held]),
        loss=float(np.mean(last)),
        hidden=settings.hidden,
        steps=settings.steps,
        batch=settings.batch,
        blend=blend,
        max_rows=max_rows,
        seed=settings.seed,
    )
    blank = FilterNetwork.of(name, pairs.model, weights, report)
    towers = blank.towers(pairs.images[:held], pairs.texts[:held])
    return blank.with_accuracy(_accuracy(*towers))


def _accuracy(images: np.ndarray, texts: np.ndarray) -> float:
    """Share of images whose own caption is the most similar; NaN for fewer than two."""
    if len(images) < 2:
        return float("nan")
    similarities = images.astype(np.float64) @ texts.astype(np.float64).T
    best = similarities.max(axis=1)
    return float(np.mean(np.diag(similarities) >= best - 1e-9))


def _on_one_thread(images: np.ndarray, texts: np.ndarray, settings: Settings):
    """`fit_towers` in a new thread, where torch uses one thread; Ctrl-C ends it."""
    stop = threading.Event()
    bar = verb_bar("train the filter network", settings.steps, None, unit="step")

    def advance(n: int) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        bar.update(n)

    with bar, one_torch_thread(), ThreadPoolExecutor(1) as pool:
        future = pool.submit(fit_towers, images, texts, settings, advance)
        try:
            return future.result()
        except BaseException:
            stop.set()
            raise
