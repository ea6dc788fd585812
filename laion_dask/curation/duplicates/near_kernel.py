"""Elements that two sorted lists share, for many pairs of lists.

Compiled by numba once, see `laion_dask.runtime.native_code`, which is why the function creates no
arrays. Import this module only from `laion_dask.curation.duplicates.near_lists`.
"""

from __future__ import annotations


def count_shared(a_offsets, a, b_offsets, b, shared):
    """Count the elements that list n of a and list n of b share; each has no element twice."""
    for n in range(len(shared)):
        i, i_end = a_offsets[n], a_offsets[n + 1]
        j, j_end = b_offsets[n], b_offsets[n + 1]
        count = 0
        while i < i_end and j < j_end:
            if a[i] == b[j]:
                count += 1
                i += 1
                j += 1
            elif a[i] < b[j]:
                i += 1
            else:
                j += 1
        shared[n] = count
    return 0
