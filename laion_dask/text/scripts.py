"""The scripts that texts are written in, and the languages written in each script."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

#: By script, named as in the character names of the Unicode Character Database: the languages
#: (ISO 639-1) written in it. Languages that are not listed are written in Latin letters.
_LANGUAGES = {
    "CYRILLIC": "az be bg bs kk ky mk mn ru sr tg uk uz",
    "ARABIC": "ar az fa ha kk ku ky pa ps tg ur uz",
    "HEBREW": "he", "GREEK": "el", "ARMENIAN": "hy", "GEORGIAN": "ka", "ETHIOPIC": "am",
    "DEVANAGARI": "hi mr ne", "BENGALI": "bn", "GURMUKHI": "pa", "GUJARATI": "gu", "TAMIL": "ta",
    "TELUGU": "te", "KANNADA": "kn", "MALAYALAM": "ml", "SINHALA": "si", "THAI": "th", "LAO": "lo",
    "MYANMAR": "my", "KHMER": "km", "CJK": "zh ja ko", "HIRAGANA": "ja", "KATAKANA": "ja",
    "HANGUL": "ko",
}  # fmt: skip
#: Languages that are also written in Latin letters.
_ALSO_LATIN = frozenset(("az", "bs", "ha", "kk", "ku", "sr", "uz"))
#: First words of character names that are not script names; "" marks letters shared by scripts.
_SYNONYMS = {
    "ROMAN": "LATIN", "TURNED": "LATIN", "IDEOGRAPHIC": "CJK",
    "HENTAIGANA": "HIRAGANA", "MODIFIER": "", "KATAKANA-HIRAGANA": "", "VEDIC": "", "CARON": "",
}  # fmt: skip
#: Codes: no script; Latin; (the scripts above); any other script.
NONE, LATIN, OTHER = 0, 1, len(_LANGUAGES) + 2
#: Scripts whose letters count as two, because each carries more information.
_DENSE = frozenset(("CJK", "HIRAGANA", "KATAKANA", "HANGUL"))
#: Scripts with a smaller share of a text's letters are ignored: a brand name, a symbol.
_MIN_SHARE = 0.25


def possible(texts: pa.Array, languages: Sequence[str]) -> np.ndarray:
    """Mask of the languages that each text can be written in, (n, len(languages)) bool.

    Considers scripts with at least a quarter of a text's letters. All False if most letters belong
    to a script of no known language; all True if the text has no letters.
    """
    weights = np.zeros((len(texts), OTHER + 1))
    ascii_only = pc.fill_null(pc.string_is_ascii(texts), True).to_numpy(zero_copy_only=False)
    weights[ascii_only, LATIN] = 1
    rows = np.flatnonzero(~ascii_only)
    weights[rows] = letters_by_script(texts.take(pa.array(rows)))
    total = weights.sum(axis=1)
    written = _written(tuple(languages))
    mask = (weights >= _MIN_SHARE * total[:, None])[:, 1:] @ written[1:]
    main_script = weights[:, 1:].argmax(axis=1) + 1
    mask &= written[main_script].any(axis=1)[:, None]
    return mask | (total == 0)[:, None]


def letters_by_script(texts: pa.Array) -> np.ndarray:
    """Letters of each script per text; ideographs and syllables count twice; (n, scripts)."""
    lengths = pc.utf8_length(texts).to_numpy()
    joined = "".join(texts.to_pylist()).encode("utf-32-le")
    scripts = _script_of()[np.frombuffer(joined, np.uint32)].astype(np.int64)
    keys = np.repeat(np.arange(len(texts)) * (OTHER + 1), lengths) + scripts
    counts = np.bincount(keys, minlength=len(texts) * (OTHER + 1)).reshape(len(texts), OTHER + 1)
    dense = [script in _DENSE for script in ("", "", *_LANGUAGES, "")]
    counts = counts * np.where(dense, 2, 1)
    counts[:, NONE] = 0
    return counts


@cache
def _script_of() -> np.ndarray:
    """Script code of each code point, (0x110000,) uint8."""
    codes = np.zeros(0x110000, np.uint8)
    code_of = {"": NONE, "LATIN": LATIN, **{name: i for i, name in enumerate(_LANGUAGES, 2)}}
    code_of |= {name: code_of[script] for name, script in _SYNONYMS.items()}
    for first, stop in ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0x20000, 0x34000)):
        codes[first:stop] = code_of["CJK"]
    codes[0xAC00:0xD7A4] = code_of["HANGUL"]
    for point in (*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7B0, 0x20000)):
        letter = chr(point)
        if unicodedata.category(letter)[0] == "L":
            plain = (
                unicodedata.normalize("NFKC", letter).strip() or letter
            )  # maps alphabetic presentation forms to plain letters
            codes[point] = code_of.get(unicodedata.name(plain[0], "?").split(" ")[0], OTHER)
    codes.flags.writeable = False
    return codes


@cache
def _written(languages: tuple[str, ...]) -> np.ndarray:
    """Mask of the languages written in each script, (scripts, len(languages)) bool."""
    by_script = [
        set(),
        set(languages),
        *(set(codes.split()) for codes in _LANGUAGES.values()),
        set(),
    ]
    by_script[LATIN] -= set().union(*by_script[2:]) - _ALSO_LATIN
    return np.array([[code in codes for code in languages] for codes in by_script])
