"""Group rows by the site of their image: hosts, registered domains, suffixes, TLDs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from laion_dask.aggregations.engine.base import Partition
from laion_dask.aggregations.engine.reduction import Factory
from laion_dask.aggregations.grouping.base import MAX_GROUPS, Grouping, Members, too_many_groups
from laion_dask.cost import Cost
from laion_dask.errors import OptionError, no_column
from laion_dask.text.domains import Coded, Hosts, hosts_of, labels_of
from laion_dask.text.hosts import Authorities


def sites(partition: Partition, column: str, level: str, private: bool = False) -> Coded:
    """Host, domain, suffix or TLD of each row; computed once per partition."""
    return partition.memo(_labelled, column, level, private)


def _labelled(partition: Partition, column: str, level: str, private: bool) -> Coded:
    return labels_of(partition.memo(_hosts, column), level, private)


def _hosts(partition: Partition, column: str) -> Hosts:
    return hosts_of(partition.accumulated(column, Authorities))


def check_addresses(column: str, column_types: Mapping[str, str]) -> None:
    """Raise unless a column can hold URLs.

    Raises
    ------
    ColumnError, OptionError
        If the frame has no such column, or it does not hold text.
    """
    if column not in column_types:
        raise no_column(column, column_types)
    if column_types[column] != "string":
        raise OptionError(
            f"The column {column!r} holds {column_types[column]}. Name a column of URLs with "
            "column=."
        )


@dataclass(frozen=True)
class BySite(Grouping):
    """See `domains` and `tlds`."""

    level: str
    column: str
    private: bool = False
    no_group = "(none)"
    cost = Cost(("grouping site",), shared=("hosts",))

    @property
    def axis(self) -> str:
        return self.level

    def bind(self, column_types: Mapping[str, str]) -> Grouping:
        check_addresses(self.column, column_types)
        return self

    @property
    def reads(self) -> tuple[str, ...]:
        return (self.column,)

    @property
    def reduces(self) -> dict[str, tuple[Factory, ...]]:
        return {self.column: (Authorities,)}

    def assign(self, partition: Partition) -> Members:
        coded_sites = sites(partition, self.column, self.level, self.private)
        if len(coded_sites.labels) > MAX_GROUPS:
            raise too_many_groups(self.level, len(coded_sites.labels))
        codes = coded_sites.codes
        rows = np.flatnonzero(codes >= 0)
        return Members(tuple(coded_sites.labels.to_pylist()), rows, codes[rows], len(partition))


def domains(column: str = "url", *, private: bool = False) -> BySite:
    """Group rows by registered domain: ``shop.co.uk`` for ``https://img.shop.co.uk/1.jpg``.

    Hosts are parsed as in browsers (URL standard of the WHATWG, UTS #46): all spellings of a name
    count as one, written in ASCII (``xn--bcher-kva.de``). Domains follow the public suffix list
    packaged with tldextract, and never the network. Below a top-level domain that is not on the
    list, its rule ``*`` applies: the domain is the last two labels. A host without a domain (an IP
    address, a single label, a public suffix) is its own group. A row whose URL has no host is in no
    group.

    Parameters
    ----------
    column : str
        A column of URLs.
    private : bool
        Whether suffixes in the list's private part count: ``a.github.io`` is then its own group;
        otherwise it counts as ``github.io``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.rates("punsafe > 0.5", by=ld.domains()))
    >>> set(table["axis"].dropna())
    {'domain'}
    """
    if not isinstance(private, bool):
        raise OptionError(f"private is {private!r}. Expected True or False.")
    return replace(_by_site("domain", column), private=private)


def tlds(column: str = "url") -> BySite:
    """Group rows by top-level domain: ``uk`` for ``https://img.shop.co.uk/1.jpg``.

    A row whose host is an IP address or a name without a dot is in no group.

    Parameters
    ----------
    column : str
        A column of URLs.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> table = ld.statistics(frame, ld.rates("punsafe > 0.5", by=ld.tlds()))
    >>> set(table["axis"].dropna())
    {'tld'}
    """
    return _by_site("tld", column)


def _by_site(level: str, column: str) -> BySite:
    if not isinstance(column, str):
        raise OptionError(f"column is {column!r}. Expected the name of a column of URLs.")
    return BySite(level, column)
