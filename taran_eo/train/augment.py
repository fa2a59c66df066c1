"""Random changes to a crop: geometry, colour, degradation, and ships pasted onto empty sea."""

from functools import cache

import albumentations
import cv2
import numpy as np
from numpy.typing import NDArray

from taran_eo.train.recipe import Augmentation

Pixels = NDArray[np.uint8]
MaskPixels = NDArray[np.bool_]


CALM = 16.0
"""Largest standard deviation, in grey levels, of what a ship may be pasted over: rougher ground is land."""


@cache
def _pipeline(settings: Augmentation) -> albumentations.Compose:
    return albumentations.Compose(
        [
            albumentations.SquareSymmetry(p=1.0),
            albumentations.Affine(
                scale=settings.zoom, rotate=(-45, 45), border_mode=cv2.BORDER_REFLECT_101, p=settings.affine
            ),
            albumentations.RandomBrightnessContrast(0.25, 0.25, brightness_by_max=False, p=settings.colour),
            albumentations.HueSaturationValue(12, 25, 15, p=settings.colour),
            albumentations.RandomGamma((70, 140), p=settings.colour / 2),
            albumentations.OneOf(
                [
                    albumentations.GaussianBlur(blur_limit=(3, 5)),
                    albumentations.GaussNoise(std_range=(0.01, 0.05)),
                    albumentations.ImageCompression(quality_range=(45, 90)),
                    albumentations.Downscale(scale_range=(0.5, 0.9)),
                ],
                p=settings.degrade,
            ),
        ]
    )


def augment(
    pixels: Pixels, mask: MaskPixels, settings: Augmentation, rng: np.random.Generator
) -> tuple[Pixels, MaskPixels]:
    """Change a crop at random; the same generator state gives the same change.

    Args:
        pixels: ``uint8[size, size, 3]``.
        mask: ``bool[size, size]``.
        settings: Probabilities and ranges.
        rng: Source of chance.

    Returns:
        The changed crop, of the same shapes.
    """
    if rng.random() < settings.haze:
        pixels = haze(pixels, rng)
    pipeline = _pipeline(settings)
    pipeline.set_random_seed(int(rng.integers(2**31)))
    changed = pipeline(image=np.ascontiguousarray(pixels), mask=np.ascontiguousarray(mask).view(np.uint8))
    return changed["image"], changed["mask"].astype(bool)


def haze(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Veil a crop evenly with a bright grey: as much as 85 %, through which a large ship is a few grey levels.

    Args:
        pixels: ``uint8[size, size, 3]``.
        rng: Source of chance.

    Returns:
        The veiled crop.
    """
    density = rng.uniform(0.2, 0.85)
    colour = rng.uniform(130, 220) + rng.uniform(-12, 12, size=3)
    veiled = (1 - density) * pixels.astype(np.float32) + density * colour
    return np.rint(veiled).astype(np.uint8)


def paste(
    pixels: Pixels, mask: MaskPixels, donor: Pixels, donor_mask: MaskPixels, rng: np.random.Generator
) -> tuple[Pixels, MaskPixels]:
    """Paste the ships of a donor crop onto another, turned and shifted in brightness to the new sea.

    The donor is kept for 2 pixels around the mask and fades over 2 more, and its own sea level around its ships is
    replaced by the receiver's, so that the network cannot learn to find pastings by their rim. Where the receiver is
    rough (land, harbour), nothing is pasted.

    Args:
        pixels: Receiver, ``uint8[size, size, 3]``.
        mask: Its ships, ``bool[size, size]``.
        donor: Crop with ships, of the same shape.
        donor_mask: Its ships.
        rng: Source of chance.

    Returns:
        The receiver with the donor's ships, and both masks together.
    """
    turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
    donor, donor_mask = np.rot90(donor, turns), np.rot90(donor_mask, turns)
    if mirrored:
        donor, donor_mask = donor[:, ::-1], donor_mask[:, ::-1]
    donor_mask = np.ascontiguousarray(donor_mask)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    near = cv2.dilate(donor_mask.view(np.uint8), kernel)
    ring = (cv2.dilate(near, kernel, iterations=2) > near) & ~donor_mask
    if not ring.any() or not donor_mask.any() or pixels[near > 0].std(axis=0).mean() > CALM:
        return pixels, mask
    shift = pixels[near > 0].mean(axis=0) - donor[ring].mean(axis=0)
    alpha = cv2.GaussianBlur(near.astype(np.float32), (5, 5), 0)[..., None]
    moved = donor + shift.astype(np.float32)
    blended = alpha * moved + (1 - alpha) * pixels
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8), mask | donor_mask
