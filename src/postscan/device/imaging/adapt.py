"""Bringing a page to the colours and the resolution that a ticket asks for (worker process only)."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image, ImageCms

from postscan.device.errors import ImageError
from postscan.device.imaging.icc import srgb_profile
from postscan.device.imaging.page import Page, require_size
from postscan.device.imaging.request import ColorMode

_PILLOW_MODES = {ColorMode.BLACK_AND_WHITE: "1", ColorMode.GRAYSCALE: "L", ColorMode.RGB: "RGB"}
_WITH_ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
_PROFILE_SPACES = {"L": b"GRAY", "I;16": b"GRAY", "P": b"RGB ", "RGB": b"RGB ", "CMYK": b"CMYK"}
_WEAK_CONTRAST = 40.0


def adapt(
    page: Page,
    *,
    modes: frozenset[str],
    color: ColorMode | None,
    resolution: int | None,
    newest_profile: int,
    name: str,
) -> Page:
    """Return the page as it can be encoded.

    :param modes: the Pillow modes that the format holds, of 1, L, P, I;16, RGB and CMYK.
    :param color: the colour mode asked for; None keeps the page's where the format holds it, and otherwise
        takes the nearest that the format holds.
    :param resolution: dots per inch asked for. A page that does not tell its own is taken to have them.
    :param newest_profile: the newest major version of an ICC profile that the format carries, 0 for none;
        the colours of others are turned into sRGB.
    :raises ImageError: the page would be too large, or has pixels of a kind no format holds.
    """
    wanted = _PILLOW_MODES[color] if color is not None else None
    targets = frozenset({wanted}) if wanted is not None else modes
    image = _without_transparency(page.image)
    if (profile := image.info.get("icc_profile")) and (
        image.mode not in targets or not _may_go_along(profile, image.mode, newest_profile)
    ):
        image = _in_srgb(image)
    page = page.with_image(image)
    if resolution is not None:
        page = _at_resolution(page, resolution, name, bilevel="1" in targets)
    return page.with_image(_in_mode(page.image, targets, name))


def _without_transparency(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency on white, as paper is."""
    if image.mode not in _WITH_ALPHA and "transparency" not in image.info:
        return image
    over = image.convert("RGBA")
    paper = Image.new("RGBA", over.size, "white")
    flat = Image.alpha_composite(paper, over).convert("L" if image.mode in ("LA", "La", "L", "1") else "RGB")
    if profile := image.info.get("icc_profile"):
        flat.info["icc_profile"] = profile
    return flat


def _may_go_along(profile: bytes, mode: str, newest: int) -> bool:
    """Tell whether a profile is old enough for the format, and of the page's own kind (ICC.1, 7.2)."""
    return len(profile) > 128 and profile[8] <= newest and profile[16:20] == _PROFILE_SPACES.get(mode)


def _in_srgb(image: Image.Image) -> Image.Image:
    """Turn colours that a profile describes into sRGB; a profile that does not fit is passed over."""
    profile = image.info["icc_profile"]
    bare = image.convert("RGB") if image.mode == "P" else image.copy()
    bare.info.pop("icc_profile", None)
    if bare.mode not in ("RGB", "CMYK"):
        return bare
    try:
        converted = ImageCms.profileToProfile(
            bare, io.BytesIO(profile), io.BytesIO(srgb_profile()), outputMode="RGB"
        )
    except ImageCms.PyCMSError:
        return bare
    if converted is None:
        return bare
    converted.info.pop("icc_profile", None)
    return converted


def _at_resolution(page: Page, resolution: int, name: str, *, bilevel: bool) -> Page:
    wanted = (float(resolution), float(resolution))
    across, down = page.dpi or wanted
    width, height = page.image.size
    size = max(1, round(width * resolution / across)), max(1, round(height * resolution / down))
    if size == page.image.size:
        return replace(page, dpi=wanted)
    require_size(f"{name} at {resolution} dpi", *size)
    smooth = page.image
    if smooth.mode not in ("L", "RGB", "CMYK"):
        smooth = _in_mode(smooth, frozenset({"L", "RGB"}), name)
    resized = smooth.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    if page.image.mode == "1" and bilevel:
        resized = resized.point(lambda level: 255 if level >= 128 else 0, "1")
    if profile := smooth.info.get("icc_profile"):
        resized.info["icc_profile"] = profile
    return replace(page.with_image(resized), dpi=wanted)


def _in_mode(image: Image.Image, modes: frozenset[str], name: str) -> Image.Image:
    """Return the image in one of ``modes``: its own, else the nearest."""
    if image.mode in modes:
        return image
    if image.mode.startswith("I;16"):
        if "I;16" in modes:
            return image
        image = image.convert("I").point(lambda level: level / 256).convert("L")
    elif image.mode in ("I", "F"):
        raise ImageError(
            f"{name} has pixels of 32 bits, which no format holds.", advice="Save it with 8 bits a colour."
        )
    if image.mode in modes:
        return image
    if modes == {"1"}:
        return threshold(image)
    gray = image.mode in ("1", "L")
    target = "L" if "L" in modes and (gray or "RGB" not in modes) else "RGB"
    return image.convert(target)


def threshold(image: Image.Image) -> Image.Image:
    """Return a page in black and white, cut at the level that parts ink from paper best.

    That keeps the edges of text clean (and Group 4 small), where dithering would fray them. The level is
    Otsu's (IEEE Trans. SMC 9, 1979): the one with the greatest variance between the two classes. A page
    with next to no contrast, such as a blank one, is cut in the middle instead, so that paper stays white.
    """
    gray = image.convert("L")
    level = _otsu_level(gray.histogram())
    return gray.point(lambda value: 255 if value > level else 0, "1")


def _otsu_level(histogram: list[int]) -> int:
    total = sum(histogram)
    weighted_total = sum(level * count for level, count in enumerate(histogram))
    best, best_level, contrast = -1.0, 127, 0.0
    below = weighted_below = 0
    for level, count in enumerate(histogram[:-1]):
        below += count
        weighted_below += level * count
        if not below or below == total:
            continue
        dark, light = weighted_below / below, (weighted_total - weighted_below) / (total - below)
        between = below * (total - below) * (light - dark) ** 2
        if between > best:
            best, best_level, contrast = between, level, light - dark
    return best_level if contrast >= _WEAK_CONTRAST else 127
