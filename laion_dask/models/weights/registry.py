"""The published weight files of the heads, and their publishers' statements."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from laion_dask.errors import WeightsError, did_you_mean


@dataclass(frozen=True)
class PublishedFile:
    """A weight file as offered by its publisher.

    Attributes
    ----------
    name : str
        The published file name, by which it is searched for.
    use : str
        Its purpose.
    publisher : str
        The page of the publisher.
    licence : str
        SPDX identifier; ``"NOASSERTION"`` if unknown.
    address : str or None
        The download address; ``None`` if the file is not offered in a supported format.
    n_bytes : int or None
    sha256 : str or None
        Hexadecimal. Without it a copy cannot be verified, so such a file is never downloaded: it is
        only used from a path or a folder that the user gives.
    instead : str
        Instructions for obtaining a file that has no address.
    """

    name: str
    use: str
    publisher: str
    licence: str
    address: str | None
    n_bytes: int | None
    sha256: str | None
    instead: str = ""

    @property
    def can_be_fetched(self) -> bool:
        """Whether `download` can download it."""
        return None not in (self.address, self.n_bytes, self.sha256)


def _from_github(
    repository: str, licence: str, use: str, *files: tuple, folder: str = ""
) -> list[PublishedFile]:
    """Files in a folder of the ``main`` branch of a GitHub repository.

    Parameters
    ----------
    repository : str
        ``owner/name``.
    licence : str
        As stated by the repository.
    use : str
    *files : (name, bytes, sha256)
        The last two are None if they are not published.
    folder : str
        Ends with a slash.
    """
    page = f"https://github.com/{repository}"
    return [
        PublishedFile(
            name, use, page, licence, f"{page}/raw/main/{folder}{quote(name)}", n_bytes, sha256
        )
        for name, n_bytes, sha256 in files
    ]


def _q16(arch: str, n_bytes: int, digest: str) -> PublishedFile:
    """Q16's prompts as an array; the publisher offers them as a pickle, which is code.

    The license is the one on a badge in its README.
    """
    name = f"q16_prompts_{arch.lower().replace('-', '_')}.npy"
    page = "https://github.com/ml-research/Q16"
    instead = (
        f"It is only offered as the pickle data/{arch}/prompts.p in {page}, and a pickle is code, "
        "which is never run here. If you trust it, convert it once: numpy.save("
        f"{name!r}, numpy.asarray(pickle.load(open('prompts.p', 'rb')), 'float16'))."
    )
    use = "inappropriate, Q16's own prompts"
    return PublishedFile(name, use, page, "MIT", None, n_bytes, digest, instead)


_FILES = (
    *_from_github(
        "LAION-AI/aesthetic-predictor",
        "MIT",
        "aesthetic, version 1",
        (
            "sa_0_4_vit_l_14_linear.pth",
            4071,
            "2cd4e60f4f24ae3bcd57b847b13c1f3ba27edc28cc1a7f9ce74ee9f421243cba",
        ),
        (
            "sa_0_4_vit_b_32_linear.pth",
            3047,
            "c7b14cead230694acc7b9447974d3cad78003c72da032e402a303b6c2429e85f",
        ),
        (
            "sa_0_4_vit_b_16_linear.pth",
            3047,
            "8ad3923d7ecf019df20ecd2ab5542a3075fbba0278d239c0371345f3d7fcbde0",
        ),
    ),
    *_from_github(
        "christophschuhmann/improved-aesthetic-predictor",
        "Apache-2.0",
        "aesthetic, version 2",
        (
            "sac+logos+ava1-l14-linearMSE.pth",
            3714759,
            "21dd590f3ccdc646f0d53120778b296013b096a035a2718c9cb0d511bff0f1e0",
        ),
    ),
    *_from_github(
        "LAION-AI/CLIP-based-NSFW-Detector",
        "MIT",
        "nsfw",
        (
            "clip_autokeras_binary_nsfw.zip",
            1094585,
            "905520bb0336accc73ee282c605d926aef90cf14248889d44b9cee50eef71f8a",
        ),
        (
            "clip_autokeras_nsfw_b32.zip",
            231831,
            "78715ab9d64485167e8c9ade3b8e6761a17a16c24d114bd47431ac1dab46462b",
        ),
        ("h14_nsfw.pth", None, None),
    ),
    *_from_github(
        "LAION-AI/LAION-5B-WatermarkDetection",
        "NOASSERTION",
        "watermark",
        ("watermark_model_v1.pt", None, None),
        folder="models/",
    ),
    *_from_github(
        "LAION-AI/CLIP-based-NSFW-Detector",
        "MIT",
        "inappropriate, Q16's prompts normalized",
        (
            "violence_detection_vit_l_14.npy",
            6272,
            "cc08f81ef50b1ef71452ddc87285fe6fbbc01b6fe8f8b8c24482c386ef2ab7e1",
        ),
        (
            "violence_detection_vit_b_32.npy",
            4224,
            "76909cca3e77abbbb21313895756773a9c6fb26c9cc743f3ef0625f025741982",
        ),
    ),
    _q16("ViT-L-14", 3200, "eb1426d84248dc6ed46b854e4b536a4d14fd2b9de89cd9e6ed3bbafd246d6f98"),
    _q16("ViT-B-32", 2176, "ed5c7a0456df4722b290b28a537b5682eb7e68a10bc7bba41ed5aea32a53e520"),
    _q16("ViT-B-16", 2176, "9fb06bbf3b8206eca390d9114015a7eef53ed99ee8a9b2eb27e664072bcae1f8"),
)
#: Every published file known to the package, by name.
REGISTRY: dict[str, PublishedFile] = {file.name: file for file in _FILES}


def known(name: str) -> PublishedFile:
    """The registered file with this name.

    Raises
    ------
    WeightsError
        When no weight file has that name.
    """
    if name not in REGISTRY:
        raise WeightsError(f"No weight file is known as {name!r}.{did_you_mean(name, REGISTRY)}")
    return REGISTRY[name]
