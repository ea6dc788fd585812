"""A table as printed text: columns that do not fit on a line continue in further blocks."""

from __future__ import annotations

import pandas as pd

#: Width of a printed line; a single block may be wider because of its key columns.
WIDTH = 120
#: Columns that identify a row; every block begins with them.
_KEYS = ("statistic", "term", "axis", "group", "threshold")


def in_blocks(head: list[str], cells: list[list[str]], width: int = WIDTH) -> str:
    """Format rows as text, in blocks of whole columns that each fit the width.

    A method shared by all rows is printed once, below the table.
    """
    frame = pd.DataFrame(cells, columns=head)
    method = ""
    if len(frame) > 1 and head.count("method") == 1 and frame["method"].nunique() == 1:
        method = f"\nmethod: {frame.pop('method').iloc[0]}"
    n_keys = next((i for i, name in enumerate(frame) if name not in _KEYS), frame.shape[1])
    blocks = [
        frame.iloc[:, columns].to_string(index=False) for columns in _split(frame, n_keys, width)
    ]
    return "\n\n".join(blocks) + method


def _split(frame: pd.DataFrame, n_keys: int, width: int) -> list[list[int]]:
    """Column numbers of each block: the key columns, and as many others as fit."""
    columns = [frame.iloc[:, i] for i in range(frame.shape[1])]
    widths = [1 + max(len(str(column.name)), *column.str.len()) for column in columns]
    keys = list(range(n_keys))
    blocks, used = [list(keys)], sum(widths[:n_keys])
    for i in range(n_keys, len(columns)):
        if used + widths[i] > width and len(blocks[-1]) > n_keys:
            blocks.append(list(keys))
            used = sum(widths[:n_keys])
        blocks[-1].append(i)
        used += widths[i]
    return blocks
