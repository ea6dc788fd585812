"""Reserved labels for rows outside the groups of an axis, and escaping of groups named alike."""

from __future__ import annotations

import re

#: Label of the groups that `top=` pools.
POOLED = "(others)"
#: Labels of rows that are not a group: all rows, rows in no group, pooled rows, all other rows.
NOT_GROUPS = ("(all)", "(none)", "(no term)", "(null)", POOLED, "(rest)")
_ALIKE = re.compile(f"'*(?:{'|'.join(map(re.escape, NOT_GROUPS))})'*")


def group_label(label: str) -> str:
    """A group's name for a table: quoted if it is one of `NOT_GROUPS`, else unchanged.

    A column value ``(null)`` is shown as ``'(null)'``, and missing values as ``(null)``. Distinct
    names stay distinct.
    """
    return f"'{label}'" if _ALIKE.fullmatch(label) else label


#: The verdict for a group that a filter excludes significantly more often than other rows.
AMPLIFIED = "amplified"
