"""Term lists made into the tables that the scan walks by: words, and states that lead on."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np

from laion_dask.errors import OptionError
from laion_dask.text.matcher_compiled import fill, tables_type
from laion_dask.text.term_list import TermList
from laion_dask.text.word_boundaries import characters, folded, split

#: Bits of the sieve for each word, and in all: one in 32 words that are not looked for passes it,
#: or fewer. 4 kB lie in the nearest cache beside everything else.
_SIEVE, _LEAST_SIEVE = 32, 8 * 4096
_MOST_GAPS = 64
_making = threading.Lock()


def tables(lists: tuple[TermList, ...]):
    """The `scan.Tables` of several lists together; made once a process.

    Groups are numbered list by list and, inside, in the order of `TermList.labels`.
    """
    with _making:
        return _tables(lists)


@lru_cache(maxsize=32)
def _tables(lists: tuple[TermList, ...]):
    automaton = Automaton()
    group = 0
    for one in lists:
        plain, homographs, guards = map(dict, (one.groups, one.homographs, one.not_after))
        for label in one.labels:
            guard = guards.get(label, ())
            for term in plain.get(label, ()):
                if guard and label not in homographs and len(split(term)[0]) == 1:
                    automaton.not_after([term], guard, automaton.word(term, group))
                else:
                    automaton.phrase(term, group)
            if label in homographs:
                start = automaton.before(homographs[label], one.between, one.before, group)
                automaton.not_after(homographs[label], guard, start)
            group += 1
    return automaton.tables()


class Automaton:
    """Words are numbered, and states: a state stands for the words of a term read so far.

    A term is a path of states. A homograph leads to a state from which a person noun, or one word
    between and then a person noun, lead to the state that stands for the group. A word after
    which a homograph does not count leads with it to a state that takes the first one back.
    """

    def __init__(self):
        self._words: dict[str, int] = {}
        self._gaps: dict[str, int] = {}
        self._roots: list[dict[int, None]] = []  # by word; an ordered set of states
        self._groups: list[dict[int, None]] = []  # by state
        self._edges: dict[tuple[int, int, int], int] = {}
        self._first: dict[int, int] = {}
        self._longest = 1
        self._takes_back: dict[int, int] = {}

    def phrase(self, term: str, group: int) -> None:
        """A term that counts wherever it stands."""
        words, gaps = split(term)
        word = self._word(words[0])
        state = self._first.setdefault(word, len(self._groups))
        if state == len(self._groups):
            self._state()
            self._roots[word][state] = None
        for text, gap in zip(words[1:], gaps[1:-1], strict=True):
            state = self._lead(state, gap, text)
        self._groups[state][group] = None
        self._longest = max(self._longest, len(words))

    def word(self, term: str, group: int) -> int:
        """A single word in a state of its own, which can be taken back; that state."""
        state = self._state()
        self._roots[self._word(term)][state] = None
        self._groups[state][group] = None
        return state

    def before(
        self, terms: Iterable[str], between: Iterable[str], nouns: Iterable[str], group: int
    ) -> int:
        """Words that count before a noun, or before one other word and a noun; their state."""
        start, middle, end = self._state(), self._state(), self._state()
        self._groups[end][group] = None
        for term in terms:
            self._roots[self._word(term)][start] = None
        for noun in nouns:
            self._lead(start, " ", noun, end)
            self._lead(middle, " ", noun, end)
        for word in between:
            self._lead(start, " ", word, middle)
        self._longest = max(self._longest, 3)
        return start

    def not_after(self, terms: Iterable[str], guards: Iterable[str], start: int) -> None:
        """Words after which those of a state do not count."""
        after, back = self._state(), self._state()
        self._takes_back[back] = start
        for guard in guards:
            self._roots[self._word(guard)][after] = None
        for term in terms:
            for gap in (" ", "-"):
                self._lead(after, gap, term, back)

    def _word(self, text: str) -> int:
        number = self._words.setdefault(folded(text), len(self._words))
        if number == len(self._roots):
            self._roots.append({})
        return number

    def _state(self) -> int:
        self._groups.append({})
        return len(self._groups) - 1

    def _lead(self, state: int, gap: str, text: str, to: int | None = None) -> int:
        number = self._gaps.setdefault(gap, len(self._gaps))
        if number >= _MOST_GAPS:
            raise OptionError(
                f"The terms have more than {_MOST_GAPS} different signs between their words. "
                "Write them alike, such as with spaces or hyphens."
            )
        key = (state, number, self._word(text))
        if key not in self._edges:
            self._edges[key] = self._state() if to is None else to
        return self._edges[key]

    def tables(self):
        """The arrays, not to be written to."""
        spelled = [_stored(word) for word in self._words]
        word_at = np.cumsum([0, *map(len, spelled)], dtype=np.int32)
        word_bytes = np.frombuffer(b"".join(spelled) + bytes(8), np.uint8)
        sieve = np.zeros(_power(max(_SIEVE * len(spelled), _LEAST_SIEVE)) // 8, np.uint8)
        slots = np.full(_power(2 * len(spelled)), -1, np.int32)
        keys = [state << 32 | gap << 26 | word for state, gap, word in self._edges]
        edge_key = np.full(_power(2 * len(keys)), -1, np.int64)
        edge_to = np.zeros(len(edge_key), np.int32)
        to = np.array(list(self._edges.values()), np.int32)
        root_at, root_state = _ragged(self._roots)
        fill(
            word_at,
            word_bytes,
            root_at,
            sieve,
            slots,
            np.array(keys, np.int64),
            to,
            edge_key,
            edge_to,
        )
        goes_on = np.zeros(len(self._groups), bool)
        goes_on[[state for state, _, _ in self._edges]] = True
        takes_back = np.full(len(self._groups), -1, np.int32)
        takes_back[list(self._takes_back)] = list(self._takes_back.values())
        out_at, out_group = _ragged(self._groups)
        most = max(map(len, self._roots), default=0)
        sizes = [max(map(len, spelled), default=0), max(map(len, self._words), default=0)]
        sizes.append(most * (self._longest + 1) + 1)
        gaps = np.array([_packed(gap) for gap in self._gaps], np.uint64)
        made = (
            *characters(), word_at, word_bytes, sieve, slots, gaps, root_at, root_state, goes_on,
            takes_back, edge_key, edge_to, out_at, out_group, np.array(sizes, np.int64),
        )  # fmt: skip
        for array in made:
            array.flags.writeable = False
        return tables_type()(*made)


def _stored(word: str) -> bytes:
    """A folded word's bytes, ASCII with the bit that tells lower case from upper."""
    return bytes(b | 0x20 if b < 0x80 else b for b in word.encode())


def _packed(gap: str) -> int:
    """What stands between two words as one number, as the scan makes it."""
    packed = 1
    for letter in gap:
        packed = packed << 21 | ord(letter)
    return packed


def _power(n: int) -> int:
    """The least power of two that is at least ``n``, and 64 or more."""
    return 1 << max(6, (n - 1).bit_length() if n > 0 else 0)


def _ragged(rows: Sequence[dict[int, None]]) -> tuple[np.ndarray, np.ndarray]:
    at = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return at, np.array([value for row in rows for value in row], np.int32)
