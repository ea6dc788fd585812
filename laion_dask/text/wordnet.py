"""Words whose first WordNet synset is in a list, read by NLTK from a folder of WordNet's files.

Nothing is downloaded: the folder is one that the user has, such as ``nltk_data/corpora/wordnet``.
"""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from laion_dask.errors import OptionError
from laion_dask.extras import require_extra
from laion_dask.runtime.process_cache import ProcessCache

#: Words whose answer a process remembers.
_MAX_WORDS = 2_000_000
_readers, _answers = ProcessCache(), ProcessCache()
#: NLTK's reader seeks in shared files.
_lock = threading.Lock()


@dataclass(frozen=True)
class Synsets:
    """A list of synsets, and the WordNet that knows the words.

    Attributes
    ----------
    offsets : frozenset of int
        Offsets of synsets in WordNet's data files. As in DataComp, the part of speech is not
        compared, though synsets of two parts of speech may have one offset.
    folder : str
        The folder with WordNet's files, ``index.noun``, ``data.noun``, and so on.
    sha256 : str
        Digest of the list and of WordNet's index files.
    """

    offsets: frozenset[int]
    folder: str
    sha256: str

    @classmethod
    def open(cls, lines: Iterable[str], folder: str, origin: str) -> Synsets:
        """The synsets of lines such as ``n01440764`` or ``1440764``. Eager.

        Raises
        ------
        OptionError
            When a line is no offset, or the folder has no WordNet.
        MissingExtraError
        """
        require_extra("wordnet", "Looking up words in WordNet")
        offsets = frozenset(_offset(line, origin) for line in lines if line.strip())
        if not offsets:
            raise OptionError(f"{origin} has no synset. Expected one a line, such as n01440764.")
        _reader(folder)
        digest = hashlib.sha256(repr(sorted(offsets)).encode())
        for name in ("index.noun", "index.verb", "index.adj", "index.adv"):
            digest.update((Path(folder) / name).read_bytes())
        return cls(offsets, folder, digest.hexdigest())

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("laion_dask.Synsets", self.sha256)

    def recipe(self) -> dict[str, Any]:
        """The entry of a manifest."""
        return {"synsets": len(self.offsets), "sha256": self.sha256}

    def mentioned(self, texts: Iterable[str | None]) -> list[bool | None]:
        """Whether some word of each text has a first synset in the list; None for None."""
        known: dict[str, bool] = _answers.get(self.sha256, dict)
        if len(known) > _MAX_WORDS:
            known.clear()
        return [
            None if text is None else any(self._has(word, known) for word in text.split())
            for text in texts
        ]

    def _has(self, word: str, known: dict[str, bool]) -> bool:
        if word not in known:
            with _lock:
                found = _reader(self.folder).synsets(word)
            known[word] = bool(found) and found[0].offset() in self.offsets
        return known[word]


def _offset(line: str, origin: str) -> int:
    digits = line.strip().removeprefix("n")
    if not (digits.isascii() and digits.isdigit()):
        raise OptionError(
            f"{origin} has the line {line.strip()!r}. Expected the offset of a synset, such as "
            "n01440764."
        )
    return int(digits)


def _reader(folder: str) -> Any:
    return _readers.get(folder, lambda: _opened(folder))


def _opened(folder: str) -> Any:
    import nltk.data
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):
        def map_wn(self, version="wordnet"):
            """Map to another version, which would have to be installed: not needed here."""

    folder = os.path.abspath(folder)
    if folder not in nltk.data.path:
        nltk.data.path.append(folder)  # NLTK reads files in these folders only
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about WordNets of other languages
            return Reader(nltk.data.FileSystemPathPointer(folder), None)
    except Exception as error:  # a damaged file may fail anywhere in its parser
        raise OptionError(
            f"{folder} is not a folder with WordNet's files: {error}. Expected one with "
            "index.noun, data.noun and the others, such as nltk_data/corpora/wordnet."
        ) from error
