"""Insert words and edges into the hash tables of the scan. Compiled by numba."""

from __future__ import annotations

import numpy as np

from laion_dask.text.word_lookup import hash_edge, hash_start, hash_word


def fill(word_at, word_bytes, root_at, sieve, slots, keys, to, edge_key, edge_to):
    """Fill ``sieve``, ``slots``, ``edge_key`` and ``edge_to``; see `matcher_tables.Tables`.

    Words that begin a term pass the sieve.

    Parameters
    ----------
    word_at, word_bytes, root_at
        See `matcher_tables.Tables`.
    keys, to : int64, int32 arrays
        The edges, and the states that they lead to.
    """
    for word in range(len(word_at) - 1):
        at = word_at[word]
        length = np.int64(word_at[word + 1] - at)
        if root_at[word] < root_at[word + 1]:
            start = hash_start(word_bytes, at, length)
            bit = start >> np.uint64(40) & np.uint64(8 * len(sieve) - 1)
            sieve[np.int64(bit >> np.uint64(3))] |= np.uint8(1) << np.uint8(bit & np.uint64(7))
        h = hash_word(word_bytes, at, length)
        slot = np.int64((h >> np.uint64(20)) & np.uint64(len(slots) - 1))
        while slots[slot] >= 0:
            slot = (slot + 1) & (len(slots) - 1)
        slots[slot] = word
    for i in range(len(keys)):
        slot = np.int64(hash_edge(keys[i]) & np.uint64(len(edge_key) - 1))
        while edge_key[slot] >= 0:
            slot = (slot + 1) & (len(edge_key) - 1)
        edge_key[slot], edge_to[slot] = keys[i], to[i]
