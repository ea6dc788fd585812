"""A table as printed text: columns that do not fit beside each other follow in blocks."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

#: Characters of a printed line; a table of one block may be wider by its first columns.
WIDTH = 120
#: The columns that say what a row is of; every block begins with them.
_KEYS = ("statistic", "term", "axis", "group", "threshold")


def in_blocks(head: Sequence[str], cells: Sequence[Sequence[str]], width: int = WIDTH) -> str:
    """Rows of text under headings, in blocks of whole columns that each fit into a width.

    A method that all rows share is printed once, below.
    """
    frame = pd.DataFrame(cells, columns=head)
    beneath = ""
    if len(frame) > 1 and list(head).count("method") == 1 and frame["method"].nunique() == 1:
        beneath = f"\nmethod: {frame.pop('method').iloc[0]}"
    n_keys = next((i for i, name in enumerate(frame) if name not in _KEYS), frame.shape[1])
    blocks = [
        frame.iloc[:, columns].to_string(index=False) for columns in _split(frame, n_keys, width)
    ]
    return "\n\n".join(blocks) + beneath


def _split(frame: pd.DataFrame, n_keys: int, width: int) -> list[list[int]]:
    """The column indices of each block: the key columns, then as many others as fit."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    wide = [1 + max(len(str(column.name)), *column.str.len()) for column in columns]
    keys = list(range(n_keys))
    blocks, used = [list(keys)], sum(wide[:n_keys])
    for i in range(n_keys, len(columns)):
        if used + wide[i] > width and len(blocks[-1]) > n_keys:
            blocks.append(list(keys))
            used = sum(wide[:n_keys])
        blocks[-1].append(i)
        used += wide[i]
    return blocks
