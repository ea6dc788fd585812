"""Compile term lists into the tables of the scan: words, and an automaton over them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.text.matcher_compiled import fill
from laion_dask.text.term_list import TermList
from laion_dask.text.word_boundaries import characters, folded, split

#: Bits of the sieve per word, and its minimum size in bits: at most one in 32 caption words that
#: begin no term passes. 4 kB fit in the L1 cache together with the other tables.
_SIEVE_BITS, _MIN_SIEVE_BITS = 32, 8 * 4096
_MAX_GAPS = 64
_building = threading.Lock()


class Tables(NamedTuple):
    """Read-only arrays for the scan.

    Attributes
    ----------
    classes, combining, fold_index, fold_at, fold_to
        See `word_boundaries.Characters`.
    word_at : (words + 1,) int32 array
        Start of each word in ``word_bytes``.
    word_bytes : uint8 array
        Folded UTF-8 with ASCII in lower case; 8 bytes of padding at the end.
    sieve : uint8 array
        Bloom filter with one hash over the words that begin a term.
    slots : int32 array
        Hash table of words: word numbers, or -1.
    gaps : uint64 array
        Gaps between the words of terms, each packed into one number.
    root_at, root_state : int32 arrays
        By word: the states that the word leads to from the root.
    continues : bool array
        By state: whether the state has outgoing edges.
    cancels : int32 array
        By state: the state that this one cancels at the same word, or -1.
    edge_key, edge_to : int64, int32 arrays
        Hash table of edges: state, gap and word in one number, or -1; and the target state.
    group_at, group : int32 arrays
        By state: the groups that it stands for.
    sizes : (3,) int64 array
        Maximum word length in bytes and in code points; maximum number of active states.
    """

    classes: np.ndarray
    combining: np.ndarray
    fold_index: np.ndarray
    fold_at: np.ndarray
    fold_to: np.ndarray
    word_at: np.ndarray
    word_bytes: np.ndarray
    sieve: np.ndarray
    slots: np.ndarray
    gaps: np.ndarray
    root_at: np.ndarray
    root_state: np.ndarray
    continues: np.ndarray
    cancels: np.ndarray
    edge_key: np.ndarray
    edge_to: np.ndarray
    group_at: np.ndarray
    group: np.ndarray
    sizes: np.ndarray


def tables(lists: tuple[TermList, ...]) -> Tables:
    """The tables of several lists together; built once per process.

    Groups are numbered list by list, in the order of `TermList.labels` within a list.
    """
    with _building:
        return _tables(lists)


@lru_cache(maxsize=32)
def _tables(lists: tuple[TermList, ...]) -> Tables:
    automaton = Automaton()
    group = 0
    for one in lists:
        plain, homographs, guards = map(dict, (one.groups, one.homographs, one.not_after))
        for label in one.labels:
            guard = guards.get(label, ())
            for term in plain.get(label, ()):
                if guard and label not in homographs and len(split(term)[0]) == 1:
                    automaton.add_guard([term], guard, automaton.add_word(term, group))
                else:
                    automaton.add_phrase(term, group)
            if label in homographs:
                start = automaton.add_homographs(homographs[label], one.between, one.before, group)
                automaton.add_guard(homographs[label], guard, start)
            group += 1
    return automaton.tables()


class Automaton:
    """Numbered words, and states that represent the words of a term read so far.

    A term is a path of states. A homograph leads to a state from which a person noun, or one
    intermediate word and a person noun, leads to the state of the group. A guard is a word after
    which a homograph does not count: together they lead to a state that cancels the homograph's.
    """

    def __init__(self) -> None:
        self._words: dict[str, int] = {}
        self._gaps: dict[str, int] = {}
        self._roots: list[dict[int, None]] = []  # by word; an ordered set of states
        self._groups: list[dict[int, None]] = []  # by state
        self._edges: dict[tuple[int, int, int], int] = {}
        self._first: dict[int, int] = {}
        self._longest = 1
        self._cancels: dict[int, int] = {}

    def add_phrase(self, term: str, group: int) -> None:
        """Add a term that counts wherever it occurs."""
        words, gaps = split(term)
        word = self._word_number(words[0])
        state = self._first.setdefault(word, len(self._groups))
        if state == len(self._groups):
            self._new_state()
            self._roots[word][state] = None
        for text, gap in zip(words[1:], gaps[1:-1], strict=True):
            state = self._add_edge(state, gap, text)
        self._groups[state][group] = None
        self._longest = max(self._longest, len(words))

    def add_word(self, term: str, group: int) -> int:
        """Add a single word with its own state, which a guard can cancel; returns the state."""
        state = self._new_state()
        self._roots[self._word_number(term)][state] = None
        self._groups[state][group] = None
        return state

    def add_homographs(
        self, terms: Iterable[str], between: Iterable[str], nouns: Iterable[str], group: int
    ) -> int:
        """Words that count before a noun, or before one word and a noun; returns their state."""
        start, middle, end = self._new_state(), self._new_state(), self._new_state()
        self._groups[end][group] = None
        for term in terms:
            self._roots[self._word_number(term)][start] = None
        for noun in nouns:
            self._add_edge(start, " ", noun, end)
            self._add_edge(middle, " ", noun, end)
        for word in between:
            self._add_edge(start, " ", word, middle)
        self._longest = max(self._longest, 3)
        return start

    def add_guard(self, terms: Iterable[str], guards: Iterable[str], start: int) -> None:
        """Add words after which ``terms``, which lead to the state ``start``, do not count."""
        guarded, canceled = self._new_state(), self._new_state()
        self._cancels[canceled] = start
        for guard in guards:
            self._roots[self._word_number(guard)][guarded] = None
        for term in terms:
            for gap in (" ", "-"):
                self._add_edge(guarded, gap, term, canceled)

    def _word_number(self, text: str) -> int:
        number = self._words.setdefault(folded(text), len(self._words))
        if number == len(self._roots):
            self._roots.append({})
        return number

    def _new_state(self) -> int:
        self._groups.append({})
        return len(self._groups) - 1

    def _add_edge(self, state: int, gap: str, text: str, to: int | None = None) -> int:
        number = self._gaps.setdefault(gap, len(self._gaps))
        if number >= _MAX_GAPS:
            raise OptionError(
                f"The terms have more than {_MAX_GAPS} different separators between their words. "
                "Use the same separator throughout, such as a space or a hyphen."
            )
        key = (state, number, self._word_number(text))
        if key not in self._edges:
            self._edges[key] = self._new_state() if to is None else to
        return self._edges[key]

    def tables(self) -> Tables:
        """The arrays of the scan."""
        spelled = [_stored(word) for word in self._words]
        word_at = np.cumsum([0, *map(len, spelled)], dtype=np.int32)
        word_bytes = np.frombuffer(b"".join(spelled) + bytes(8), np.uint8)
        sieve_bits = _power_of_two(max(_SIEVE_BITS * len(spelled), _MIN_SIEVE_BITS))
        sieve = np.zeros(sieve_bits // 8, np.uint8)
        slots = np.full(_power_of_two(2 * len(spelled)), -1, np.int32)
        root_at, root_state = _ragged(self._roots)
        packed = [state << 32 | gap << 26 | word for state, gap, word in self._edges]
        keys = np.array(packed, np.int64)
        to = np.array(list(self._edges.values()), np.int32)
        edge_key = np.full(_power_of_two(2 * len(keys)), -1, np.int64)
        edge_to = np.zeros(len(edge_key), np.int32)
        fill(word_at, word_bytes, root_at, sieve, slots, keys, to, edge_key, edge_to)
        continues = np.zeros(len(self._groups), bool)
        continues[[state for state, _, _ in self._edges]] = True
        cancels = np.full(len(self._groups), -1, np.int32)
        cancels[list(self._cancels)] = list(self._cancels.values())
        group_at, group = _ragged(self._groups)
        gaps = np.array([_packed(gap) for gap in self._gaps], np.uint64)
        built = Tables(
            *characters(), word_at, word_bytes, sieve, slots, gaps, root_at, root_state, continues,
            cancels, edge_key, edge_to, group_at, group, self._sizes(spelled),
        )  # fmt: skip
        for array in built:
            array.flags.writeable = False
        return built

    def _sizes(self, spelled: Sequence[bytes]) -> np.ndarray:
        most_roots = max(map(len, self._roots), default=0)
        longest = [max(map(len, words), default=0) for words in (spelled, self._words)]
        return np.array([*longest, most_roots * (self._longest + 1) + 1], np.int64)


def _stored(word: str) -> bytes:
    """Bytes of a folded word, with the lower-case bit set for ASCII."""
    return bytes(b | 0x20 if b < 0x80 else b for b in word.encode())


def _packed(gap: str) -> int:
    """A gap packed into one number, as in `matcher_scan`."""
    packed = 1
    for letter in gap:
        packed = packed << 21 | ord(letter)
    return packed


def _power_of_two(n: int) -> int:
    """Smallest power of two that is at least ``n`` and at least 64."""
    return 1 << max(6, (n - 1).bit_length() if n > 0 else 0)


def _ragged(rows: Sequence[dict[int, None]]) -> tuple[np.ndarray, np.ndarray]:
    at = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return at, np.array([value for row in rows for value in row], np.int32)
