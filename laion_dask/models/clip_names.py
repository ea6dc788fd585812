"""Normalize the names of CLIP models."""

from __future__ import annotations

import difflib
import os
import re

from laion_dask.errors import OptionError, did_you_mean, must_be, parameter
from laion_dask.models import clip_loading

#: Hugging Face names of OpenAI's models.
_OPENAI = {
    "openai/clip-vit-base-patch32": "ViT-B-32",
    "openai/clip-vit-base-patch16": "ViT-B-16",
    "openai/clip-vit-large-patch14": "ViT-L-14",
    "openai/clip-vit-large-patch14-336": "ViT-L-14-336",
}
_PREFIXES = re.compile(r"(hf-hub:|hf_hub:|hf:|open_clip:|https://huggingface\.co/)")
#: Prefixes that may precede an architecture in a name.
_PUBLISHERS = frozenset({"openai", "open", "laion", "clip", "openclip", "hf", "hub"})
#: The page of a repository, as copied from a browser.
_PAGE = re.compile(r"/tree/[^/]+/?$")
#: The least similarity at which a name counts as a misspelled architecture.
_ALIKE = 0.72


def clean_arch(arch) -> str:
    """An architecture as spelled by open_clip, or the absolute path of a configuration.

    Raises
    ------
    OptionError
        When ``arch`` is neither.
    """
    if not isinstance(arch, (str, os.PathLike)):
        raise OptionError(
            f"{parameter('arch')} is {type(arch).__name__}. Expected a name such as 'ViT-L-14'."
        )
    arch = os.fspath(arch)
    if arch.endswith(".json"):
        return os.path.abspath(arch)
    name = _spelled(arch)
    if _is_arch(name):
        return name
    raise OptionError(
        f"{parameter('arch')} is {arch!r}, which is neither an architecture of open_clip nor a "
        ".json configuration."
        f"{did_you_mean(name, ['demo', *clip_loading.built_in_configs()])}"
    )


def _spelled(arch: str) -> str:
    return arch.replace("@336px", "-336").replace("/", "-")


def _is_arch(name: str) -> bool:
    return name == "demo" or name in clip_loading.built_in_configs()


def clean_tag(pretrained) -> str | None:
    """A tag as spelled by open_clip, or the absolute path of a weight file; ``None`` for None."""
    if pretrained is None or pretrained == "":
        return None
    must_be("pretrained", pretrained, (str, os.PathLike), "a tag of open_clip, or a weight file")
    tag = os.fspath(pretrained)
    return os.path.abspath(tag) if clip_loading.is_path(tag) else tag.lower().replace("-", "_")


def split_name(name: str) -> tuple[str, str | None]:
    """The architecture and the tag in a model's name, in any of the usual spellings.

    ``"ViT-L-14"``, ``"ViT-L/14"``, ``"ViT-L-14:openai"`` (ours), ``"ViT-B-32/laion2b_s34b_b79k"``
    and ``"open_clip:ViT-B-32/laion2b_s34b_b79k"`` (clip-retrieval's),
    ``"openai/clip-vit-large-patch14"`` and ``"hf-hub:laion/CLIP-ViT-H-14-laion2B-s32B-b79K"``
    (Hugging Face's).
    """
    bare = name
    while prefix := _PREFIXES.match(bare):
        bare = bare[prefix.end() :]
    bare = _PAGE.sub("", bare).rstrip("/")
    if bare.lower() in _OPENAI:
        return _OPENAI[bare.lower()], "openai"
    if not bare.endswith(".json") and "/" in bare:
        if published := _published_as(bare):
            return published
        arch, _, tag = bare.rpartition("/")
        if not _is_arch(_spelled(bare.partition(":")[0])) and _is_arch(_spelled(arch)):
            return arch, tag
    arch, _, tag = bare.partition(":")
    return arch, tag or None


def _published_as(repository: str) -> tuple[str, str] | None:
    """The architecture and tag of a Hugging Face repository that open_clip knows."""
    if repository.count("/") != 1 or _is_arch(_spelled(repository.partition(":")[0])):
        return None
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    for arch, tag in list_pretrained():
        hub = get_pretrained_cfg(arch, tag).get("hf_hub") or ""
        if hub.rstrip("/").lower() == repository.lower():
            return arch, tag
    return None


def nearest_arch(name: str) -> str | None:
    """The architecture that a name most likely means.

    ``"ViT-L-14"`` for ``"VIT_L14"``, and for ``"openai/ViT-L-14"`` and ``"ViT-L-14-openai"``.
    """
    architectures = {
        arch.lower().replace("-", ""): arch for arch in ("demo", *clip_loading.built_in_configs())
    }
    plain = re.sub(r"[-_/. ]", "", split_name(name)[0].lower())
    matches = difflib.get_close_matches(plain, architectures, n=1, cutoff=_ALIKE)
    if matches:
        return architectures[matches[0]]
    words = [word for word in re.split(r"[^a-z0-9.]+", name.lower()) if word]
    while words and words[0] in _PUBLISHERS:
        words = words[1:]
    starts = ("".join(words[:n]) for n in range(len(words), 0, -1))
    return next((architectures[start] for start in starts if start in architectures), None)
