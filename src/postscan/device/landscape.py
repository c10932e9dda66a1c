"""Landscapes that pass for photographs: enough colours, soft shades and grain to compress like one."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

_RGB = tuple[int, int, int]
_GRAIN_TILE = 512


@dataclass(frozen=True, slots=True)
class _Light:
    """The colours of one hour: sky from zenith to horizon, sun, far and near ridges, and the foreground."""

    zenith: _RGB
    middle: _RGB
    horizon: _RGB
    sun: _RGB
    far: _RGB
    near: _RGB
    ground: _RGB


_LIGHTS = (
    _Light(
        zenith=(38, 52, 104),
        middle=(178, 104, 132),
        horizon=(252, 190, 128),
        sun=(255, 236, 190),
        far=(150, 112, 142),
        near=(44, 38, 66),
        ground=(22, 20, 34),
    ),
    _Light(
        zenith=(44, 104, 178),
        middle=(120, 174, 222),
        horizon=(222, 236, 244),
        sun=(255, 252, 236),
        far=(142, 172, 200),
        near=(38, 84, 78),
        ground=(24, 52, 34),
    ),
    _Light(
        zenith=(92, 122, 168),
        middle=(192, 196, 214),
        horizon=(254, 226, 196),
        sun=(255, 244, 214),
        far=(170, 172, 192),
        near=(70, 84, 96),
        ground=(40, 46, 40),
    ),
    _Light(
        zenith=(20, 74, 98),
        middle=(92, 164, 164),
        horizon=(250, 222, 160),
        sun=(255, 246, 200),
        far=(112, 158, 158),
        near=(22, 66, 72),
        ground=(14, 38, 38),
    ),
)


def landscape(size: tuple[int, int], seed: int) -> Image.Image:
    """Return a lake among mountains, the same for the same size in pixels and seed."""
    chance = random.Random(seed)  # noqa: S311 - draws a picture, guards nothing
    light = _LIGHTS[seed % len(_LIGHTS)]
    half = max(2, size[0] // 2), max(2, size[1] // 2)
    shore = round(half[1] * chance.uniform(0.60, 0.68))
    upper = _sky((half[0], shore), light, chance)
    for depth in range(4):
        _ridge(upper, light, depth / 3, chance)
    picture = Image.new("RGB", half)
    picture.paste(_reflection(upper, half[1] - shore, light, chance), (0, shore))
    picture.paste(upper, (0, 0))
    _mist(picture, shore, light)
    _near_bank(picture, light, chance)
    picture = picture.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.UnsharpMask(2, 60, 0))
    return _grain(picture, chance)


def _clouds(
    size: tuple[int, int], chance: random.Random, octaves: int = 7, fading: float = 0.5
) -> Image.Image:
    """Return smooth noise: octaves of random dots, each finer and fainter than the last."""
    noise, total = Image.new("L", size, 128), 0.0
    for octave in range(octaves):
        cells, strength = (3 << octave, 4 << octave), fading**octave
        total += strength
        dots = Image.frombytes("L", cells, chance.randbytes(cells[0] * cells[1]))
        noise = Image.blend(noise, dots.resize(size, Image.Resampling.BICUBIC), strength / total)
    return ImageOps.autocontrast(noise, cutoff=1)


def _sky(size: tuple[int, int], light: _Light, chance: random.Random) -> Image.Image:
    ramp = Image.linear_gradient("L").resize(size, Image.Resampling.BICUBIC)
    sky = ImageOps.colorize(ramp, light.zenith, light.horizon, light.middle)
    glow = round(size[0] * 1.5)
    centre = round(size[0] * chance.uniform(0.22, 0.78)), round(size[1] * chance.uniform(0.46, 0.62))
    corner = centre[0] - glow // 2, centre[1] - glow // 2
    halo = ImageOps.invert(Image.radial_gradient("L")).resize((glow, glow), Image.Resampling.BICUBIC)
    sky.paste(light.sun, corner, halo.point(lambda level: round((level / 255) ** 2.2 * 215)))
    radius = size[0] // 26
    disc = Image.new("L", size, 0)
    ImageDraw.Draw(disc).ellipse(
        (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius), fill=255
    )
    sky.paste((255, 253, 244), (0, 0), disc.filter(ImageFilter.GaussianBlur(radius / 5)))
    veil = _clouds((size[0], size[1] * 3), chance).resize(size, Image.Resampling.BICUBIC)
    fading = ImageOps.invert(ramp).point(lambda level: min(255, level * 2))
    veil = ImageChops.multiply(veil.point(lambda level: max(0, min(190, (level - 118) * 2))), fading)
    bright = tuple(round((channel + 510) / 3) for channel in light.horizon)
    sky.paste(bright, (0, 0), veil)
    return sky


def _ridge(picture: Image.Image, light: _Light, nearness: float, chance: random.Random) -> None:
    """Draw one mountain range; ``nearness`` runs from 0 (pale, high) to 1 (dark, low)."""
    width, height = picture.size
    base = height * (0.60 + 0.27 * nearness)
    swing = height * (0.30 - 0.16 * nearness)
    profile = _rough_line(width, swing, 0.52 + 0.05 * nearness, chance)
    outline = [(x, min(height - 2.0, base - rise)) for x, rise in profile]
    mask = Image.new("L", picture.size, 0)
    ImageDraw.Draw(mask).polygon([*outline, (width, height), (0, height)], fill=255)
    colour = _between(light.far, light.near, nearness)
    # Slopes: noise in relief, lit from the side; haze gathers at the foot.
    surface = _clouds((width + 5, height + 7), chance, 8, 0.62)
    relief = ImageChops.subtract(
        surface.crop((0, 0, width, height)), surface.crop((5, 7, width + 5, height + 7)), 0.5, 128
    )
    dark = _between(colour, (8, 10, 18), 0.35 + 0.3 * nearness)
    pale = _between(colour, light.sun, 0.34 - 0.16 * nearness)
    slopes = ImageOps.colorize(ImageOps.autocontrast(relief, cutoff=2), dark, pale, colour)
    haze = Image.linear_gradient("L").resize(picture.size, Image.Resampling.BICUBIC)
    haze = haze.point(lambda level: max(0, round((level - 120) * (1.15 - 0.75 * nearness))))
    slopes.paste(light.horizon, (0, 0), haze)
    picture.paste(slopes, (0, 0), mask.filter(ImageFilter.GaussianBlur(0.7)))


def _rough_line(
    width: int, swing: float, roughness: float, chance: random.Random
) -> list[tuple[float, float]]:
    """Return (x, height) of a skyline, by midpoint displacement."""
    heights = [chance.uniform(0.1, 0.8) * swing for _ in range(4)]
    step = swing * 0.55
    while len(heights) < width / 3:
        middles = [(left + right) / 2 + chance.uniform(-step, step) for left, right in pairwise(heights)]
        heights = [value for pair in zip(heights, middles, strict=False) for value in pair] + heights[-1:]
        step *= roughness
    return [(index * width / (len(heights) - 1), max(0.0, rise)) for index, rise in enumerate(heights)]


def _reflection(upper: Image.Image, depth: int, light: _Light, chance: random.Random) -> Image.Image:
    """Return the water: what is above, upside down, darker, and broken by ripples."""
    width = upper.width
    mirrored = ImageOps.flip(upper).resize((width, round(upper.height * 0.8)), Image.Resampling.BILINEAR)
    water = mirrored.crop((0, 0, width, depth)).filter(ImageFilter.BoxBlur(2))
    rippled = water.copy()
    y = 0
    while y < depth:
        band = 1 + y * 10 // depth
        shift = round(math.sin(y * 0.9 + chance.uniform(-1, 1)) * (1 + 9 * y / depth))
        rippled.paste(water.crop((0, y, width, y + band)), (shift, y))
        y += band
    water = Image.blend(rippled, Image.new("RGB", rippled.size, light.near), 0.22)
    stripes = _clouds((max(2, width // 12), depth * 2), chance, 7, 0.8).resize(
        (width, depth), Image.Resampling.BICUBIC
    )
    water.paste(light.horizon, (0, 0), stripes.point(lambda level: max(0, (level - 170) * 2)))
    return water


def _mist(picture: Image.Image, shore: int, light: _Light) -> None:
    thickness = picture.height // 24
    band = Image.new("L", (picture.width, thickness * 2), 0)
    ImageDraw.Draw(band).rectangle((0, thickness - 3, picture.width, thickness + 3), fill=255)
    band = band.filter(ImageFilter.GaussianBlur(thickness / 3)).point(lambda level: min(110, level * 3))
    picture.paste(light.horizon, (0, shore - thickness), band)


def _near_bank(picture: Image.Image, light: _Light, chance: random.Random) -> None:
    """Draw the bank on this side, with firs at its left and right."""
    width, height = picture.size
    mask = Image.new("L", picture.size, 0)
    pen = ImageDraw.Draw(mask)
    line = _rough_line(width, height * 0.05, 0.55, chance)
    ground = [(x, height * 0.965 - rise) for x, rise in line]
    pen.polygon([*ground, (width, height), (0, height)], fill=255)
    for _ in range(34):
        side = chance.choice((0.0, 1.0))
        away = abs(chance.gauss(0, 0.13))
        x = width * abs(side - away)
        _fir(pen, x, height * 0.975, height * chance.uniform(0.12, 0.30) * (1 - away), chance)
    texture = _clouds(picture.size, chance, 8, 0.75)
    bank = ImageOps.colorize(
        texture, _between(light.ground, (0, 0, 0), 0.5), _between(light.ground, light.near, 0.7)
    )
    picture.paste(bank, (0, 0), mask)


def _fir(pen: ImageDraw.ImageDraw, x: float, foot: float, height: float, chance: random.Random) -> None:
    pen.rectangle((x - height / 90, foot - height, x + height / 90, foot), fill=255)
    tiers = 14
    for tier in range(tiers):
        top = foot - height * (1 - tier / tiers * 0.9)
        reach = height * (0.03 + 0.17 * tier / tiers)
        left, right = reach * chance.uniform(0.7, 1.15), reach * chance.uniform(0.7, 1.15)
        drop = height * 0.12
        pen.polygon([(x, top), (x - left, top + drop), (x + right, top + drop)], fill=255)


def _grain(picture: Image.Image, chance: random.Random) -> Image.Image:
    """Return the picture with the grain of film, even in all shades."""
    side = _GRAIN_TILE
    tile = Image.frombytes("L", (side, side), chance.randbytes(side * side)).filter(
        ImageFilter.GaussianBlur(0.6)
    )
    grain = Image.new("L", picture.size)
    for x in range(0, picture.width, side):
        for y in range(0, picture.height, side):
            grain.paste(tile, (x, y))
    grain = grain.point(lambda level: round(128 + (level - 128) * 0.13))
    return ImageChops.add(picture, Image.merge("RGB", (grain, grain, grain)), 1, -128)


def _between(one: _RGB, other: _RGB, share: float) -> _RGB:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue
