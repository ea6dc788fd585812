"""Captions and URLs as Arrow buffers: words from a Zipf vocabulary, with exact lengths.

Nothing here loops over rows. A block of captions is one run of words, cut to the sampled lengths;
words that are split by a cut are replaced by words of exactly the remaining length.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

HEAD = (  # noqa: SIM905
    "the of a and in with for on to at by from white black photo image new red blue vintage home "
    "design set stock vector free art green wall old house girl woman man dog cat bird tree table "
    "water city car book wood chair gold small large light summer winter flower garden kitchen "
    "bedroom living room beach mountain street night sunset sky food cake dress shirt shoes bag "
    "ring silver leather poster print paper card background pattern sketch icon logo map "
    "party family children baby horse fish boat bridge church castle park snow forest river lake "
    "island team player game music guitar camera phone screen window door lamp clock bottle cup "
    "coffee tea wine apple bread cheese 2 3 5 7"
).split()
"""The most common words of the vocabulary, in order; invented words follow."""

N_WORDS = 6_000
MAX_WORD = 11
"""Maximum length of a word in characters."""

_SLOTS = 1 << 16
_SYLLABLES = [c + v for c in "bdklmntv" for v in "aio" if c + v != "ti"]


@cache
def vocabulary() -> tuple[str, ...]:
    """The 6,000 words, most common first: `HEAD`, then invented words. Eager."""
    invented: list[str] = []
    rng = np.random.Generator(np.random.PCG64(20220331))
    for n, share in ((2, 0.25), (3, 0.40), (4, 0.25), (5, 0.10)):
        picks = rng.integers(len(_SYLLABLES), size=(2 * N_WORDS, n))
        ends = rng.choice(["", "n", "s"], size=2 * N_WORDS, p=[0.5, 0.3, 0.2])
        words = ("".join(_SYLLABLES[i] for i in p) + e for p, e in zip(picks, ends, strict=True))
        invented += itertools.islice(dict.fromkeys(words), int(share * N_WORDS))
    rng.shuffle(invented)
    return tuple(dict.fromkeys([*HEAD, *invented]))[:N_WORDS]


@cache
def _tables() -> tuple[pa.StringArray, np.ndarray, list[np.ndarray]]:
    """Words followed by a space, 65,536 Zipf slots of their ids, and their letters by length."""
    words = vocabulary()
    weight = 1.0 / (np.arange(len(words)) + 2.7)  # Zipf-Mandelbrot (Mandelbrot 1953)
    edges = np.rint(np.cumsum(weight) / weight.sum() * _SLOTS).astype(np.int64)
    slots = np.repeat(np.arange(len(words), dtype=np.int32), np.diff(edges, prepend=0))
    by_length: list[list[bytes]] = [[] for _ in range(MAX_WORD + 1)]
    for word in words:
        by_length[len(word)].append(word.encode())
    # A cut may leave room for a word and its space: one more than the maximum word length.
    by_length.append([a + b for a, b in itertools.pairwise(by_length[6][-128:])])
    letters = [
        np.frombuffer(b"".join(w), dtype=np.uint8).reshape(len(w), r)
        for r, w in enumerate(by_length)
    ]
    return pa.array([w + " " for w in words], pa.string()), slots, letters


def captions(rng: np.random.Generator, lengths: np.ndarray) -> pa.StringArray:
    """Captions of exactly the given lengths, as one Arrow array. Eager.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    lengths : numpy.ndarray
        (n,) int64, in characters, at least 1 each; the sum must be below 2**31.

    Returns
    -------
    pyarrow.StringArray
        n ASCII captions of words separated by single spaces, without outer spaces.
    """
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    text, starts = _word_run(rng, int(offsets[-1]) + 32)
    _replace_partial_words(rng, text, starts, offsets)
    return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(offsets), pa.py_buffer(text))


def _word_run(rng: np.random.Generator, n_bytes: int) -> tuple[np.ndarray, np.ndarray]:
    """At least ``n_bytes`` of words, each followed by a space, and the start of each word."""
    words, slots, _ = _tables()
    n_words = n_bytes // 6 + 200
    while True:
        ids = slots[rng.integers(0, _SLOTS, size=n_words, dtype=np.uint16)]
        _, starts, text = words.take(pa.array(ids)).buffers()  # take() returns contiguous strings
        starts = np.frombuffer(starts, dtype=np.int32, count=n_words + 1)
        if starts[-1] >= n_bytes:
            return np.frombuffer(text, dtype=np.uint8).copy(), starts
        n_words += n_words // 10


def _replace_partial_words(
    rng: np.random.Generator, text: np.ndarray, starts: np.ndarray, offsets: np.ndarray
) -> None:
    """Replace, in place, each partial word at a caption's ends by a whole word of its length."""
    begin, end = offsets[:-1], offsets[1:]
    word = np.searchsorted(starts, begin, side="right") - 1
    on_space = begin == starts[word + 1] - 1
    stop = starts[word + 1 + on_space] - 1  # the space after the partial or the next word
    _fill(rng, text, begin, np.minimum(stop, end), begin != starts[word])
    word = np.searchsorted(starts, end - 1, side="right") - 1
    start = np.maximum(starts[word], begin)
    _fill(rng, text, start, end, end != starts[word + 1] - 1)


def _fill(
    rng: np.random.Generator, text: np.ndarray, a: np.ndarray, b: np.ndarray, where: np.ndarray
) -> None:
    """Write a random word of length ``b - a`` to each ``text[a:b]`` that ``where`` selects."""
    letters = _tables()[-1]
    a, size = a[where], (b - a)[where]
    pick = rng.integers(0, 1 << 16, size=len(a), dtype=np.uint16)
    for r in range(1, MAX_WORD + 2):
        is_length = size == r
        at = a[is_length][:, None] + np.arange(r)
        text[at] = letters[r][pick[is_length] % len(letters[r])]


N_DOMAINS = 100_000
_SHIFT = 3.0


@cache
def _prefixes() -> pa.StringArray:
    """``https://host/folder/`` for every domain, most common first; all under ``.example``."""
    rng = np.random.Generator(np.random.PCG64(20220401))
    words = np.array(vocabulary()[len(HEAD) :], dtype=object)
    hosts = np.array(["", "img.", "cdn.", "www.", "i.", "static."], dtype=object)
    folders = np.array(["images", "uploads", "wp-content/uploads", "media", "p"], dtype=object)
    first = words[rng.integers(len(words), size=N_DOMAINS)]
    urls = (
        "https://" + hosts[rng.integers(len(hosts), size=N_DOMAINS)] + first
        + np.array([f"{i:x}.example/" for i in range(N_DOMAINS)], dtype=object)
        + folders[rng.integers(len(folders), size=N_DOMAINS)] + "/"
    )  # fmt: skip
    return pa.array(urls, pa.string())


_HEX = np.frombuffer("".join(f"{i:02x}" for i in range(256)).encode(), dtype=np.uint16)
_SUFFIXES = pa.array([".jpg"] * 12 + [".png", ".jpeg", ".webp", ".jpg?w=640"])


def urls(rng: np.random.Generator, n: int) -> pa.StringArray:
    """Image URLs on reserved hosts, with Zipf-distributed domains. Eager.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of randomness.
    n : int
        Number of URLs.

    Returns
    -------
    pyarrow.StringArray
        n URLs, unique except for collisions of 64 random bits. The k-th of 100,000 domains has a
        share of about 1 / (k + 3), 2.8 % for the first; all are under ``.example`` (RFC 2606).
    """
    growth = np.log((N_DOMAINS + _SHIFT) / _SHIFT)
    rank = (_SHIFT * np.exp(growth * rng.random(n)) - _SHIFT).astype(np.int32)
    names = pa.StringArray.from_buffers(
        n,
        pa.py_buffer(np.arange(0, 16 * n + 1, 16, dtype=np.int32)),
        pa.py_buffer(_HEX[rng.integers(0, 256, size=8 * n, dtype=np.uint8)]),
    )
    suffix = _SUFFIXES.take(pa.array(rng.integers(0, 16, size=n, dtype=np.int32)))
    prefix = _prefixes().take(pa.array(np.minimum(rank, N_DOMAINS - 1)))
    return pc.binary_join_element_wise(prefix, names, suffix, "")
