"""Decoders of digits: shapes, weights that come with the repository, reconstructions, closed forms."""

import re

import pytest
import torch
from sklearn.decomposition import PCA

from helpers.zoo import decoders, networks
from helpers.zoo.datasets import DATA_FOLDER, Split, mnist5k
from helpers.zoo.decoders import (
    DIGIT_VAE_FILE,
    DIGIT_VAE_SHA256,
    DigitVAE,
    LinearAutoencoder,
    digit_pca,
    digit_vae,
)
from helpers.zoo.networks import (
    DIGIT_NET_FILE,
    DIGIT_NET_SHA256,
    DIGIT_VIT_FILE,
    DIGIT_VIT_SHA256,
    DIGIT_WITNESS_FILE,
    DIGIT_WITNESS_SHA256,
    accuracy,
    digit_net,
    digit_vit,
    digit_witness,
    load_weights,
    predict,
)


@pytest.fixture(scope="module")
def mnist():
    return mnist5k()


@pytest.fixture(scope="module")
def both():
    return {"vae": digit_vae(), "pca": digit_pca()}


# ---- what both share ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_codes_and_images_have_their_shapes(both, mnist, name):
    digits, images = both[name], mnist.test_inputs[:3]
    codes = digits.encode(images)
    assert codes.shape == (3, digits.size)
    assert digits.decode(codes).shape == images.shape
    assert torch.equal(digits(images), digits.decode(codes))
    assert not digits.training
    assert not any(parameter.requires_grad for parameter in digits.parameters())
    assert not digits.encode(images).requires_grad


@pytest.mark.parametrize(("name", "least"), [("vae", 0.96), ("pca", 0.96)])
def test_reconstructions_of_held_out_digits_are_named_rightly(both, mnist, name, least):
    found = predict(both[name], mnist.test_inputs)
    assert accuracy(digit_net(), found.clamp(0, 1), mnist.test_targets) >= least
    error = (found - mnist.test_inputs).square().mean()
    assert error < 0.25 * (mnist.test_inputs - mnist.train_inputs.mean(0)).square().mean()


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_both_ways_are_differentiable(both, mnist, name):
    images = mnist.test_inputs[:2].clone().requires_grad_()
    both[name](images).sum().backward()
    assert images.grad.abs().sum() > 0
    codes = both[name].encode(mnist.test_inputs[:2]).requires_grad_()
    both[name].decode(codes).sum().backward()
    assert (codes.grad != 0).any()


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_mean_codes_are_the_means_of_the_codes(both, mnist, name):
    found = both[name].mean_codes(mnist.train_inputs, mnist.train_targets)
    assert found.shape == (10, both[name].size)
    codes = predict(both[name].encode, mnist.train_inputs)
    expected = torch.stack([codes[mnist.train_targets == k].mean(0) for k in range(10)])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_mean_code_of_a_class_is_a_digit_of_that_class(both, mnist):
    codes = both["vae"].mean_codes(mnist.train_inputs, mnist.train_targets)
    named = predict(digit_net(), both["vae"].decode(codes)).argmax(1)
    assert (named == torch.arange(10)).sum() >= 9


@pytest.mark.parametrize("name", ["vae", "pca"])
def test_what_does_not_fit_is_refused_in_words(both, name):
    digits = both[name]
    with pytest.raises(ValueError, match=r"expected images of shape \(N, 1, 28, 28\); got \(1, 28, 28\)"):
        digits.encode(torch.zeros(1, 28, 28))
    with pytest.raises(ValueError, match=rf"expected codes of shape \(N, {digits.size}\); got \(2, 3\)"):
        digits.decode(torch.zeros(2, 3))
    images = torch.zeros(3, 1, 28, 28)
    for targets, came in (([0, 0, 2], r"\[0, 2\]"), ([0, 1, -1], r"\[-1, 0, 1\]")):
        with pytest.raises(ValueError, match=f"an image of each class at least; got {came}"):
            digits.mean_codes(images, torch.tensor(targets))
    with pytest.raises(ValueError, match=r"one per example, shape \(3,\); got \(2,\)"):
        digits.mean_codes(images, torch.tensor([0, 1]))


# ---- the variational autoencoder ----------------------------------------------------------------------------


def test_images_of_the_vae_lie_in_0_to_1(both):
    codes = 5 * torch.randn(20, both["vae"].size, generator=torch.Generator().manual_seed(0))
    found = both["vae"].decode(codes)
    assert found.min() >= 0
    assert found.max() <= 1


def test_codes_are_near_the_prior(both, mnist):
    mean, log_variance = both["vae"].distribution(mnist.test_inputs)
    second = mean.square().mean(0) + log_variance.exp().mean(0)  # of the aggregate of all codes
    assert second.min() > 0.5
    assert second.max() < 2


def test_the_loss_is_the_evidence_lower_bound():
    """With a decoder that ignores the code, and an encoder that ignores the image, it is in closed form."""
    network = DigitVAE(size=2, channels=2, hidden=3).double()
    for layer, bias in ((network.encoder[-1], [1.0, -2.0, 0.5, 0.0]), (network.decoder[-1], [0.7])):
        layer.weight.data.zero_()
        layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = network.loss(images, torch.Generator().manual_seed(1))
    prior = torch.distributions.Normal(torch.zeros(2).double(), 1.0)
    codes = torch.distributions.Normal(
        torch.tensor([1.0, -2.0]).double(), torch.tensor([0.25, 0.0]).double().exp()
    )
    p = torch.tensor(0.7, dtype=torch.float64).sigmoid()
    misfit = -(images * p.log() + (1 - images) * (1 - p).log()).sum() / 5
    expected = misfit + torch.distributions.kl_divergence(codes, prior).sum()
    torch.testing.assert_close(found, expected)


def test_training_is_seeded_and_lowers_the_loss(mnist, monkeypatch, tmp_path):
    small = Split(
        mnist.train_inputs[:128],
        mnist.train_targets[:128],
        mnist.test_inputs,
        mnist.test_targets,
        mnist.feature_names,
        mnist.class_names,
    )
    monkeypatch.setattr(networks, "image_split", lambda name: small)
    monkeypatch.setattr(networks, "CACHE_FOLDER", tmp_path / "cache")
    before = DIGIT_VAE_FILE.read_bytes()
    weights = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        trained = digit_vae(retrain=True, epochs=2, seed=seed, show_progress=False)
        weights.append(trained.decoder[0].weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    losses = [
        network.loss(small.train_inputs, torch.Generator().manual_seed(0))
        for network in (trained, DigitVAE(seed=1))
    ]
    assert losses[0] < 0.85 * losses[1]
    assert not (tmp_path / "cache").exists(), "retraining saves nothing"
    assert DIGIT_VAE_FILE.read_bytes() == before
    kept = digit_vae(dataset="FashionMNIST", epochs=1, show_progress=False)
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["digit_vae_FashionMNIST.pt"]
    monkeypatch.setattr(decoders, "minimise", None)  # a second training would fail
    assert torch.equal(digit_vae(dataset="FashionMNIST").decoder[0].weight, kept.decoder[0].weight)


def test_widths_are_checked():
    with pytest.raises(ValueError, match=r"DigitVAE\(size\): expected an integer of at least 1; got 0"):
        DigitVAE(size=0)


# ---- weights ------------------------------------------------------------------------------------------------


def test_weights_are_small_and_a_changed_file_is_refused(tmp_path, monkeypatch):
    assert DIGIT_VAE_FILE.stat().st_size < 1_500_000
    damaged = bytearray(DIGIT_VAE_FILE.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "digit_vae.pt").write_bytes(bytes(damaged))
    monkeypatch.setattr(decoders, "DIGIT_VAE_FILE", tmp_path / "digit_vae.pt")
    with pytest.raises(ValueError, match=f"SHA-256 {DIGIT_VAE_SHA256}, got [0-9a-f]{{64}}.*retrain=True"):
        digit_vae()
    assert load_weights(DigitVAE(), DATA_FOLDER / "digit_vae.pt", DIGIT_VAE_SHA256).training is False


def test_the_table_of_the_data_holds_the_weights_as_they_are():
    text = (DATA_FOLDER / "README.md").read_text(encoding="utf-8")
    pattern = r"\| (\d+) parameters \| `(\w+\.pt)` \| (\d+) \| `(\w{64})` \|"
    rows = {name: (int(count), int(size), sha256) for count, name, size, sha256 in re.findall(pattern, text)}
    weights = (
        (digit_net, DIGIT_NET_FILE, DIGIT_NET_SHA256),
        (digit_witness, DIGIT_WITNESS_FILE, DIGIT_WITNESS_SHA256),
        (digit_vit, DIGIT_VIT_FILE, DIGIT_VIT_SHA256),
        (digit_vae, DIGIT_VAE_FILE, DIGIT_VAE_SHA256),
    )
    for make, file, sha256 in weights:
        count = sum(parameter.numel() for parameter in make().parameters())
        assert rows[file.name] == (count, file.stat().st_size, sha256)
        assert f"**{file.name}**" in text, f"data/README.md says nothing about the origin of {file.name}"


# ---- principal components -----------------------------------------------------------------------------------


def test_principal_components_are_those_of_scikit_learn(mnist):
    digits, images = digit_pca(components=5), mnist.train_inputs.flatten(1)
    fitted = PCA(5, svd_solver="full").fit(images.double().numpy())
    codes = digits.encode(mnist.test_inputs)
    expected = torch.tensor(fitted.transform(mnist.test_inputs.flatten(1).double().numpy())).float()
    torch.testing.assert_close(codes, expected, rtol=1e-3, atol=1e-3)
    back = torch.tensor(fitted.inverse_transform(expected.double().numpy())).float()
    torch.testing.assert_close(digits.decode(codes).flatten(1), back, rtol=1e-3, atol=1e-3)


def test_principal_components_are_linear_and_a_projection(both, mnist):
    digits = both["pca"]
    first, second = digits.encode(mnist.test_inputs[:2])
    middle = digits.decode(((first + second) / 2)[None])
    torch.testing.assert_close(middle[0], digits(mnist.test_inputs[:2]).mean(0), rtol=1e-4, atol=1e-5)
    once = digits(mnist.test_inputs[:5])
    torch.testing.assert_close(digits(once), once, rtol=1e-4, atol=1e-4)
    every = digit_pca(components=784)
    torch.testing.assert_close(every(mnist.test_inputs[:5]), mnist.test_inputs[:5], rtol=0, atol=1e-4)


def test_principal_components_move_with_their_module():
    assert (
        digit_pca(components=2).double().decode(torch.zeros(1, 2, dtype=torch.float64)).dtype == torch.float64
    )


def test_components_are_checked():
    with pytest.raises(
        ValueError, match=r"digit_pca\(components\): expected an integer of at least 1; got 0"
    ):
        digit_pca(components=0)
    with pytest.raises(ValueError, match="at most 784 of 4000 images with 784 pixels; got 785"):
        digit_pca(components=785)
    with pytest.raises(ValueError, match=r"expected a mean \(784,\) and components \(k, 784\)"):
        LinearAutoencoder(torch.zeros(784), torch.zeros(784))
    with pytest.raises(ValueError, match="one of mnist5k, MNIST, FashionMNIST, got 'SVHN'"):
        digit_pca(dataset="SVHN")
