"""A grouping of the tests' own: captions by the words in them, parted by spaces."""

from dataclasses import dataclass

import numpy as np

from laion_dask.aggregations import Grouping, Members


@dataclass(frozen=True)
class Words(Grouping):
    """A row is in the group of each word that its text has between spaces; maybe in several."""

    axis: str
    words: tuple[str, ...]
    no_group: str = "(none)"

    def bind(self, kinds):
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
        """The groups of one caption, by a loop."""
        return {word for word in self.words if isinstance(text, str) and word in text.split(" ")}


@dataclass(frozen=True)
class Coded(Grouping):
    """Rows by a column of whole numbers, one bit a group."""

    axis: str
    column: str
    labels: tuple[str, ...]
    no_group: str = "(none)"

    def bind(self, kinds):
        return self

    @property
    def reads(self):
        return (self.column,)

    def assign(self, part):
        bits = part.table[self.column].to_numpy()
        found = [(bits >> i) & 1 == 1 for i in range(len(self.labels))]
        rows, codes = np.nonzero(np.stack(found, axis=1))
        return Members(self.labels, rows, codes.astype(np.int32), len(bits))
