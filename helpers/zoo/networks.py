"""Networks that the notebooks explain: an MLP, linear models, classifiers of digits; their training and weights."""

import hashlib
import io
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, fx, nn
from torch.nn import functional
from torchvision.ops import Conv2dNormActivation
from torchvision.transforms import v2
from tqdm.auto import tqdm

from helpers.files import write_whole
from helpers.zoo.datasets import CACHE_FOLDER, DATA_FOLDER, Split, breast_cancer, image_split

DIGIT_NET_FILE = DATA_FOLDER / "digit_net.pt"
DIGIT_NET_SHA256 = "ea8d28137444e93d0b7c5b226051889c03319a5c6115331ee2adb58682f51984"
DIGIT_WITNESS_FILE = DATA_FOLDER / "digit_witness.pt"
DIGIT_WITNESS_SHA256 = "32bd06c180c6edf33a7306640dcac6f0112b2617d530d2fcdf1c59951d860eef"
DIGIT_VIT_FILE = DATA_FOLDER / "digit_vit.pt"
DIGIT_VIT_SHA256 = "42a54147906b1ad0e340e1f48bdb56a3ebb7a452e734c560f777b9026323a34f"

ARRANGEMENTS = 256  # most that `plant` draws for one canvas

# side in px and number of digits of the canvases that `digit_vit` learns from, equally often
CANVASES = (*[(28, 1)] * 5, (56, 2), (56, 3), (56, 4), (84, 3), (84, 4))


def _initialise(model: nn.Module, seed: int) -> None:
    """He initialisation from a generator of its own, so that the global random state decides nothing."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(module.bias)


def mlp(
    inputs: int,
    outputs: int,
    hidden: tuple[int, ...] = (32, 32),
    activation: type[nn.Module] = nn.ReLU,
    seed: int = 0,
) -> nn.Sequential:
    """A multilayer perceptron, (N, inputs) -> (N, outputs), without an activation after the last layer.

    Args:
        inputs: number of features.
        outputs: number of classes; 1 for a single score whose positive side is class 1.
        hidden: widths of the hidden layers; an empty tuple gives an affine model.
        activation: class of the activation, for example ``nn.ReLU`` (piecewise linear) or ``nn.Tanh``
            (smooth).
        seed: seed of the initial weights.

    Raises:
        ValueError: a width is smaller than 1.

    Example:
        >>> import torch
        >>> mlp(inputs=4, outputs=3, hidden=(8,))(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    widths = (inputs, *hidden, outputs)
    if min(widths) < 1:
        raise ValueError(
            f"mlp: expected every width (inputs, hidden, outputs) to be at least 1, got {widths}."
        )
    layers: list[nn.Module] = []
    for before, after in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(before, after), activation()]
    model = nn.Sequential(*layers[:-1])
    _initialise(model, seed)
    return model


def from_logistic_regression(estimator, dtype: torch.dtype = torch.float64) -> nn.Linear:
    """The decision function of a fitted ``sklearn.linear_model.LogisticRegression`` as a linear layer.

    Two classes give one column, the log-odds of class 1; K classes give their K logits.

    Raises:
        ValueError: the estimator is not fitted.

    Example:
        >>> import torch
        >>> from sklearn.linear_model import LogisticRegression
        >>> inputs = torch.tensor([[0.0], [1.0], [2.0], [3.0]], dtype=torch.float64)
        >>> layer = from_logistic_regression(LogisticRegression().fit(inputs.numpy(), [0, 0, 1, 1]))
        >>> (layer(inputs)[:, 0] > 0).int()
        tensor([0, 0, 1, 1], dtype=torch.int32)
    """
    if not hasattr(estimator, "coef_"):
        raise ValueError(
            f"from_logistic_regression: expected a fitted estimator, got {type(estimator).__name__} without "
            "coef_; call its fit(inputs, targets) first."
        )
    weight = torch.tensor(estimator.coef_, dtype=dtype)
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(torch.tensor(estimator.intercept_, dtype=dtype))
    return layer.eval()


class Preprocessed(nn.Module):
    """A model behind a preprocessing, so that it takes what the preprocessing takes: pixel values in [0, 1], say.

    Args:
        preprocessing: a module or function from pixel values (N, C, H, W) to the model's inputs; differentiable.
        model: from those to outputs (N, K).

    Example:
        >>> import torch
        >>> grey = Preprocessed(lambda pixels: pixels.mean(1, keepdim=True), torch.nn.Flatten())
        >>> grey(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 16])
    """

    def __init__(self, preprocessing: Callable[[Tensor], Tensor], model: nn.Module):
        super().__init__()
        self.model, self.preprocessing = model, preprocessing

    def forward(self, pixels: Tensor) -> Tensor:
        """Outputs (N, K) for pixel values (N, C, H, W)."""
        # a copy: a preprocessing may work in place, and the pixels are the caller's
        return self.model(self.preprocessing(pixels.clone()))


def with_normalisation(
    model: nn.Module, mean: float | Sequence[float], std: float | Sequence[float]
) -> Preprocessed:
    """A model behind torchvision's ``v2.Normalize``: it takes pixel values in [0, 1].

    Args:
        model: from normalised images (N, C, H, W) to outputs (N, K).
        mean, std: one number, or one per channel, in pixel values from 0 to 1; std positive.

    Raises:
        ValueError: a std that is not positive, or something other than finite numbers.

    Example:
        >>> import torch
        >>> with_normalisation(torch.nn.Flatten(), mean=0.5, std=0.25)(torch.tensor([[[[0.5, 0.75]]]]))
        tensor([[0., 1.]])
    """
    channels = []
    for name, value in (("mean", mean), ("std", std)):
        numbers = torch.as_tensor(value, dtype=torch.double)
        if numbers.ndim > 1 or not torch.isfinite(numbers).all():
            raise ValueError(
                f"with_normalisation({name}): expected a finite number or one per channel; got {value!r}."
            )
        channels.append(numbers.reshape(-1).tolist())
    if min(channels[1]) <= 0:
        raise ValueError(f"with_normalisation(std): expected positive numbers; got {std!r}.")
    return Preprocessed(v2.Normalize(*channels), model)


@fx.wrap
def require_digits(images: Tensor, smallest: int, name: str = "DigitNet") -> None:
    """Raises ValueError unless the images are (N, 1, H, W), H and W at least that many pixels.

    Wrapped, so that a network that calls it can still be traced, and be cut at a layer.

    Example:
        >>> import torch
        >>> require_digits(torch.zeros(1, 28, 28), smallest=28)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: DigitNet: expected images of shape (N, 1, H, W) with H, W >= 28, got (1, 28,...
    """
    if images.ndim != 4 or images.shape[1] != 1 or min(images.shape[2:]) < smallest:
        raise ValueError(
            f"{name}: expected images of shape (N, 1, H, W) with H, W >= {smallest}, got "
            f"{tuple(images.shape)}; add the missing dimensions, or pad the images with zeros."
        )


class DigitNet(nn.Module):
    """A small fully convolutional classifier: (N, 1, H, W) images in [0, 1] -> (N, classes) logits.

    Six 3x3 convolutions with batch normalisation bring the image to a quarter of its size (receptive field
    29 px, about one digit); a 1x1 convolution gives a map of logits for each class; the logits are its
    average. So any image of at least 28 px is taken, and in a 2x2 grid of digits the logit of a class is the
    mean of what the four cells say about it (Lin et al. 2013, Zhou et al. 2016: global average pooling).

    Attributes:
        features: the convolutions, (N, 1, H, W) -> (N, 64, H/4, W/4).
        classifier: the 1x1 convolution, (N, 64, h, w) -> (N, classes, h, w).

    Example:
        >>> import torch
        >>> network = DigitNet().eval()
        >>> [tuple(network(torch.zeros(2, 1, side, side)).shape) for side in (28, 56)]  # digits, grids
        [(2, 10), (2, 10)]
    """

    smallest = 28

    def __init__(self, classes: int = 10, seed: int = 0):
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in (
            (1, 16, 1),
            (16, 16, 2),
            (16, 32, 1),
            (32, 32, 2),
            (32, 64, 1),
            (64, 64, 1),
        ):
            convolution = nn.Conv2d(before, after, kernel_size=3, stride=stride, padding=1)
            layers += [convolution, nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(64, classes, kernel_size=1)
        _initialise(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 1, H, W), H and W at least 28 px.

        Raises:
            ValueError: another number of dimensions or channels, or a smaller image.
        """
        require_digits(images, self.smallest)
        return self.classifier(self.features(images)).mean(dim=(2, 3))


class VitBlock(nn.Module):
    """A transformer's block on maps: (N, C, h, w) -> (N, C, h, w).

    Three steps, each added to what came in: a depth-wise 3x3 convolution, from whose zero padding and neighbours
    a token learns its position; self-attention over all h w tokens; a perceptron on each. The attention is
    written out, because torch's own has no forward mode of automatic differentiation on the CPU.

    Args:
        width: channels C.
        heads: of the attention; they divide the width.

    Example:
        >>> import torch
        >>> VitBlock(width=8, heads=2)(torch.zeros(1, 8, 5, 3)).shape
        torch.Size([1, 8, 5, 3])
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.position = nn.Conv2d(width, width, kernel_size=3, padding=1, groups=width)
        self.before_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.joined = nn.Linear(width, width)
        self.perceptron = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape."""
        maps = maps + self.position(maps)
        tokens = maps.flatten(2).transpose(1, 2)
        tokens = tokens + self.attended(self.before_attention(tokens))
        tokens = tokens + self.perceptron(tokens)
        return tokens.transpose(1, 2).reshape(maps.shape)

    def attended(self, tokens: Tensor) -> Tensor:
        """Multi-head self-attention of tokens (N, T, C)."""
        parts = self.queries_keys_values(tokens).unflatten(2, (3, self.heads, -1))
        queries, keys, values = (parts[:, :, part].transpose(1, 2) for part in range(3))  # (N, heads, T, d)
        scores = queries @ keys.transpose(2, 3) * keys.shape[3] ** -0.5
        return self.joined((scores.softmax(3) @ values).transpose(1, 2).flatten(2))


class DigitVit(nn.Module):
    """A small vision transformer: (N, 1, H, W) images in [0, 1] -> (N, classes) logits.

    Two 3x3 convolutions of stride 2 make a token of each 4 x 4 px; blocks of self-attention follow, whose
    depth-wise convolutions tell the positions (conditional positional encodings, Chu et al. 2021, arXiv
    2102.10882), so that images of any size from 28 px on are taken. The logits are linear in an average of the
    tokens, whose weights are a softmax over the tokens of what each says of itself. Nothing is normalised over the
    batch: what is usual on a digit and on a canvas that is mostly empty differs too much.

    Attributes:
        stem: the convolutions, (N, 1, H, W) -> (N, C, H/4, W/4).
        blocks: the transformer's, each from (N, C, H/4, W/4) to the same shape.

    Example:
        >>> import torch
        >>> network = DigitVit().eval()
        >>> [tuple(network(torch.zeros(2, 1, side, side)).shape) for side in (28, 84)]  # digits, canvases
        [(2, 10), (2, 10)]
    """

    smallest = 28

    def __init__(self, classes: int = 10, width: int = 48, depth: int = 3, heads: int = 3, seed: int = 0):
        super().__init__()
        layer = partial(
            Conv2dNormActivation, stride=2, norm_layer=None, activation_layer=nn.GELU, inplace=None
        )
        self.stem = nn.Sequential(layer(1, width // 2), layer(width // 2, width))
        self.blocks = nn.Sequential(*(VitBlock(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.weight = nn.Linear(width, 1)
        self.classifier = nn.Linear(width, classes)
        _initialise(self, seed)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 1, H, W), H and W at least 28 px.

        Raises:
            ValueError: another number of dimensions or channels, or a smaller image.
        """
        require_digits(images, self.smallest, "DigitVit")
        tokens = self.norm(self.blocks(self.stem(images)).flatten(2).transpose(1, 2))
        return self.classifier((self.weight(tokens).softmax(1) * tokens).sum(1))


def shift_and_rotate(
    images: Tensor, generator: torch.Generator, pixels: float = 2.0, degrees: float = 12.0
) -> Tensor:
    """Each image moved and turned by its own uniformly drawn amount; what comes in from outside is 0.

    Args:
        images: (N, C, H, W).
        generator: source of chance, on the CPU.
        pixels: largest shift along each axis, in px.
        degrees: largest rotation to either side.

    Example:
        >>> import torch
        >>> stroke = torch.zeros(1, 1, 9, 9)
        >>> stroke[..., 4] = 1
        >>> generator = torch.Generator().manual_seed(0)
        >>> torch.equal(shift_and_rotate(stroke, generator, pixels=0.0, degrees=0.0).round(), stroke)
        True
    """
    draws = 2 * torch.rand(len(images), 3, generator=generator).to(images) - 1
    angle = draws[:, 0] * math.radians(degrees)
    height, width = images.shape[2:]
    # affine_grid counts in half image widths, so one pixel is 2 / width; the aspect keeps rotations rigid.
    cosine, sine, aspect = torch.cos(angle), torch.sin(angle), height / width
    rows = (
        torch.stack([cosine, -sine * aspect, draws[:, 1] * pixels * 2 / width], dim=1),
        torch.stack([sine / aspect, cosine, draws[:, 2] * pixels * 2 / height], dim=1),
    )
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def plant(images: Tensor, side: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images put upon empty square canvases, at random places and without overlap.

    Of some hundred arrangements drawn at random the first without overlap is taken; where there is none, the images
    go into cells of a regular lattice, drawn at random.

    Args:
        images: (N, k, C, h, w), k images for each canvas, background 0.
        side: of a canvas, in px; k images must fit side by side.
        generator: source of chance, on the CPU.

    Returns:
        Canvases (N, C, side, side), and the images' top left corners, (row, column) in px: int64, (N, k, 2).

    Raises:
        ValueError: images of another shape, or a canvas that is too small.

    Example:
        >>> import torch
        >>> canvases, corners = plant(torch.ones(1, 2, 1, 2, 2), side=6, generator=torch.Generator().manual_seed(0))
        >>> canvases.shape, corners.shape, canvases.sum()  # two times four pixels
        (torch.Size([1, 1, 6, 6]), torch.Size([1, 2, 2]), tensor(8.))
    """
    if images.ndim != 5 or not images.numel():
        raise ValueError(
            f"images: expected k images for each canvas, (N, k, C, h, w); got shape {tuple(images.shape)}."
        )
    count, objects, channels, height, width = images.shape
    cells = (side // height) * (side // width)
    if cells < objects:
        raise ValueError(
            f"side: expected a canvas that holds {objects} images of {height} x {width} px side by side; got "
            f"{side!r} px."
        )
    size = torch.tensor([height, width])
    free = side + 1 - size
    draws = torch.rand(count, ARRANGEMENTS, objects, 2, generator=generator)
    drawn = (draws * free).long().minimum(free - 1)  # a draw next to 1 is rounded up
    apart = ((drawn[:, :, :, None] - drawn[:, :, None]).abs() >= size).any(-1)
    fits = (apart | torch.eye(objects, dtype=torch.bool)).all(3).all(2)
    corners = drawn[torch.arange(count), fits.int().argmax(1)]
    for row in (~fits.any(1)).nonzero()[:, 0]:
        order = torch.randperm(cells, generator=generator)[:objects]
        down, right = order // (side // width), order % (side // width)
        corners[row] = torch.stack([down, right], 1) * size
    canvases = images.new_zeros(count, channels, side, side)
    for row in range(count):
        for image, (top, left) in zip(images[row], corners[row].tolist(), strict=True):
            canvases[row, :, top : top + height, left : left + width] = image
    return canvases, corners


def _loss(outputs: Tensor, targets: Tensor) -> Tensor:
    if outputs.shape[1] == 1:
        return functional.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs))
    return functional.cross_entropy(outputs, targets)


def fit(
    model: nn.Module,
    inputs: Tensor,
    targets: Tensor,
    epochs: int = 30,
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-4,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    show_progress: bool = True,
) -> list[float]:
    """Trains a classifier in place: cross-entropy, AdamW, a one-cycle learning rate; leaves it in eval mode.

    Order and augmentation come from one generator made from the seed: the same seed on the same machine
    gives the same weights. A model with a single output column is trained as the log-odds of class 1.

    Args:
        model: (N, ...) -> (N, K) logits, or (N, 1).
        inputs: (N, ...) examples, of the dtype of the model.
        targets: (N,) class indices, int64.
        epochs: passes over the examples.
        seed: seed of order and augmentation (the initial weights are the model's).
        batch_size: examples a step; the last, smaller batch of an epoch is left out if another one came
            before.
        learning_rate: the largest one, reached after 30 % of the steps.
        weight_decay: of AdamW.
        augment: ``augment(batch, generator)`` changes each batch, for example ``shift_and_rotate``.
        show_progress: whether to show a progress bar.

    Returns:
        The mean loss of each epoch.

    Raises:
        ValueError: no examples, not one target an example, or epochs or batch_size smaller than 1.
        FloatingPointError: the loss is no longer finite.

    Example:
        >>> import torch
        >>> inputs, targets = torch.tensor([[-1.0], [1.0]]), torch.tensor([0, 1])
        >>> model = mlp(1, 2, hidden=(8,))
        >>> losses = fit(model, inputs, targets, epochs=40, learning_rate=0.1, show_progress=False)
        >>> len(losses), losses[-1] < losses[0], accuracy(model, inputs, targets)
        (40, True, 1.0)
    """
    if len(inputs) == 0 or targets.shape != inputs.shape[:1]:
        raise ValueError(
            "fit: expected at least one example and one target for each, got inputs of shape "
            f"{tuple(inputs.shape)} and targets of shape {tuple(targets.shape)}."
        )

    def loss(chosen: Tensor, generator: torch.Generator) -> Tensor:
        batch = inputs[chosen]
        if augment is not None:
            batch = augment(batch, generator)
        return _loss(model(batch), targets[chosen])

    return minimise(
        model,
        loss,
        len(inputs),
        epochs=epochs,
        seed=seed,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        show_progress=show_progress,
    )


def minimise(
    model: nn.Module,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    examples: int,
    epochs: int = 30,
    seed: int = 0,
    batch_size: int = 64,
    learning_rate: float = 1e-2,
    weight_decay: float = 1e-4,
    show_progress: bool = True,
) -> list[float]:
    """Trains a model in place on a loss of batches: AdamW, a one-cycle learning rate; leaves it in eval mode.

    Args:
        model: whose parameters are changed; they lie on one device.
        loss: ``loss(chosen, generator)``, the loss (a tensor without dimensions) of the examples whose numbers
            are in `chosen`, (B,), int64; all its chance comes from the generator, which is on the CPU.
        examples: how many there are.
        The others, and what is returned, are those of `fit`.

    Raises:
        ValueError: epochs or batch_size smaller than 1.
        FloatingPointError: the loss is no longer finite.

    Example:
        >>> import torch
        >>> model, inputs = torch.nn.Linear(1, 1), torch.tensor([[-1.0], [1.0]])
        >>> errors = lambda chosen, generator: (model(inputs[chosen]) - 2 * inputs[chosen]).square().mean()
        >>> _ = minimise(model, errors, examples=2, epochs=200, learning_rate=0.1, show_progress=False)
        >>> bool((model(inputs) - 2 * inputs).abs().max() < 0.1)  # it has learnt to double
        True
    """
    if epochs < 1 or batch_size < 1:
        raise ValueError(
            f"fit: expected epochs and batch_size to be at least 1, got epochs={epochs}, "
            f"batch_size={batch_size}."
        )
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(seed)
    steps = max(examples // batch_size, 1)
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=epochs * steps)
    model.train()
    history = []
    progress = tqdm(range(epochs), desc="training", unit="epoch", disable=not show_progress)
    for _ in progress:
        total = 0.0
        order = torch.randperm(examples, generator=generator).to(device)
        for step in range(steps):
            value = loss(order[step * batch_size : (step + 1) * batch_size], generator)
            if not torch.isfinite(value):
                raise FloatingPointError(
                    f"fit: the loss became {value.item()}; look for NaN in inputs, or lower learning_rate."
                )
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
            schedule.step()
            total += value.item()
        history.append(total / steps)
        progress.set_postfix(loss=f"{history[-1]:.4f}")
    model.eval()
    return history


def predict(model: nn.Module, inputs: Tensor, batch_size: int = 256) -> Tensor:
    """The model's outputs (N, K) without a gradient, computed batch by batch.

    Raises:
        ValueError: no examples.

    Example:
        >>> import torch
        >>> predict(torch.nn.Linear(2, 3), torch.ones(5, 2), batch_size=2).requires_grad
        False
    """
    if len(inputs) == 0:
        raise ValueError(
            f"predict: expected at least one example, got inputs of shape {tuple(inputs.shape)}."
        )
    with torch.no_grad():
        return torch.cat([model(batch.clone()) for batch in inputs.split(batch_size)])  # it may work in place


def accuracy(model: nn.Module, inputs: Tensor, targets: Tensor, batch_size: int = 256) -> float:
    """Share of the examples (N, ...) whose predicted class is their target (N,); a single column is cut at 0.

    The model is used in the mode that it is in: call ``model.eval()`` first.

    Raises:
        ValueError: no examples, or not one target an example.

    Example:
        >>> import torch
        >>> accuracy(torch.nn.Identity(), torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
        0.5
    """
    if targets.shape != inputs.shape[:1]:
        raise ValueError(
            f"accuracy: expected one target for each of the {len(inputs)} inputs, got targets of shape "
            f"{tuple(targets.shape)}."
        )
    outputs = predict(model, inputs, batch_size)
    predicted = (outputs[:, 0] > 0).long() if outputs.shape[1] == 1 else outputs.argmax(dim=1)
    return (predicted == targets).double().mean().item()


def save_weights(model: nn.Module, path: str | Path) -> str:
    """Writes the model's state_dict to ``path`` and returns the file's SHA-256; equal weights, equal files.

    The file appears whole or not at all: an interrupted run leaves no half-written weights behind.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sums = [save_weights(mlp(2, 1, seed=seed), Path(folder, "mlp.pt")) for seed in (0, 0, 1)]
        >>> sums[0] == sums[1], sums[0] == sums[2]
        (True, False)
    """
    # Through memory: torch.save writes a file's own name into it, and the checksum would depend on it.
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    write_whole(path, buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def load_weights(model: nn.Module, path: str | Path, sha256: str | None = None) -> nn.Module:
    """Loads a state_dict (``weights_only=True``) after comparing the file's SHA-256; returns it in eval mode.

    Args:
        model: a model of the same architecture; changed in place.
        path: file written by ``save_weights``.
        sha256: expected checksum, hexadecimal; None skips the comparison.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the checksum is another one, or the file does not hold the weights of such a model.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sha256 = save_weights(mlp(2, 1), Path(folder, "mlp.pt"))
        ...     model = load_weights(mlp(2, 1, seed=7), Path(folder, "mlp.pt"), sha256)
        >>> model[0].weight.equal(mlp(2, 1)[0].weight)
        True
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"load_weights: expected trained weights in {path}, found none; train the model."
        )
    content = path.read_bytes()
    if sha256 is not None:
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise ValueError(
                f"load_weights: expected {path} to have the SHA-256 {sha256}, got {found}. The file is "
                "damaged or was replaced: restore it from the repository, or train anew (retrain=True)."
            )
    try:
        model.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises a dozen kinds for a file that is not what it should be
        raise ValueError(
            f"load_weights: expected {path} to hold the weights of {type(model).__name__}, got: {error} "
            "Delete the file and train anew."
        ) from error
    return model.eval()


def diagnosis_net() -> nn.Sequential:
    """A small network of tanh units in double precision, trained on the breast cancer data in a second.

    Example:
        >>> data = breast_cancer()
        >>> accuracy(diagnosis_net(), data.test_inputs.double(), data.test_targets) > 0.95
        True
    """
    data = breast_cancer()
    model = mlp(len(data.feature_names), len(data.class_names), (16, 16), nn.Tanh, seed=0).double()
    fit(model, data.train_inputs.double(), data.train_targets, epochs=30, seed=0, show_progress=False)
    return model


def digit_net(
    retrain: bool = False,
    dataset: str = "mnist5k",
    epochs: int = 30,
    seed: int = 0,
    show_progress: bool = True,
) -> DigitNet:
    """A trained ``DigitNet`` in eval mode, on the CPU in float32.

    For "mnist5k" the weights come with the repository and are checked against ``DIGIT_NET_SHA256``. For
    another data set they come from ``data/cache``, and are trained and kept there the first time.

    Args:
        retrain: train anew (less than a minute on two cores) and save nothing: ``save_weights`` does that.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows.
        epochs: passes over the training images, if it is trained.
        seed: seed of weights, order and augmentation, if it is trained.
        show_progress: whether training shows a progress bar.

    Raises:
        ValueError: unknown data set, wrong checksum, or a file that does not hold such weights.
        FileNotFoundError: the weights are missing from the repository.

    Example:
        >>> import torch
        >>> stroke = torch.zeros(1, 1, 28, 28)
        >>> stroke[..., 4:24, 13:15] = 1
        >>> digit_net()(stroke).argmax(1)
        tensor([1])
    """

    def train(split: Split, model: DigitNet) -> None:
        fit(
            model,
            split.train_inputs,
            split.train_targets,
            epochs=epochs,
            seed=seed,
            augment=shift_and_rotate,
            show_progress=show_progress,
        )

    make = partial(DigitNet, seed=seed)
    return load_or_train(make, train, DIGIT_NET_FILE, DIGIT_NET_SHA256, dataset, retrain)


def digit_witness(
    retrain: bool = False,
    dataset: str = "mnist5k",
    epochs: int = 40,
    seed: int = 0,
    show_progress: bool = True,
) -> nn.Sequential:
    """A trained network of another build than ``DigitNet``, to ask about images that were made with that one.

    An ``mlp`` on the pixels, 784-128-32-10: no convolution, no normalisation, other weights; (N, 1, 28, 28) ->
    (N, 10) logits. What changes one network alone need not move the other (`helpers.measure.witness`). Eval
    mode, on the CPU in float32, its parameters without gradients.

    Args:
        retrain: train anew (seconds) and save nothing: ``save_weights`` does that.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows; weights come as those of ``digit_net``.
        epochs: passes over the training images, if it is trained.
        seed: seed of weights, order and augmentation, if it is trained.
        show_progress: whether training shows a progress bar.

    Raises:
        ValueError: unknown data set, wrong checksum, or a file that does not hold such weights.
        FileNotFoundError: the weights are missing from the repository.

    Example:
        >>> import torch
        >>> stroke = torch.zeros(1, 1, 28, 28)
        >>> stroke[..., 4:24, 13:15] = 1
        >>> digit_witness()(stroke).argmax(1)
        tensor([1])
    """

    def make(classes: int = 10) -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), *mlp(28 * 28, classes, hidden=(128, 32), seed=seed))

    def train(split: Split, model: nn.Sequential) -> None:
        fit(
            model,
            split.train_inputs,
            split.train_targets,
            epochs=epochs,
            seed=seed,
            learning_rate=3e-3,
            augment=partial(shift_and_rotate, pixels=1.5, degrees=10.0),
            show_progress=show_progress,
        )

    model = load_or_train(make, train, DIGIT_WITNESS_FILE, DIGIT_WITNESS_SHA256, dataset, retrain)
    return model.requires_grad_(False)


def digit_vit(
    retrain: bool = False,
    dataset: str = "mnist5k",
    epochs: int = 45,
    seed: int = 0,
    show_progress: bool = True,
) -> DigitVit:
    """A trained ``DigitVit`` in eval mode, on the CPU in float32.

    It has seen digits alone, and two to four of them at random places of larger canvases, where its outputs are
    to be shared among the classes that are there. So on such a canvas its largest logits are those of the digits.

    Args:
        retrain: train anew (eleven minutes on one core) and save nothing: ``save_weights`` does that.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows; weights come as those of ``digit_net``.
        epochs: passes over the training images, if it is trained.
        seed: seed of weights, order and augmentation, if it is trained.
        show_progress: whether training shows a progress bar.

    Raises:
        ValueError: unknown data set, wrong checksum, or a file that does not hold such weights.
        FileNotFoundError: the weights are missing from the repository.

    Example:
        >>> import torch
        >>> stroke = torch.zeros(1, 1, 28, 28)
        >>> stroke[..., 4:24, 13:15] = 1
        >>> digit_vit()(stroke).argmax(1)
        tensor([1])
    """

    def train(split: Split, model: DigitVit) -> None:
        def loss(chosen: Tensor, generator: torch.Generator) -> Tensor:
            side, objects = CANVASES[int(torch.randint(len(CANVASES), (), generator=generator))]
            chosen = chosen[: len(chosen) // objects * objects]
            digits = shift_and_rotate(split.train_inputs[chosen], generator)
            canvases, _ = plant(digits.unflatten(0, (-1, objects)), side, generator)
            present = functional.one_hot(split.train_targets[chosen], len(split.class_names)).to(digits)
            return functional.cross_entropy(model(canvases), present.unflatten(0, (-1, objects)).mean(1))

        minimise(
            model,
            loss,
            len(split.train_inputs),
            epochs=epochs,
            seed=seed,
            learning_rate=4e-3,
            weight_decay=0.05,
            show_progress=show_progress,
        )

    make = partial(DigitVit, seed=seed)
    return load_or_train(make, train, DIGIT_VIT_FILE, DIGIT_VIT_SHA256, dataset, retrain)


def load_or_train(
    make: Callable[..., nn.Module],
    train: Callable[[Split, nn.Module], object],
    file: Path,
    sha256: str,
    dataset: str = "mnist5k",
    retrain: bool = False,
) -> nn.Module:
    """A model of digits with the weights that come with the repository, or that it learns from other images.

    Args:
        make: ``make(classes=10)``, a new model.
        train: ``train(split, model)`` trains it in place and leaves it in eval mode.
        file, sha256: the weights for "mnist5k", and their checksum.
        dataset: a name that ``helpers.zoo.datasets.image_split`` knows. Weights for others than "mnist5k" come
            from ``data/cache``, and are trained and kept there the first time.
        retrain: train anew and save nothing.

    Raises:
        ValueError: unknown data set, wrong checksum, or a file that does not hold such weights.
        FileNotFoundError: the weights are missing from the repository.

    Example:
        >>> load_or_train(DigitNet, fit, DIGIT_NET_FILE, DIGIT_NET_SHA256).training
        False
    """
    ours = dataset == "mnist5k"
    cached = CACHE_FOLDER / f"{file.stem}_{dataset}.pt"
    if not retrain and ours:
        return load_weights(make(), file, sha256)
    if not retrain and cached.is_file():
        return load_weights(make(), cached)
    split = image_split(dataset)
    model = make(classes=len(split.class_names))
    train(split, model)
    if not retrain and not ours:
        save_weights(model, cached)
    return model


def taking(model: nn.Module, inputs: Tensor, size: int) -> nn.Module:
    """The model itself where it takes inputs (N, C, H, W) of that shape; else behind torchvision's ``v2.Resize``.

    Args:
        model: from images (N, C, size, size) to outputs, or from images of any size.
        inputs: at least one image.
        size: pixels a side that the images are brought to, bilinearly, with antialiasing.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        >>> [type(taking(model, torch.zeros(1, 1, side, side), size=4)).__name__ for side in (4, 9)]
        ['Sequential', 'Preprocessed']
    """
    try:
        with torch.no_grad():
            model(inputs[:1].clone())
    except (AssertionError, RuntimeError, ValueError):  # what networks of one size raise
        return Preprocessed(v2.Resize((size, size), antialias=True), model)
    return model
