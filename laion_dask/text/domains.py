"""Hosts, registered domains, public suffixes and top-level domains of a partition's URLs.

A compiled scan and Arrow kernels split the URLs; Python code runs once per distinct host.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import ada_url
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.text.host_names import NULL, OTHER, TEXT, Names, labels_table
from laion_dask.text.hosts import Authorities
from laion_dask.text.public_suffixes import suffix_list

#: The longest host name in bytes (RFC 1035, section 2.3.4).
LONGEST_HOST = 255
#: URLs whose scheme has a host (WHATWG URL, "special scheme"), with the authority that follows the
#: slashes if it determines the host on its own.
_URL = r"^[\x00-\x20]*(?i:https?|wss?|ftp)://(?P<authority>[^/]*[^/\\\x00-\x20])(?:/|$)"
_SCHEME = r"^[\x00-\x20]*[A-Za-z][A-Za-z0-9+.\-\t\r\n]*:"
_PLAIN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.[A-Za-z_-][A-Za-z0-9_-]*\.?$"
_PUNYCODE = r"(?i)(^|\.)xn--"


@dataclass(frozen=True, eq=False)
class Coded:
    """A dictionary-encoded text column: each distinct label once, and a code for each row.

    Attributes
    ----------
    labels : large_string array
        Distinct, without nulls.
    of_host : (m + 1,) int32 array
        Position in ``labels`` of each host, -1 for none; the last entry is for rows without a host.
    host : (n,) int32 array
        Position of each row's host, -1 for none.
    entries : tuple of (Names, int64 array)
        A table that has the labels of other partitions too, and the position of each label there.
    """

    labels: pa.Array
    of_host: np.ndarray
    host: np.ndarray
    entries: tuple[Names, np.ndarray]

    @property
    def codes(self) -> np.ndarray:
        """Position in ``labels`` of each row, -1 for none; (n,) int32."""
        return self.of_host[self.host]

    def counts(self) -> np.ndarray:
        """Number of rows with each label, (len(labels),) int64."""
        by_host = np.bincount(self.host + 1, minlength=len(self.of_host))
        by_host = np.append(by_host[1:], by_host[0])
        counts = np.bincount(self.of_host + 1, by_host, len(self.labels) + 1)
        return counts[1:].astype(np.int64)  # sums below 2**53 are exact


@dataclass(frozen=True, eq=False)
class Spelled:
    """Names of hosts.

    Attributes
    ----------
    names : large_string array
        Lower-case ASCII; null for none; may contain duplicates.
    plain : boolean array
        True for names that contain only letters, digits, hyphens and dots, without Punycode.
    """

    names: pa.Array
    plain: pa.Array

    def __len__(self) -> int:
        return len(self.names)

    def slice(self, start: int) -> Spelled:
        """The names from a position on."""
        return Spelled(self.names.slice(start), self.plain.slice(start))

    @staticmethod
    def joined(*several: Spelled) -> Spelled:
        """All names, one after the other."""
        names, plain = ([getattr(each, what) for each in several] for what in ("names", "plain"))
        return Spelled(pa.concat_arrays(names), pa.concat_arrays(plain))


_NONE = Spelled(pa.array([], TEXT), pa.array([], pa.bool_()))


@dataclass(frozen=True, eq=False)
class Hosts:
    """The hosts of a partition's rows.

    Attributes
    ----------
    authorities : Names
        The distinct authorities of most rows.
    of_authorities : Spelled
        The hosts of the authorities.
    others : Spelled
        More hosts, which do not follow from an authority.
    codes : (n,) int32 array
        Position of each row's host among those of the authorities and the others, -1 for none.
    """

    authorities: Names
    of_authorities: Spelled
    others: Spelled
    codes: np.ndarray


def hosts(urls: pa.ChunkedArray) -> Hosts:
    """Host of each URL as a browser parses it, without the trailing dot.

    Follows the WHATWG URL standard: percent-encoded letters are decoded; ideographic dots,
    full-width letters and names in any script become ASCII by UTS #46 (``xn--…``); IPv4 and IPv6
    addresses have one spelling each. The host is null for relative URLs, ``javascript:`` and
    ``data:`` URLs, URLs that a browser rejects, and names longer than `LONGEST_HOST`.
    """
    found = Authorities()
    found.add(urls)
    return hosts_of(found)


def hosts_of(found: Authorities) -> Hosts:
    """The `hosts` of URLs whose authorities have been found."""
    codes, urls = found.codes(), found.others()
    known: Spelled = found.names.known_of("hosts", partial(_more_hosts, found.names))
    rows = np.flatnonzero(codes == OTHER)
    codes[rows] = NULL
    others = _NONE
    if len(rows):
        absolute = pc.match_substring_regex(urls, _SCHEME)
        urls = urls.filter(absolute)
        rows = rows[absolute.to_numpy(zero_copy_only=False)]
        cut = pc.struct_field(pc.extract_regex(urls, _URL), "authority").cast(TEXT)
        order = np.argsort(pc.is_null(cut).to_numpy(zero_copy_only=False), kind="stable")
        codes[rows[order]] = np.arange(len(known), len(known) + len(rows), dtype=np.int32)
        unparsed_urls = urls.filter(pc.is_null(cut)).to_pylist()
        parsed = pa.array([host_of(url) for url in unparsed_urls], TEXT)
        not_plain = pa.repeat(pa.scalar(False), len(parsed))
        others = Spelled.joined(_spelled(cut.drop_null()), Spelled(parsed, not_plain))
    return Hosts(found.names, known, others, codes)


def _more_hosts(authorities: Names, known: Spelled | None, n: int) -> Spelled:
    return Spelled.joined(known or _NONE, _spelled(authorities.settled(n)))


def _spelled(written: pa.Array) -> Spelled:
    """The host of each authority."""
    names = pc.utf8_rtrim(pc.ascii_lower(written), ".")
    plain = pc.and_(
        pc.match_substring_regex(written, _PLAIN),
        pc.less_equal(pc.binary_length(names), LONGEST_HOST),
    )
    if pc.any(pc.match_substring(names, "xn--")).as_py():
        plain = pc.and_(plain, pc.invert(pc.match_substring_regex(written, _PUNYCODE)))
    plain = pc.fill_null(plain, False)
    return Spelled(_replace_where(names, pc.invert(plain), written, _host_of_authority), plain)


def _replace_where(
    labels: pa.Array, where: pa.Array, texts: pa.Array, function: Callable
) -> pa.Array:
    """Replace the masked labels by a Python function of another array's values."""
    if not pc.any(where).as_py():
        return labels
    replaced = [function(value) if value else None for value in texts.filter(where).to_pylist()]
    return pc.replace_with_mask(labels, where, pa.array(replaced, labels.type))


def _host_of_authority(authority: str) -> str | None:
    return host_of(f"http://{authority}")


def host_of(url: str) -> str | None:
    """Host of one URL, as a browser parses it."""
    try:
        name = ada_url.URL(url).hostname
    except ValueError:
        return None
    name = name.rstrip(".").lower()
    return name if 0 < len(name) <= LONGEST_HOST else None


#: The levels that `labels_of` accepts.
LEVELS = ("host", "domain", "suffix", "tld")


def labels_of(hosts_of_rows: Hosts, level: str, private: bool = False) -> Coded:
    """Label of each host at one of `LEVELS`, with or without the list's private suffixes."""
    label, authorities = partial(_labelled, level=level, private=private), hosts_of_rows.authorities
    more = partial(_more_labels, authorities, label, (level, private))
    table, of_host = authorities.known_of((level, private), more)
    codes, n_known = hosts_of_rows.codes, len(hosts_of_rows.of_authorities)
    others = table.encode(label(hosts_of_rows.others)) if len(hosts_of_rows.others) else ()
    of_host = np.concatenate([of_host[:n_known], others, [NULL]]).astype(np.int32)
    has_rows = np.bincount(codes + 1, minlength=len(of_host))[1:] > 0
    occurs = np.zeros(len(table) + 1, bool)
    occurs[of_host[:-1][has_rows]] = True
    occurs[-1] = False
    entries = np.flatnonzero(occurs)
    positions = np.full(len(occurs), NULL, np.int32)
    positions[entries] = np.arange(len(entries), dtype=np.int32)
    return Coded(table.take(entries), positions[of_host], codes, (table, entries))


def _more_labels(
    authorities: Names, label: Callable[[Spelled], pa.Array], key: Hashable, known: Any, n: int
) -> tuple[Names, np.ndarray]:
    """The table of labels, and the position there of the label of each authority."""
    found: Spelled = authorities.known_of("hosts", partial(_more_hosts, authorities))
    table, of_host = known or (labels_table(key), np.empty(0, np.int32))
    return table, np.append(of_host, table.encode(label(found.slice(n))))


def _labelled(found: Spelled, level: str, private: bool) -> pa.Array:
    """The label of each host, null for none."""
    if level == "host":
        return found.names
    names = pc.fill_null(found.names, "")
    pieces = pc.split_pattern(names, ".", max_splits=2, reverse=True)
    ends = pieces.offsets.to_numpy()[1:]
    last = pieces.values.take(pa.array(ends - 1))
    endings = last.dictionary_encode()
    deep = np.array([_is_deep(name, private) for name in endings.dictionary.to_pylist()], bool)
    by_hand = deep[endings.indices.to_numpy()] | ~found.plain.to_numpy(zero_copy_only=False)
    quick = last
    if level == "domain":
        before = pieces.values.take(pa.array(np.maximum(ends - 2, 0)))
        quick = pc.binary_join_element_wise(before, last, pa.scalar(".", last.type))
    return _replace_where(
        quick, pa.array(by_hand), found.names, partial(_BY_HAND[level], private=private)
    )


def _is_deep(ending: str, private: bool) -> bool:
    """Whether the list has a rule of two or more labels with this last label."""
    return ending in suffix_list(private).deep or ending.startswith("xn--")


@lru_cache(maxsize=1 << 18)
def registered_domain(host: str, *, private: bool = False) -> str:
    """``images.shop.co.uk`` becomes ``shop.co.uk``, by the packaged public suffix list.

    A host without a registered domain (an IP address, a single label, a public suffix, a name with
    an empty label) is returned unchanged. If no rule matches, the last label is the suffix (the
    list's rule ``*``). With ``private``, suffixes that companies registered on the list count too:
    ``someone.github.io``.

    Parameters
    ----------
    host : str
        As returned by `host_of`; other spellings are normalized first.
    """
    host = _canonical(host)
    suffix = public_suffix(host, private=private)
    if suffix is None or suffix == host or ".." in f".{host}":
        return host
    return f"{host.removesuffix(f'.{suffix}').rpartition('.')[2]}.{suffix}"


def public_suffix(host: str, *, private: bool = False) -> str | None:
    """``co.uk`` for ``images.shop.co.uk``; the top-level domain if no rule matches."""
    host = _canonical(host)
    return suffix_list(private).suffix(host) or top_level_domain(host)


def top_level_domain(host: str, *, private: bool = False) -> str | None:
    """``uk`` for ``images.shop.co.uk``; None for an IP address or a name without a dot."""
    before, _, last = _canonical(host).rpartition(".")
    return last if before and last and not last.isdigit() and "]" not in last else None


def _canonical(host: str) -> str:
    return host if host.isascii() and host == host.lower() else host_of(f"http://{host}") or host


_BY_HAND: dict[str, Callable[..., str | None]] = {
    "domain": registered_domain,
    "suffix": public_suffix,
    "tld": top_level_domain,
}
