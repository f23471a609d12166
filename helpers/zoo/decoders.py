"""Decoders of digits: from a few numbers, the code, to an image, and back again.

A code describes what the data have in common, so a path in it goes from digit to digit where a path in pixels
goes anywhere. Two of them, with the same three methods: a variational autoencoder and principal components.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.checks import require_count
from helpers.saliency.scores import checked_target
from helpers.zoo.datasets import DATA_FOLDER, Split, image_split
from helpers.zoo.networks import _initialise, load_or_train, minimise, predict, shift_and_rotate

DIGIT_VAE_FILE = DATA_FOLDER / "digit_vae.pt"
DIGIT_VAE_SHA256 = "9cfca05b36b7ca0970db1bbf93d0211e96b088e49aaa0372e24890a5583c6d14"
SIDE = 28
STANDARD = 16  # numbers of the variational autoencoder's code


def _require_shape(name: str, what: str, values: Tensor, shape: tuple[int, ...]) -> None:
    if values.shape[1:] != shape:
        expected = ", ".join(map(str, ("N", *shape)))
        raise ValueError(f"{name}: expected {what} of shape ({expected}); got {tuple(values.shape)}.")


class Autoencoder(nn.Module):
    """What the decoders of digits share. A new one defines `_codes` and `_images`, both differentiable.

    Attributes:
        size: k, how many numbers a code has.

    Example:
        >>> import torch
        >>> class Brightness(Autoencoder):
        ...     size = 1
        ...     def _codes(self, images):
        ...         return images.mean((1, 2, 3))[:, None]
        ...     def _images(self, codes):
        ...         return codes[:, :, None, None].expand(-1, 1, 28, 28)
        >>> grey = Brightness()
        >>> grey.encode(torch.full((1, 1, 28, 28), 0.5)), grey.decode(torch.ones(1, 1)).shape
        (tensor([[0.5000]]), torch.Size([1, 1, 28, 28]))
    """

    size: int

    def _codes(self, images: Tensor) -> Tensor:
        """Images of shape (N, 1, 28, 28) -> codes of shape (N, k)."""
        raise NotImplementedError

    def _images(self, codes: Tensor) -> Tensor:
        """Codes of shape (N, k) -> images of shape (N, 1, 28, 28)."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """The codes (N, k) of images (N, 1, 28, 28) with values in [0, 1].

        Raises:
            ValueError: images of another shape.
        """
        _require_shape("encode(images)", "images", images, (1, SIDE, SIDE))
        return self._codes(images)

    def decode(self, codes: Tensor) -> Tensor:
        """The images (N, 1, 28, 28) that codes (N, k) stand for.

        Raises:
            ValueError: codes of another shape.
        """
        _require_shape("decode(codes)", "codes", codes, (self.size,))
        return self._images(codes)

    def forward(self, images: Tensor) -> Tensor:
        """Reconstructions decode(encode(images)), (N, 1, 28, 28)."""
        return self.decode(self.encode(images))

    def mean_codes(self, images: Tensor, targets: Tensor) -> Tensor:
        """The mean code of each class, (K, k), without a gradient: K is the highest class plus 1.

        Args:
            images: (N, 1, 28, 28), for example the training images.
            targets: (N,), their classes.

        Raises:
            ValueError: not one target an image, a negative one, or a class without an image.

        Example:
            >>> import torch
            >>> from helpers.zoo.datasets import mnist5k
            >>> split, digits = mnist5k(), digit_pca(components=8)
            >>> digits.mean_codes(split.train_inputs, split.train_targets).shape
            torch.Size([10, 8])
        """
        targets = checked_target(targets, len(images))
        counts = torch.bincount(targets.clamp(min=0))
        if targets.min() < 0 or (counts == 0).any():
            raise ValueError(
                "mean_codes(targets): expected class indices from 0 on, with an image of each class at least; "
                f"got {targets.unique().tolist()}."
            )
        codes = predict(self.encode, images)
        sums = codes.new_zeros(len(counts), self.size).index_add_(0, targets.to(codes.device), codes)
        return sums / counts[:, None].to(codes)


class DigitVAE(Autoencoder):
    """A small variational autoencoder of digits (Kingma & Welling 2014): (N, 1, 28, 28) in [0, 1] <-> (N, k).

    Two convolutions of stride 2 and a hidden layer lead to the mean and the log-variance of the code; the
    decoder goes the same way back and ends in a sigmoid, so its images lie in [0, 1]. Smooth activations (SiLU):
    a path in the code meets no kinks of the decoder's.

    Args:
        size: k, how many numbers the code has.
        channels: of the inner convolution; the outer one has half of them. Even.
        hidden: width of the hidden layers.
        seed: seed of the initial weights.

    Raises:
        ValueError: a width smaller than 1.

    Example:
        >>> import torch
        >>> network = DigitVAE(size=4).eval()
        >>> network.encode(torch.zeros(2, 1, 28, 28)).shape, network.decode(torch.zeros(2, 4)).shape
        (torch.Size([2, 4]), torch.Size([2, 1, 28, 28]))
    """

    def __init__(self, size: int = STANDARD, channels: int = 32, hidden: int = 96, seed: int = 0):
        super().__init__()
        for name, value, least in (("size", size, 1), ("channels", channels, 2), ("hidden", hidden, 1)):
            require_count(f"DigitVAE({name})", value, least)
        self.size = size
        outer, quarter = channels // 2, SIDE // 4
        self.encoder = nn.Sequential(
            nn.Conv2d(1, outer, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(outer, channels, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(channels * quarter**2, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * size),
        )
        self.decoder = nn.Sequential(
            nn.Linear(size, hidden),
            nn.SiLU(),
            nn.Linear(hidden, channels * quarter**2),
            nn.SiLU(),
            nn.Unflatten(1, (channels, quarter, quarter)),
            nn.ConvTranspose2d(channels, outer, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.ConvTranspose2d(outer, 1, 4, stride=2, padding=1),
        )
        _initialise(self, seed)

    def _codes(self, images: Tensor) -> Tensor:
        return self.distribution(images)[0]

    def _images(self, codes: Tensor) -> Tensor:
        return self.decoder(codes).sigmoid()

    def distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the codes of images (N, 1, 28, 28), each (N, k); `encode` gives the mean."""
        mean, log_variance = self.encoder(images).chunk(2, dim=1)
        return mean, log_variance

    def loss(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Mean negative evidence lower bound of images (N, 1, 28, 28), in nats, with one draw of each code."""
        mean, log_variance = self.distribution(images)
        noise = torch.randn(mean.shape, generator=generator).to(mean)
        logits = self.decoder(mean + noise * (log_variance / 2).exp())
        misfit = functional.binary_cross_entropy_with_logits(logits, images, reduction="sum")
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 2
        return (misfit + divergence) / len(images)


class LinearAutoencoder(Autoencoder):
    """Principal components as a decoder: code = components (image - mean), and the transpose back; linear.

    Its images may leave [0, 1]: bounds belong to the coordinates that use it.

    Args:
        mean: of the images, (784,).
        components: (k, 784), orthonormal rows.

    Raises:
        ValueError: another shape.

    Example:
        >>> import torch
        >>> digits = LinearAutoencoder(torch.zeros(784), torch.eye(784)[:2])
        >>> digits.encode(torch.ones(1, 1, 28, 28)), digits.decode(torch.ones(1, 2)).sum()
        (tensor([[1., 1.]]), tensor(2.))
    """

    def __init__(self, mean: Tensor, components: Tensor):
        super().__init__()
        if mean.shape != (SIDE**2,) or components.ndim != 2 or components.shape[1] != SIDE**2:
            raise ValueError(
                f"LinearAutoencoder: expected a mean ({SIDE**2},) and components (k, {SIDE**2}); got shapes "
                f"{tuple(mean.shape)} and {tuple(components.shape)}."
            )
        self.size = len(components)
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    def _codes(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - self.mean) @ self.components.T

    def _images(self, codes: Tensor) -> Tensor:
        return (self.mean + codes @ self.components).unflatten(1, (1, SIDE, SIDE))


def digit_vae(
    retrain: bool = False,
    dataset: str = "mnist5k",
    epochs: int = 80,
    seed: int = 0,
    show_progress: bool = True,
) -> DigitVAE:
    """A trained ``DigitVAE`` of 16 numbers in eval mode, on the CPU in float32, its parameters without gradients.

    Args:
        retrain: train anew (about two minutes) and save nothing: ``helpers.zoo.networks.save_weights`` does that.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows; weights come as those of ``digit_net``.
        epochs: passes over the training images, if it is trained.
        seed: seed of weights, order and draws, if it is trained.
        show_progress: whether training shows a progress bar.

    Raises:
        ValueError: unknown data set, wrong checksum, or a file that does not hold such weights.
        FileNotFoundError: the weights are missing from the repository.

    Example:
        >>> import torch
        >>> from helpers.zoo.networks import digit_net
        >>> stroke = torch.zeros(1, 1, 28, 28)
        >>> stroke[..., 4:24, 13:15] = 1
        >>> digits = digit_vae()
        >>> digits.encode(stroke).shape, digit_net()(digits(stroke)).argmax(1)  # a 1 comes back as a 1
        (torch.Size([1, 16]), tensor([1]))
    """

    def make(classes: int = 10) -> DigitVAE:
        return DigitVAE(seed=seed)

    def train(split: Split, model: DigitVAE) -> None:
        images = split.train_inputs

        def loss(chosen: Tensor, generator: torch.Generator) -> Tensor:
            moved = shift_and_rotate(images[chosen], generator, pixels=1.0, degrees=8.0)
            return model.loss(moved, generator)

        minimise(
            model,
            loss,
            len(images),
            epochs=epochs,
            seed=seed,
            learning_rate=6e-3,
            show_progress=show_progress,
        )

    model = load_or_train(make, train, DIGIT_VAE_FILE, DIGIT_VAE_SHA256, dataset, retrain)
    return model.requires_grad_(False)


def digit_pca(components: int = 48, dataset: str = "mnist5k") -> LinearAutoencoder:
    """The principal components of the training digits (scikit-learn's ``PCA``), in eval mode, float32.

    With 48, ``digit_net`` names 97.5 % of the 1000 test digits rightly after they went through them (96.8 % where
    they are clamped to [0, 1] besides; 98.8 % before); with 34, or 42 where they are clamped, it is 96 %, with 16
    77 %.

    Args:
        components: k, how many.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows.

    Raises:
        ValueError: unknown data set, or more components than pixels or images.

    Example:
        >>> import torch
        >>> digits = digit_pca(components=2)
        >>> codes = torch.tensor([[1.0, -2.0]])
        >>> torch.allclose(digits.encode(digits.decode(codes)), codes, atol=1e-5)
        True
    """
    from sklearn.decomposition import PCA

    images = image_split(dataset).train_inputs.flatten(1).double().numpy()
    require_count("digit_pca(components)", components)
    if components > min(images.shape):
        raise ValueError(
            f"digit_pca(components): expected at most {min(images.shape)} of {images.shape[0]} images with "
            f"{images.shape[1]} pixels; got {components}."
        )
    fitted = PCA(components, svd_solver="covariance_eigh").fit(images)
    parts = (torch.tensor(part, dtype=torch.float32) for part in (fitted.mean_, fitted.components_))
    return LinearAutoencoder(*parts).eval()
