"""Labels of the rows that belong to no group of an axis, and of groups that share such a name."""

from __future__ import annotations

import re

#: What groups are called that `top=` makes one.
POOLED = "(others)"
#: Rows that are no group of an axis: all, those in none, those that are pooled, all others.
NOT_GROUPS = ("(all)", "(none)", "(no term)", "(null)", POOLED, "(rest)")
_ALIKE = re.compile(f"'*(?:{'|'.join(map(re.escape, NOT_GROUPS))})'*")


def group_label(label: str) -> str:
    """A group's name in a table: in quotes where it is one of `NOT_GROUPS`, else as it is.

    The text ``(null)`` in a column is shown as ``'(null)'``, missing values as ``(null)``. Names
    that differ stay different.
    """
    return f"'{label}'" if _ALIKE.fullmatch(label) else label


#: The verdict on a group that a filter excludes more often than others, beyond chance.
AMPLIFIED = "amplified"
