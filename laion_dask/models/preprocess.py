"""open_clip's preprocessing in two halves: pixels of one image, and values of a whole batch.

The intermediate result has 8 bits per channel, a quarter of the bytes of float32: it is cheaper to
stack, and to send to a GPU, where the second half then runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from laion_dask.io.images.decoding import as_rgb, with_range

if TYPE_CHECKING:
    import torch
    from PIL import Image

#: Modes whose bands are resampled with a filter; others use the nearest pixel, or are rare.
_RESAMPLED = ("RGB", "L", "RGBA", "LA", "CMYK", "YCbCr", "RGBX")


class Preprocess:
    """The two halves of open_clip's transform.

    Parameters
    ----------
    transform : torchvision.transforms.Compose
        The evaluation transform of ``open_clip.create_model_and_transforms``: steps over images,
        one step to a tensor in [0, 1], and ``Normalize``.
    """

    def __init__(self, transform) -> None:
        from torchvision.transforms import Normalize

        *steps, normalize = transform.transforms
        names = [type(step).__name__ for step in steps]
        if not isinstance(normalize, Normalize) or names[-1:] != ["MaybeToTensor"]:
            raise ValueError(f"unknown preprocessing: {names}")
        # We convert to RGB ourselves: open_clip's step warns about palettes with transparency.
        self._steps = [step for step in steps[:-1] if type(step).__name__ != "MaybeConvertMode"]
        self._crop = _shortest_and_centre(self._steps)
        self._mean, self._std = list(normalize.mean), list(normalize.std)

    def pixels(self, picture: Image.Image) -> np.ndarray:
        """An image as the model sees it, (height, width, 3) uint8.

        If the transform scales the short side and then crops the center, only the center is
        computed, with the same filter at the same positions. Pillow filters rows first or columns
        first, whichever is less work, and rounds between the two; if that choice differs, a pixel
        can differ by a few of its 255 steps.

        As in open_clip, an image is resized in its own mode and converted to RGB afterwards:
        colors under transparent pixels do not bleed, and palettes and single bits use the nearest
        pixel.
        """
        picture = with_range(picture)
        if self._crop is not None and picture.mode in _RESAMPLED:
            picture = _resized_centre(picture, *self._crop)
        else:
            for step in self._steps:
                picture = step(picture)
        return np.asarray(as_rgb(picture))

    def numbers(self, pixels: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """A batch of pixels, (n, height, width, 3) uint8, as (n, 3, height, width) of a dtype.

        ``(x / 255 - mean) / std``, as one product and one sum in float32.
        """
        import torch

        n, height, width, _ = pixels.shape
        std = torch.tensor(self._std, device=pixels.device)
        shift = (-torch.tensor(self._mean, device=pixels.device) / std).repeat(width)
        scale = (1 / (255 * std)).repeat(width)
        rows = pixels.reshape(n, height, width * 3)
        out = torch.empty(rows.shape, dtype=dtype, device=pixels.device)
        step = 1 if pixels.device.type == "cpu" else n  # one image fits in a core's cache
        for at in range(0, n, step):
            out[at : at + step] = rows[at : at + step].float().mul_(scale).add_(shift)
        return out.view(n, height, width, 3).permute(0, 3, 1, 2)


def _shortest_and_centre(steps: list) -> tuple | None:
    """(short side, crop's (height, width), filter) if the steps do exactly that, else None."""
    from torchvision.transforms import CenterCrop, Resize
    from torchvision.transforms.functional import pil_modes_mapping

    if len(steps) != 2 or type(steps[0]) is not Resize or type(steps[1]) is not CenterCrop:
        return None
    resize, crop = steps[0], tuple(steps[1].size)
    side = resize.size[0] if isinstance(resize.size, (list, tuple)) else resize.size
    square = not isinstance(resize.size, (list, tuple)) or len(resize.size) == 1
    if not square or resize.max_size is not None or max(crop) > side:
        return None
    return side, crop, pil_modes_mapping[resize.interpolation]


def _resized_centre(picture: Image.Image, side: int, crop: tuple[int, int], filter_: int):
    """torchvision's ``Resize(side)`` and ``CenterCrop(crop)`` in one step."""
    width, height = picture.size
    short, long = min(width, height), max(width, height)
    stretched = int(side * long / short)  # truncated, as torchvision does
    new_width, new_height = (side, stretched) if width <= height else (stretched, side)
    left, top = round((new_width - crop[1]) / 2.0), round((new_height - crop[0]) / 2.0)
    across, down = width / new_width, height / new_height
    box = (left * across, top * down, (left + crop[1]) * across, (top + crop[0]) * down)
    return picture.resize(crop[::-1], filter_, box=_inside(box, width, height))


def _inside(box: tuple, width: int, height: int) -> tuple:
    # Rounding can put the product of a quotient just outside the image, which Pillow rejects.
    return (box[0], box[1], min(box[2], width), min(box[3], height))
