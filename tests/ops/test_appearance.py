"""Colours and blur of tensors: nothing changed is nothing changed, and each change is what its name says."""

import math

import numpy as np
import torch
from PIL import Image, ImageFilter

from depthbox.ops.appearance import blurred, recoloured

SAME = (1.0, 1.0, 1.0, 0.0)


def changed(images: torch.Tensor, **changes: float) -> torch.Tensor:
    names = ("brightness", "contrast", "saturation", "hue")
    row = [changes.get(name, same) for name, same in zip(names, SAME, strict=True)]
    return recoloured(images, torch.tensor([row]).expand(len(images), 4))


def test_no_change_changes_nothing():
    images = torch.rand(2, 3, 5, 7)
    torch.testing.assert_close(changed(images), images)
    torch.testing.assert_close(blurred(images.repeat(1, 1, 2, 2), torch.zeros(2)), images.repeat(1, 1, 2, 2))


def test_each_change():
    images = 0.3 + 0.4 * torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(changed(images, brightness=1.2), 1.2 * images)
    grey = changed(images, saturation=0.0)
    torch.testing.assert_close(grey[:, 0], grey[:, 2])
    weights = torch.tensor([0.299, 0.587, 0.114])
    torch.testing.assert_close(grey[:, 0], torch.einsum("bchw,c->bhw", images, weights))
    flat = changed(images, contrast=0.0)
    torch.testing.assert_close(flat, torch.full_like(flat, float(grey.mean())))
    torch.testing.assert_close(changed(images, hue=1 / 3), images.roll(1, 1), rtol=0, atol=1e-5)
    assert changed(images, brightness=9.0).max() == 1


def test_each_image_has_changes_of_its_own():
    images = torch.full((2, 3, 4, 4), 0.4)
    found = recoloured(images, torch.tensor([SAME, (0.5, 1.0, 1.0, 0.0)]))
    torch.testing.assert_close(found.mean((1, 2, 3)), torch.tensor([0.4, 0.2]))


def test_the_blur_is_gaussian():
    point = torch.zeros(2, 1, 19, 19)
    point[:, :, 9, 9] = 1
    found = blurred(point, torch.tensor([0.0, 1.0]))
    assert torch.equal(found[0], point[0])
    torch.testing.assert_close(found[1].sum(), torch.tensor(1.0))
    torch.testing.assert_close(found[1, 0, 9, 11] / found[1, 0, 9, 9], torch.tensor(math.exp(-2)))
    photo = torch.rand(1, 1, 24, 24)
    other = Image.fromarray((photo[0, 0] * 255).byte().numpy()).filter(ImageFilter.GaussianBlur(1.0))
    centre = slice(6, 18)
    expected = torch.from_numpy(np.array(other))[centre, centre] / 255
    assert (blurred(photo, torch.ones(1))[0, 0, centre, centre] - expected).abs().mean() < 0.02
