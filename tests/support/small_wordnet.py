"""A folder with WordNet's files, of a few synsets, in the format of WordNet 3.0."""

from __future__ import annotations

from pathlib import Path

#: Lemmas of each synset by part of speech; a lemma's first synset is the first that lists it.
SYNSETS = {
    "n": [["dog", "domestic_dog"], ["frump", "dog"], ["cat"], ["oak", "oak_tree"]],
    "v": [["chase", "dog"], ["run"]],
    "a": [["red"]],
    "r": [["quickly"]],
}
_NAMES = {"n": "noun", "v": "verb", "a": "adj", "r": "adv"}
_EXCEPTIONS = {"noun": "oxen ox\n", "verb": "ran run\n", "adj": "", "adv": ""}
_HEAD = "  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.\n"


def write_wordnet(folder) -> dict[str, list[int]]:
    """Write the files; returns the offsets of the synsets by part of speech."""
    folder = Path(folder)
    folder.mkdir(parents=True)
    lexnames = "\n".join(f"{i:02d}\tname.{i}\t{1 + i % 4}" for i in range(45))
    (folder / "lexnames").write_text(f"{lexnames}\n")
    for name in ("cntlist.rev", "index.sense"):
        (folder / name).write_text("")
    offsets = {}
    for number, (pos, synsets) in enumerate(SYNSETS.items(), 1):
        text, offsets[pos] = _HEAD * number, []  # so that no two have one offset
        for lemmas in synsets:
            offsets[pos].append(len(text))
            words = " ".join(f"{lemma} 0" for lemma in lemmas)
            frames = " 00" if pos == "v" else ""
            text += f"{len(text):08d} 03 {pos} {len(lemmas):02x} {words} 000{frames} | gloss  \n"
        (folder / f"data.{_NAMES[pos]}").write_text(text)
        (folder / f"{_NAMES[pos]}.exc").write_text(_EXCEPTIONS[_NAMES[pos]])
        index = _HEAD
        for lemma in sorted({lemma for lemmas in synsets for lemma in lemmas}):
            of = [o for o, names in zip(offsets[pos], synsets, strict=True) if lemma in names]
            listed = " ".join(f"{offset:08d}" for offset in of)
            index += f"{lemma} {pos} {len(of)} 0 {len(of)} 0 {listed}  \n"
        (folder / f"index.{_NAMES[pos]}").write_text(index)
    return offsets
