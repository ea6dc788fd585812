"""The most frequent labels, as a sketch that merges."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Top:
    """The most frequent labels, with a bound on what was forgotten.

    At most ``capacity`` labels are held. ``undercount`` is the most by which any count can be too
    low, and the most that a label which is not listed can have; 0 while nothing was forgotten.

    References
    ----------
    Agarwal, P. K. et al. (2012). Mergeable summaries. PODS.
    """

    counts: dict[str, int] = field(default_factory=dict)
    undercount: int = 0
    capacity: int = 100_000

    def merge(self, other: Top) -> Top:
        """The most frequent labels of both."""
        counts = dict(self.counts)
        for label, n in other.counts.items():
            counts[label] = counts.get(label, 0) + n
        merged = Top(counts, self.undercount + other.undercount, self.capacity)
        return merged.pruned()

    def pruned(self) -> Top:
        """The same, within capacity; ties are broken by the label."""
        if len(self.counts) <= self.capacity:
            return self
        ranked = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        forgotten = ranked[self.capacity][1]
        return Top(dict(ranked[: self.capacity]), self.undercount + forgotten, self.capacity)

    def most(self, k: int) -> list[tuple[str, int]]:
        """The k most frequent, most frequent first."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:k]
