"""Language detection for the captions of one partition, without Dask.

The model is py3langid's: naive Bayes over byte n-grams, which an automaton finds. py3langid walks
each text byte by byte in Python. Here the same automaton walks a block of captions in parallel with
NumPy, which is several times faster and lets other threads run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import sparse

from laion_dask.backend import frame_from_arrow, frame_to_arrow, is_cudf
from laion_dask.cost import Cost
from laion_dask.runtime import cancellation
from laion_dask.text.scripts import possible

#: Code of captions whose language is undetermined (ISO 639-2).
UNKNOWN = "und"
#: Defaults: captions with fewer letters, or with a less probable language, are `UNKNOWN`.
MIN_LETTERS, MIN_CONFIDENCE = 4, 0.4
#: Maximum number of characters that are examined, from the start of a caption.
MAX_CHARACTERS = 2_000
#: Maximum number of captions, and of caption bytes, in a block.
BLOCK, BLOCK_BYTES = 4_096, 1 << 20

#: ISO 639-1 codes of the languages that are distinguished: the languages of CLD3, which LAION-5B
#: used (its README, "Supported Languages"), except those that the model does not support.
LANGUAGES: tuple[str, ...] = tuple(
    (  # noqa: SIM905
        "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr fy ga gd gl gu ha he "
        "hi hr ht hu hy id ig is it ja jv ka kk km kn ko ku ky la lb lo lt lv mg mk ml mn mr ms "
        "mt my ne nl no pa pl ps pt ro ru si sk sl so sq sr st sv sw ta te tg th tl tr uk ur uz "
        "vi xh yo zh zu"
    ).split()
)
#: Shares of laion2B-multi published by LAION (announcement, 31 March 2022); the remaining languages
#: divide the rest equally.
_PUBLISHED = {
    "ru": 0.106, "fr": 0.074, "de": 0.066, "es": 0.066, "zh": 0.063, "ja": 0.057, "it": 0.042,
    "pt": 0.038, "nl": 0.029, "pl": 0.027, "no": 0.021,
}  # fmt: skip
#: Rows of laion2B-en and of laion2B-multi, in billions (same source).
_ENGLISH, _OTHER = 2.3, 2.2
#: Exponent applied to the shares, so that common languages do not drown rare ones
#: (Lample, G., Conneau, A. (2019). Cross-lingual language model pretraining. NeurIPS,
#: section 3.1).
SMOOTHING = 0.5


@dataclass(frozen=True)
class Detector:
    """Parameters of language detection.

    Attributes
    ----------
    column : str
        Column of captions.
    to : str
        Name of the new column.
    min_letters : int
        Captions with fewer letters are `UNKNOWN`; an ideograph or syllable counts as two letters, a
        spacing vowel sign as one.
    min_confidence : float
        Captions whose most probable language is less probable than this are `UNKNOWN`; in [0, 1].
    """

    column: str = "text"
    to: str = "language"
    min_letters: int = MIN_LETTERS
    min_confidence: float = MIN_CONFIDENCE

    @property
    def cost(self) -> Cost:
        """Cost of detecting the language of a caption; see `laion_dask.cost`."""
        return Cost(("language",), columns=(self.column,), label=self.to)

    def recipe(self) -> dict:
        """The entry in an export's manifest."""
        return {
            "name": self.to,
            "of": self.column,
            "detector": {"py3langid": version("py3langid")},
            "languages": len(LANGUAGES),
            "prior": f"shares published by LAION, to the power {SMOOTHING}",
            "min_letters": self.min_letters,
            "min_confidence": self.min_confidence,
        }


def languages(partition, detector: Detector):
    """Language of each caption, as a frame of one text column with the partition's index.

    `UNKNOWN` if the caption is too short or the model is not confident; null for a null caption.
    """
    texts = frame_to_arrow(partition[[detector.column]])[detector.column]
    table = pa.table({detector.to: detect(texts, detector)})
    detected = frame_from_arrow(table, "cudf" if is_cudf(partition) else "pandas")
    detected.index = partition.index
    return detected


def detect(texts: pa.ChunkedArray, detector: Detector) -> pa.ChunkedArray:
    """Language of each text of an Arrow column; large_string."""
    column = texts.cast(pa.large_string())
    blocks = [
        _language_names(column.slice(at, stop - at).combine_chunks(), detector)
        for at, stop in _cuts(column)
    ]
    return pa.chunked_array(blocks, pa.large_string())


def _cuts(column: pa.ChunkedArray) -> Iterator[tuple[int, int]]:
    """Bounds of blocks that respect both limits and contain at least one caption."""
    sizes = pc.fill_null(pc.binary_length(column), 0).to_numpy()
    reached = np.cumsum(np.minimum(sizes, 4 * MAX_CHARACTERS))
    at = 0
    while at < len(column):
        limit = (reached[at - 1] if at else 0) + BLOCK_BYTES
        stop = min(at + BLOCK, max(at + 1, int(np.searchsorted(reached, limit, "right"))))
        cancellation.check()
        yield at, min(stop, len(column))
        at = stop


def _language_names(texts, detector: Detector) -> pa.Array:
    if isinstance(texts, pa.ChunkedArray):
        texts = pa.concat_arrays(texts.chunks)
    texts = pc.utf8_slice_codeunits(texts, 0, MAX_CHARACTERS)
    codes, confidence = model().classify(texts)
    sure = (confidence > 0) & (confidence >= detector.min_confidence)
    sure &= has_letters(texts, detector.min_letters)
    codes = pa.array(np.where(sure, codes, len(LANGUAGES)).astype(np.int32))
    names = pa.array([*LANGUAGES, UNKNOWN], pa.large_string())
    return pc.if_else(pc.is_valid(texts), names.take(codes), pa.scalar(None, pa.large_string()))


def has_letters(texts: pa.Array, at_least: int) -> np.ndarray:
    """Mask of texts with at least this many letters of any script (Unicode category L), (n,) bool.

    An ideograph, kana or Hangul syllable counts as two letters; a spacing vowel sign, as in Tamil
    and Khmer (category Mc), counts as one.

    Most texts have enough Latin letters, which are counted in the bytes; only the other texts are
    searched with regular expressions.
    """
    data, starts, lengths = _bytes_of(texts)
    latin = np.concatenate([[0], np.cumsum(_LATIN[data[: starts[-1:].sum() + lengths[-1:].sum()]])])
    enough = latin[starts + lengths] - latin[starts] >= at_least
    remaining = np.flatnonzero(~enough)
    letters = np.zeros(len(texts), np.int64)
    for pattern in (r"[\p{L}\p{Mc}]", r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]"):
        counts = pc.count_substring_regex(texts.take(pa.array(remaining)), pattern)
        letters[remaining] += pc.fill_null(counts, 0).to_numpy()
    enough[remaining] = letters[remaining] >= at_least
    return enough


_LATIN = np.zeros(256, np.int64)
_LATIN[[*range(ord("A"), ord("Z") + 1), *range(ord("a"), ord("z") + 1)]] = 1


class Model:
    """py3langid's model, applied to many texts at a time.

    Attributes
    ----------
    table : (n_features, n_classes) float32 array
        Log-likelihoods; a language may have two classes, which are adjacent.
    """

    def __init__(self) -> None:
        from py3langid import langid

        identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        identifier.set_languages(LANGUAGES)
        order = np.argsort([LANGUAGES.index(c) for c in identifier.nb_classes], kind="stable")
        classes = [LANGUAGES.index(identifier.nb_classes[i]) for i in order]
        self.first = np.array([next(same) for _, same in _runs(classes)])
        self.table = np.ascontiguousarray(identifier.nb_ptc[:, order], dtype=np.float32)
        self.bias = identifier.nb_pc[order]
        self.moves = np.frombuffer(identifier.tk_nextmove, dtype=np.uint32)
        self.row = np.frombuffer(identifier.tk_row, dtype=np.uint16).astype(np.int64) << 8
        self.feature = np.asarray(identifier.tk_output, dtype=np.int32)
        self.prior = prior()

    def classify(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Most probable language of each text.

        Parameters
        ----------
        texts : large_string array

        Returns
        -------
        codes : (n,) int array
            Positions in `LANGUAGES`.
        confidence : (n,) float64 array
            Probabilities in [0, 1] among the languages that are written in the text's scripts; 0 if
            there is no such language, or if the model finds no feature in the text.
        """
        probabilities, is_known = self.probabilities(texts)
        weighed = probabilities * self.prior * possible(texts, LANGUAGES)
        codes = weighed.argmax(axis=1)
        total = weighed.sum(axis=1)
        is_known &= total > 0
        return codes, np.where(is_known, weighed.max(axis=1) / np.where(is_known, total, 1), 0.0)

    def probabilities(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities without a prior, (n, len(LANGUAGES)) float64; mask of texts with features.

        Scores are divided by the square root of the length in bytes, as in py3langid, which
        calibrates the probabilities across lengths.
        """
        shouted = pc.utf8_is_upper(texts)
        texts = pc.if_else(shouted, pc.utf8_lower(texts), texts)
        texts = pc.fill_null(pc.utf8_normalize(texts, form="NFC"), "")
        data, starts, lengths = _bytes_of(texts)
        rows, features = self._walk(data, starts, lengths)
        counts = _counted(rows, features, (len(lengths), len(self.table)))
        scores = (counts @ self.table + self.bias).astype(np.float64)
        scores /= np.sqrt(np.maximum(lengths, 1))[:, None]
        scores -= scores.max(axis=1, initial=-np.inf, keepdims=True)
        np.exp(scores, out=scores)
        scores = np.add.reduceat(scores, self.first, axis=1)
        return scores / scores.sum(axis=1, keepdims=True), np.diff(counts.indptr) > 0

    def _walk(self, data, starts, lengths) -> tuple[np.ndarray, np.ndarray]:
        """All features that the automaton finds, as (text, feature) pairs."""
        order = np.argsort(-lengths, kind="stable")
        starts, lengths = starts[order], lengths[order]
        alive = np.searchsorted(-lengths, -np.arange(int(lengths.max(initial=0))), side="left")
        state = np.zeros(len(order), np.int64)
        rows, features = [], []
        for step, n in enumerate(alive.tolist()):
            state = self.moves[self.row[state[:n]] + data[starts[:n] + step]]
            feature = self.feature[state]
            matched = np.flatnonzero(feature >= 0)
            rows.append(order[matched])
            features.append(feature[matched])
        if not rows:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        return np.concatenate(rows), np.concatenate(features)


def _runs(values: list[int]):
    """Runs of equal values, with the positions of their members."""
    return ((v, (i for i, _ in run)) for v, run in groupby(enumerate(values), lambda p: p[1]))


def _bytes_of(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The bytes of a text column, and the start and length of each text."""
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    data = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return data, ends[:-1], np.diff(ends)


def _counted(rows: np.ndarray, features: np.ndarray, shape: tuple[int, int]) -> sparse.csr_array:
    """ln(1 + count) of each feature in each text, as a sparse float32 matrix."""
    keys, counts = np.unique(rows * shape[1] + features, return_counts=True)
    ends = np.searchsorted(keys, np.arange(shape[0] + 1) * shape[1])
    data = np.log1p(counts.astype(np.float32))
    return sparse.csr_array((data, keys % shape[1], ends), shape=shape)


def prior() -> np.ndarray:
    """Prior probability of each of `LANGUAGES`; sums to 1."""
    other_share = (1 - sum(_PUBLISHED.values())) / (len(LANGUAGES) - len(_PUBLISHED) - 1)
    shares = np.array([_PUBLISHED.get(code, other_share) * _OTHER for code in LANGUAGES])
    shares[LANGUAGES.index("en")] = _ENGLISH
    weights = (shares / shares.sum()) ** SMOOTHING
    return weights / weights.sum()


_lock = threading.Lock()


def model() -> Model:
    """The model, loaded once per process (takes about a second and 200 MB while loading)."""
    with _lock:
        return _loaded()


@lru_cache(maxsize=1)
def _loaded() -> Model:
    return Model()
