"""A list of terms with its sources; every term is validated before it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from laion_dask.display.overview import Displayed
from laion_dask.errors import OptionError, did_you_mean
from laion_dask.text.word_boundaries import folded, split

#: Keys of a file.
_KEYS = ("name", "version", "about", "language", "sources", "groups", "homographs", "before",
         "between", "not_after")  # fmt: skip
_LONGEST_GAP = 3
Groups = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class TermList(Displayed):
    """Terms by group, and their sources.

    Attributes
    ----------
    name : str
        Name of the list and of its axis of groups, such as ``gender``.
    groups : tuple of (label, terms)
        Terms that count wherever they occur.
    homographs : tuple of (label, words)
        Words that count only before a person noun, or before one other word and a person noun.
    before, between : tuple of str
        The person nouns, and the words allowed between a homograph and a noun.
    not_after : tuple of (label, words)
        Words directly after which a label's homographs do not count: "year" in "a year old girl".
        For a label without homographs, this applies to its single words: "african" before
        "american".
    version, about, language : str
    sources : tuple of str
        Author, year, title and URL of each source.
    """

    name: str
    groups: Groups
    homographs: Groups = ()
    before: tuple[str, ...] = ()
    between: tuple[str, ...] = ()
    version: str = ""
    about: str = ""
    language: str = ""
    sources: tuple[str, ...] = ()
    not_after: Groups = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The groups in the order of the list; groups with only homographs come last."""
        return tuple(dict.fromkeys(label for label, _ in (*self.groups, *self.homographs)))

    def by_word(self, name: str | None = None) -> TermList:
        """A list in which each distinct term is a group of its own."""
        plain = {folded(t): t for _, terms in reversed(self.groups) for t in reversed(terms)}
        plain = dict(reversed(plain.items()))
        other = {folded(t): t for _, terms in self.homographs for t in terms}
        guards = dict(self.not_after)
        guarded = [(label, t) for label, terms in self.homographs for t in terms]
        guarded = [(label, other[folded(t)]) for label, t in guarded if folded(t) not in plain]
        unguarded = [group for group in self.groups if group[0] not in dict(self.homographs)]
        guarded += [(label, plain[folded(t)]) for label, terms in unguarded for t in terms]
        not_after = tuple((term, guards[label]) for label, term in guarded if label in guards)
        groups = tuple((term, (term,)) for term in plain.values())
        homographs = tuple((word, (word,)) for key, word in other.items() if key not in plain)
        return TermList(
            name or f"{self.name} words", groups, homographs, self.before, self.between,
            self.version, self.about, self.language, self.sources, not_after,
        )  # fmt: skip


def of_groups(name: str, groups: Mapping[str, Iterable[str]], where: str) -> TermList:
    """Validate a mapping of groups. ``where`` names its origin in error messages.

    Raises
    ------
    OptionError
    """
    checked = _groups(groups, where, phrases=True)
    if not checked:
        raise OptionError(f"{where} has no groups. Expected {{group: [terms]}} with at least one.")
    return TermList(name, checked)


def of_file(data: object, where: str, nouns: tuple[str, ...], between: tuple[str, ...]) -> TermList:
    """Validate the contents of a term list's file.

    Parameters
    ----------
    data : object
        The parsed YAML.
        Names the file in error messages.
    nouns, between : tuple of str
        Defaults for homographs, used if the file does not define its own.

    Raises
    ------
    OptionError
        Names the file, the entry and what to write instead.
    """
    if not isinstance(data, Mapping):
        raise OptionError(f"{where} is not a mapping. Expected the keys {', '.join(_KEYS)}.")
    for key in data:
        if key not in _KEYS:
            raise OptionError(f"{where} has the key {key!r}.{did_you_mean(str(key), _KEYS)}")
    for key in ("name", "about", "language"):
        value = data.get(key, "")
        if not isinstance(value, str) or (key == "name" and not value.strip()):
            raise OptionError(f"{where}: {key} is {value!r}. Expected text: write it in quotes.")
    groups = _groups(data.get("groups") or {}, f"{where}: groups", phrases=True)
    homographs = _groups(data.get("homographs") or {}, f"{where}: homographs", phrases=False)
    if not groups and not homographs:
        raise OptionError(f"{where} has no groups. Expected groups: {{group: [terms]}}.")
    before = _terms(data["before"], f"{where}: before", False) if "before" in data else nouns
    middle = _terms(data["between"], f"{where}: between", False) if "between" in data else between
    twice = {*map(folded, before)} & {*map(folded, middle)}
    if twice:
        raise OptionError(
            f"{where}: {min(twice)!r} is in both before and between. Remove it from one of them."
        )
    not_after = _groups(data.get("not_after") or {}, f"{where}: not_after", phrases=False)
    for label in dict(not_after):
        if label not in dict((*groups, *homographs)):
            raise OptionError(
                f"{where}: not_after has {label!r}, which is not a group."
                f"{did_you_mean(label, dict((*groups, *homographs)))}"
            )
    return TermList(
        data["name"].strip(), groups, homographs,
        before if homographs else (), middle if homographs else (),
        str(data.get("version", "")), data.get("about", "").strip(), data.get("language", ""),
        _sources(data.get("sources") or (), where), not_after,
    )  # fmt: skip


def _sources(sources: object, where: str) -> tuple[str, ...]:
    if not isinstance(sources, (list, tuple)):
        raise OptionError(f"{where}: sources is not a list. Expected a list of author, year, url.")
    texts = []
    for one in sources:
        if isinstance(one, Mapping):
            parts = (str(one[k]) for k in ("author", "year", "title", "url") if k in one)
            one = ". ".join(part.removesuffix(".") for part in parts)
        if not isinstance(one, str) or not one:
            raise OptionError(
                f"{where}: the source {one!r} is empty. Expected author, year, title, url."
            )
        texts.append(one)
    return tuple(texts)


def _groups(groups: object, where: str, phrases: bool) -> Groups:
    if not isinstance(groups, Mapping):
        raise OptionError(
            f"{where} is a {type(groups).__name__}. Expected a mapping, {{group: [terms]}}."
        )
    for label in groups:
        if not isinstance(label, str) or not label.strip():
            raise OptionError(
                f"{where}: the group {label!r} is not a string. Quote its name: YAML reads "
                "no, yes, on, off and numbers as other types."
            )
    return tuple(
        (label, _terms(terms, f"{where}: {label!r}", phrases)) for label, terms in groups.items()
    )


def _terms(terms: object, where: str, phrases: bool) -> tuple[str, ...]:
    """Validate terms and drop duplicates; keeps the first spelling of terms that fold alike."""
    if isinstance(terms, (str, Mapping)) or not isinstance(terms, Iterable):
        raise OptionError(
            f"{where} is {repr(terms)[:80]}. Expected a list of terms, such as ['she', 'her']."
        )
    kept: dict[str, str] = {}
    for term in in_order(terms):
        kept.setdefault(_checked(term, where, phrases), str(term).strip())
    if not kept:
        raise OptionError(f"{where} has no terms. Add at least one, or remove the group.")
    return tuple(kept.values())


def in_order(terms: Iterable) -> list:
    """The terms in their order; a set is sorted alphabetically."""
    return sorted(terms, key=str) if isinstance(terms, (set, frozenset)) else list(terms)


def _checked(term: object, where: str, phrases: bool) -> str:
    """Validate a term; returns a key that is equal for terms that match the same text."""
    if not isinstance(term, str):
        raise OptionError(
            f"{where}: {term!r} is not a string. Quote it: YAML reads no, yes, on, off, "
            "dates and numbers as other types."
        )
    words, gaps = split(term.strip())
    if not words or gaps[0] or gaps[-1]:
        raise OptionError(
            f"{where}: {term!r} does not begin and end with a letter or digit; terms only match "
            "at word boundaries. Remove the punctuation at its ends."
        )
    if not phrases and len(words) > 1:
        raise OptionError(f"{where}: {term!r} has several words. Expected one word.")
    for gap in gaps[1:-1]:
        if len(gap) > _LONGEST_GAP:
            raise OptionError(
                f"{where}: {term!r} has {gap!r} between words. Expected at most {_LONGEST_GAP} "
                "punctuation marks there; split the term, or shorten it."
            )
    pairs = zip(map(folded, words), gaps[1:], strict=True)
    return "".join(part for pair in pairs for part in pair)
