"""Questions to the sampled rows: how similar each is to a text, an image, or another row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from laion_dask.errors import EmbeddingsError, ImageError, LaionDaskError
from laion_dask.explorer.embedding_filters import Score, sample_scores
from laion_dask.explorer.exploration import Exploration
from laion_dask.extras import require_extra
from laion_dask.frame.provenance import Provenance
from laion_dask.io.embeddings.embeddings import Embeddings
from laion_dask.io.images.thumbnails import Thumbnails
from laion_dask.models import ClipModel
from laion_dask.runtime import cancellation

#: Images are reduced to at most this many pixels per side before they are embedded.
IMAGE_SIDE = 512
#: Bins of the histogram of scores; an extra bin counts rows without a score.
N_BINS = 64


@dataclass(frozen=True)
class Question:
    """One of a text, an image file, or the position of a row in the sample.

    Attributes
    ----------
    text : str
    image : bytes
        The content of a file; untrusted.
    name : str
        The name of that file.
    position : int or None
    """

    text: str = ""
    image: bytes = field(default=b"", repr=False)
    name: str = ""
    position: int | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The scores of the sampled rows.

    Attributes
    ----------
    vector : (dim,) tuple of float
        The query.
    scores : (n,) float32 array
        Cosines in [-1, 1], those of the verb `similarity`; NaN for a row without an embedding.
    text : str
        The question, if it was a text.
    image : str
        The name of the file, if it was an image.
    row : tuple of (int, int) or None
        Shard and row, if it was a row.
    """

    vector: tuple[float, ...]
    scores: npt.NDArray[np.float32]
    text: str = ""
    image: str = ""
    row: tuple[int, int] | None = None

    def at_least(self, bound: float) -> Score:
        """The filter of the rows whose score is at least a bound."""
        return Score(self.vector, bound, self.scores, self.text, self.row)

    @classmethod
    def of(cls, filter: Score) -> Answer:
        """The answer that a filter was made of."""
        return cls(filter.vector, filter.scores, filter.text, "", filter.row)

    @property
    def n_known(self) -> int:
        """Rows that have a score."""
        return int(np.count_nonzero(~np.isnan(self.scores)))


def answer(question: Question, exploration: Exploration) -> Answer:
    """The scores of the sampled rows for a question. Eager; may take seconds.

    Raises
    ------
    EmbeddingsError
        When the row that is asked for has no embedding, or no sampled row has.
    ImageError, WeightsError, MissingExtraError, OptionError
        When the image cannot be read, or the model cannot embed it.
    """
    embeddings = exploration.embeddings
    assert embeddings is not None
    sample = exploration.sample
    row = None
    if question.position is not None:
        row = int(sample.shard[question.position]), int(sample.row[question.position])
        paired = embeddings.paired_with(Provenance.of(sample.frame).shards)
        vector = paired.read(row[0], [row[1]])[0]
        wide = vector.astype(np.float64)
        if not (np.isfinite(wide).all() and wide.any()):
            raise EmbeddingsError(
                f"Row {row[1]:,} of shard {row[0]:,} has no embedding that it could be compared "
                "by: it is zero, NaN or infinite. Ask for rows like another one."
            )
    elif question.image:
        vector = np.asarray(embeddings.model.image(_safe(question.image)))
    else:
        vector = np.asarray(embeddings.model.text(question.text))
    cancellation.check()
    scores = sample_scores(sample, embeddings, vector)
    name = question.name or "image" if question.image else ""
    found = Answer(tuple(vector.tolist()), scores, question.text, name, row)
    if not found.n_known:
        raise EmbeddingsError("No sampled row has an embedding: all are zero, NaN or infinite.")
    return found


def why_no_model(embeddings: Embeddings) -> str:
    """Why texts and images cannot be embedded; empty if no reason is known.

    Imports nothing: whether the weights are on this machine is seen when they are loaded, because
    torch would take a third of the explorer's memory.
    """
    model = embeddings.model
    if not isinstance(model, ClipModel):
        return (
            f"No model of {model.name} is known here. Open the embeddings with the CLIP model that "
            "made them, such as model='ViT-L-14:openai', to ask by text or image."
        )
    try:
        require_extra("clip", "A question by text or image")
    except LaionDaskError as error:
        return str(error)
    return ""


def _safe(data: bytes) -> bytes:
    """The image decoded and re-encoded as a small file, in a separate process."""
    thumbnails = Thumbnails(cache_bytes=0)
    try:
        small = thumbnails.make(data, blurred=False, side=IMAGE_SIDE)
    finally:
        thumbnails.close()
    if not small.jpeg:
        raise ImageError(f"The image cannot be read: {small.reason}")
    return small.jpeg


class ScoreBins:
    """The scores of an answer in bins of equal width.

    Parameters
    ----------
    scores : (n,) float32 array
        At least one is not NaN.

    Attributes
    ----------
    low, high : float
        The lowest and the highest score.
    codes : (n,) uint8 array
        The bin of each row; `N_BINS` for a row without a score.
    """

    def __init__(self, scores: npt.NDArray[np.float32]) -> None:
        self.low, self.high = float(np.nanmin(scores)), float(np.nanmax(scores))
        width = (self.high - self.low) / N_BINS or 1.0
        with np.errstate(invalid="ignore"):
            bins = np.floor((scores - np.float32(self.low)) / np.float32(width))
        bins = np.where(np.isnan(scores), N_BINS, np.clip(bins, 0, N_BINS - 1))
        self.codes = bins.astype(np.uint8)

    def counts(self, mask: np.ndarray | None = None) -> list[int]:
        """Rows of each bin, of all rows or of those of a mask."""
        codes = self.codes if mask is None else self.codes[mask]
        return np.bincount(codes, minlength=N_BINS + 1)[:N_BINS].tolist()
