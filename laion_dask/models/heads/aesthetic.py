"""LAION's aesthetic predictors, versions 1 and 2, as heads."""

from __future__ import annotations

import os
from dataclasses import replace

from laion_dask.errors import OptionError, one_of
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel
from laion_dask.models.heads.compatibility import published_for
from laion_dask.models.heads.linear import LinearHead, linear_head

#: LAION's aesthetic heads by version and model. All were fitted on OpenAI's weights
#: (LAION-AI/aesthetic-predictor and christophschuhmann/improved-aesthetic-predictor, 2022, README).
_AESTHETIC = {
    1: {
        "ViT-L-14:openai": "sa_0_4_vit_l_14_linear.pth",
        "ViT-B-32:openai": "sa_0_4_vit_b_32_linear.pth",
        "ViT-B-16:openai": "sa_0_4_vit_b_16_linear.pth",
    },
    2: {"ViT-L-14:openai": "sac+logos+ava1-l14-linearMSE.pth"},
}


def aesthetic(
    clip: ClipModel | str,
    *,
    version: int = 1,
    weights: str | os.PathLike | None = None,
    precision: str = "float32",
    to: str = "aesthetic",
) -> LinearHead:
    """LAION's aesthetic predictor as a head; scores run from about 0 to 10. Eager.

    Both versions read unit-norm embeddings of OpenAI's models and were fitted on ratings from 0
    to 10; scores can leave that range. Version 1 is one linear map, for ViT-L-14, ViT-B-32 and
    ViT-B-16 (LAION-AI/aesthetic-predictor, 2022, ``sa_0_4_*_linear.pth``). Version 2 has five
    linear layers without activations between them, for ViT-L-14
    (christophschuhmann/improved-aesthetic-predictor, 2022). Loading folds them into one affine map,
    in float64.

    Parameters
    ----------
    clip : ClipModel or str
        The model of the embeddings.
    version : int
        1 or 2.
    weights : path, optional
        The weight file; by default searched for as described in ``laion_dask.models.weights``.
    precision : str
        ``"float32"`` agrees with the published arithmetic within 1e-5. ``"float16"`` rounds the
        weights to float16, for rows stored as float16 on the CPU: it deviates by up to 0.001 and
        runs at memory bandwidth.
    to : str
        The output column.

    Raises
    ------
    OptionError
        For a version or an architecture that has no such head, or an unknown precision.
    ModelMismatchError
        When the weights of ``clip`` are not OpenAI's.
    WeightsError
        When the weight file is missing, altered or damaged.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.aesthetic("ViT-L-14:openai", weights="sa_0_4_vit_l_14_linear.pth")
    >>> head.name, head.clip.name
    ('aesthetic', 'ViT-L-14:openai')
    """
    if type(version) is not int or version not in _AESTHETIC:
        raise OptionError(f"version is {version!r}. Available: 1 and 2.")
    if precision not in ("float32", "float16"):
        raise one_of("precision", precision, ("float32", "float16"))
    home, file = published_for(clip, _AESTHETIC[version], f"aesthetic head, version {version},")
    head = linear_head(weight_files.resolve_weights(weights, file), home, to)
    return replace(head, precision=precision)
