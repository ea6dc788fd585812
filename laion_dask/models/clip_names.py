"""How the names of a CLIP model are spelled: one way for each."""

from __future__ import annotations

import os

from laion_dask.errors import OptionError, did_you_mean, must_be
from laion_dask.models import loading


def clean_arch(arch) -> str:
    """An architecture as open_clip spells it, or the whole path of a configuration.

    Raises
    ------
    OptionError
        When it is neither.
    """
    if not isinstance(arch, (str, os.PathLike)):
        raise OptionError(f"arch is {type(arch).__name__}. Expected a name such as 'ViT-L-14'.")
    arch = os.fspath(arch)
    if arch.endswith(".json"):
        return os.path.abspath(arch)
    name = arch.replace("@336px", "-336").replace("/", "-")
    if name == "demo" or name in loading.built_in_configs():
        return name
    raise OptionError(
        f"arch is {arch!r}, which is no architecture of open_clip and no .json configuration."
        f"{did_you_mean(name, ['demo', *loading.built_in_configs()])}"
    )


def clean_tag(pretrained) -> str | None:
    """open_clip's tag as it spells it, or the whole path of a weight file; ``None`` for neither."""
    if pretrained is None or pretrained == "":
        return None
    must_be("pretrained", pretrained, (str, os.PathLike), "open_clip's tag, or a file of weights")
    tag = os.fspath(pretrained)
    return os.path.abspath(tag) if loading.is_path(tag) else tag.lower().replace("-", "_")
