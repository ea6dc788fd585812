"""Groupings for tests: captions by space-separated words, and rows by bits."""

from dataclasses import dataclass

import numpy as np

from laion_dask.aggregations import Grouping, Members


@dataclass(frozen=True)
class Words(Grouping):
    """A row belongs to the group of each of its text's space-separated words, possibly several."""

    axis: str
    words: tuple[str, ...]
    no_group: str = "(none)"

    def bind(self, column_types):
        return self

    @property
    def reads(self):
        return ("text",)

    def assign(self, part):
        rows, codes = [], []
        for row, text in enumerate(part.table["text"].to_pylist()):
            for code, word in enumerate(self.words):
                if text is not None and word in text.split(" "):
                    rows.append(row)
                    codes.append(code)
        return Members(
            self.words, np.array(rows, np.int64), np.array(codes, np.int32), len(part.table)
        )

    def of(self, text) -> set[str]:
        """The groups of one caption, from a plain loop."""
        return {word for word in self.words if isinstance(text, str) and word in text.split(" ")}


@dataclass(frozen=True)
class Coded(Grouping):
    """Group rows by an integer column with one bit per group."""

    axis: str
    column: str
    labels: tuple[str, ...]
    no_group: str = "(none)"

    def bind(self, column_types):
        return self

    @property
    def reads(self):
        return (self.column,)

    def assign(self, part):
        bits = part.table[self.column].to_numpy()
        flags = [(bits >> i) & 1 == 1 for i in range(len(self.labels))]
        rows, codes = np.nonzero(np.stack(flags, axis=1))
        return Members(self.labels, rows, codes.astype(np.int32), len(bits))
