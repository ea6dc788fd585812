"""Hosts, registered domains, public suffixes and top-level domains of the addresses of a partition.

Addresses are cut in Arrow; what is looked up or written in Python, is so once a distinct host.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.kernels.hosts import NULL, OTHER, authorities

#: No longer name is a host (RFC 1035, section 2.3.4).
LONGEST_HOST = 255
_URL = r"^[\x00-\x20]*[A-Za-z][A-Za-z0-9+.\-]*://(?P<authority>[^/]*)"
#: What browsers leave out of an address wherever it stands (WHATWG URL, section 4.4).
_DROPPED = r"[\t\r\n]"
#: Dots and white space; stripped, since a regular expression for them is quadratic.
_AT_THE_END = "." + "".join(c for c in map(chr, range(0x3001)) if c.isspace())
_PLAIN = r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)+\.?$"


@dataclass(frozen=True, eq=False)
class Coded:
    """Text of a partition's rows, each distinct one once.

    Attributes
    ----------
    labels : large_string array
        Without nulls, no two equal.
    of_host : (m + 1,) int32 array
        Of each host the position in ``labels``, -1 for none; the last is that of no host.
    host : (n,) int32 array
        The host of each row, -1 for none.
    """

    labels: pa.Array
    of_host: np.ndarray
    host: np.ndarray

    @property
    def codes(self) -> np.ndarray:
        """Of each row the position in ``labels``, -1 where it has none; (n,) int32."""
        return self.of_host[self.host]

    def counts(self) -> np.ndarray:
        """How many rows have each label, (len(labels),) int64."""
        by_host = np.bincount(self.host + 1, minlength=len(self.of_host))
        by_host = np.append(by_host[1:], by_host[0])
        counts = np.bincount(self.of_host + 1, by_host, len(self.labels) + 1)
        return counts[1:].astype(np.int64)  # sums below 2**53 are exact


@dataclass(frozen=True, eq=False)
class Hosts:
    """The hosts of a partition's rows.

    Attributes
    ----------
    names : large_string array
        In lower case; null for none; some may be equal.
    plain : boolean array
        Which are of letters, digits and dots alone.
    codes : (n,) int32 array
        Of each row the position in ``names``, -1 where it has none.
    """

    names: pa.Array
    plain: pa.Array
    codes: np.ndarray


def hosts(urls: pa.ChunkedArray) -> Hosts:
    """The host of each address, in lower case, without user, port or the dot at the end.

    An address has one when it has a scheme and ``//`` behind it; IPv6 keeps its brackets. There is
    none in a path, in ``javascript:`` or ``data:``, in an empty name, or in one too long to be one.
    """
    written, codes = authorities(urls)
    others = np.flatnonzero(codes == OTHER)
    codes[others] = NULL
    if len(others):
        odd = pc.replace_substring_regex(urls.take(pa.array(others)), _DROPPED, "")
        rest = pc.struct_field(pc.extract_regex(odd, _URL), "authority")
        rest = pa.chunked_array(rest).combine_chunks().cast(pa.large_string())
        codes[others] = np.arange(len(written), len(written) + len(others), dtype=np.int32)
        written = pa.concat_arrays([written, *getattr(rest, "chunks", [rest])])
    names = pc.utf8_rtrim(pc.ascii_lower(written), ".")
    plain = pc.and_(
        pc.match_substring_regex(written, _PLAIN),
        pc.less_equal(pc.binary_length(names), LONGEST_HOST),
    )
    plain = pc.fill_null(plain, False)
    return Hosts(_mended(names, pc.invert(plain), written, _host), plain, codes)


def _mended(labels: pa.Array, where: pa.Array, of: pa.Array, by: Callable) -> pa.Array:
    """The labels, those named by a mask made anew in Python of another array's values."""
    if not pc.any(where).as_py():
        return labels
    made = [by(value) if value else None for value in of.filter(where).to_pylist()]
    return pc.replace_with_mask(labels, where, pa.array(made, labels.type))


def _host(authority: str) -> str | None:
    """The host of what stands between the slashes of an address."""
    authority = re.sub(_DROPPED, "", re.split(r"[?#]", authority, maxsplit=1)[0])
    name = authority.rpartition("@")[2]
    bracketed = re.match(r"\[[0-9A-Fa-f:.%]+\]", name)
    name = bracketed[0] if bracketed else name.partition(":")[0]
    name = "" if "[" in name and not bracketed else name.strip().rstrip(_AT_THE_END).lower()
    return name if 0 < len(name.encode()) <= LONGEST_HOST else None


#: What rows can be counted by, each from `hosts`.
LEVELS = ("host", "domain", "suffix", "tld")


def labels_of(found: Hosts, level: str) -> Coded:
    """The hosts of some rows as one of `LEVELS`."""
    labels = found.names if level == "host" else _at_level(found, level)
    coded = labels.dictionary_encode()
    of_host = np.append(pc.fill_null(coded.indices, NULL).to_numpy(), np.int32(NULL))
    return Coded(coded.dictionary, of_host, found.codes)


def _at_level(found: Hosts, level: str) -> pa.Array:
    names = pc.fill_null(found.names, "")
    pieces = pc.split_pattern(names, ".", max_splits=2, reverse=True)
    ends = pieces.offsets.to_numpy()[1:]
    last = pieces.values.take(pa.array(ends - 1))
    endings = last.dictionary_encode()
    kinds = np.array([_kind_of(name) for name in endings.dictionary.to_pylist()], np.int8)
    kinds = kinds[endings.indices.to_numpy()] * found.plain.to_numpy(zero_copy_only=False)
    quick = last
    if level == "domain":
        before = pieces.values.take(pa.array(np.maximum(ends - 2, 0)))
        joined = pc.binary_join_element_wise(before, last, pa.scalar(".", last.type))
        quick = pc.if_else(pa.array(kinds == _UNLISTED), names, joined)
    return _mended(quick, pa.array(kinds == _DEEP), found.names, _BY_HAND[level])


#: Endings of hosts: with rules of their own below them or odd in themselves; with none; unknown.
_DEEP, _FLAT, _UNLISTED = 0, 1, 2


def _kind_of(ending: str) -> int:
    if ending in _rules().flat:
        return _FLAT
    odd = ending in _rules().known or ending.startswith("xn--") or ending.isdigit()
    return _DEEP if odd else _UNLISTED


@lru_cache(maxsize=1 << 18)
def registered_domain(host: str) -> str:
    """``images.shop.co.uk`` becomes ``shop.co.uk``, by the packaged public suffix list.

    A host that has none (an address, a bare name) stands for itself, in lower case.
    """
    if _is_unlisted(host):
        return host.lower()
    return (_splitter()(host).top_domain_under_public_suffix or host).lower()


def public_suffix(host: str) -> str | None:
    """``co.uk`` of ``images.shop.co.uk``; the last name where the list has none, if it is one."""
    if not _is_unlisted(host):
        suffix = _splitter()(host).suffix
        if suffix:
            return suffix.lower()
    return top_level_domain(host)


def top_level_domain(host: str) -> str | None:
    """``uk`` of ``images.shop.co.uk``; none of an address, nor of a name without a dot."""
    before, _, last = host.lower().rpartition(".")
    return last if before and last and not last.isdigit() and "]" not in last else None


_BY_HAND = {"domain": registered_domain, "suffix": public_suffix, "tld": top_level_domain}


def _is_unlisted(host: str) -> bool:
    """Whether no rule of the list can fit a host, as its last name shows."""
    last = host.rpartition(".")[2]
    return last.isascii() and not last.startswith("xn--") and last.lower() not in _rules().known


@dataclass(frozen=True)
class _Rules:
    """Top-level domains of the public suffix list: all, and those with no rule below them."""

    known: frozenset[str]
    flat: frozenset[str]


@lru_cache(maxsize=1)
def _rules() -> _Rules:
    rules = [rule.lstrip("!").split(".") for rule in _splitter().tlds]
    known = frozenset(rule[-1] for rule in rules)
    deep = {rule[-1] for rule in rules if len(rule) > 1}
    return _Rules(known, frozenset(name for name in known - deep if name.isascii()))


@lru_cache(maxsize=1)
def _splitter():
    import tldextract

    return tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)
