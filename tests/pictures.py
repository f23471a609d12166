"""Pictures whose classes a toy network tells by their channels, for the tests of grids and of statistics."""

import torch

from helpers.measure.grids import Grids, make_grids

CLASSES, SIDE = 6, 4


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Toy(torch.nn.Module):
    """Logits: the mean brightness of the image in each channel, one channel a class. Any image size."""

    def forward(self, images):
        return 40 * images.mean((2, 3))


def some_pictures() -> tuple[torch.Tensor, torch.Tensor]:
    targets = torch.arange(60) % CLASSES
    images = 0.1 * noise(60, CLASSES, SIDE, SIDE).float()
    images[torch.arange(60), targets] += 0.5 + 0.01 * torch.arange(60)[:, None, None]
    return images, targets


def grids_of(pictures, **options) -> Grids:
    return make_grids(*pictures, Toy(), **({"count": 9} | options))
