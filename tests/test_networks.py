"""Networks: in closed form, against scikit-learn, and the weights that come with the repository."""

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from helpers.saliency.layers import stages
from helpers.zoo import networks
from helpers.zoo.datasets import Split, breast_cancer, digits, mnist5k, ring, two_moons
from helpers.zoo.networks import (
    DIGIT_NET_FILE,
    DIGIT_NET_SHA256,
    DIGIT_VIT_FILE,
    DIGIT_VIT_SHA256,
    DigitNet,
    DigitVit,
    VitBlock,
    accuracy,
    digit_net,
    digit_vit,
    fit,
    from_logistic_regression,
    load_weights,
    mlp,
    plant,
    predict,
    save_weights,
    shift_and_rotate,
)


@pytest.fixture(scope="module")
def mnist():
    return mnist5k()


@pytest.fixture(scope="module")
def net():
    return digit_net()


@pytest.fixture(scope="module")
def vit():
    return digit_vit()


# MLP


def test_mlp_is_the_composition_of_its_layers():
    model = mlp(3, 2, hidden=(5, 4), activation=nn.Tanh).double()
    x = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, second, last = (layer for layer in model if isinstance(layer, nn.Linear))
    hidden = torch.tanh(torch.tanh(x @ first.weight.T + first.bias) @ second.weight.T + second.bias)
    torch.testing.assert_close(model(x), hidden @ last.weight.T + last.bias)
    assert [layer.out_features for layer in (first, second, last)] == [5, 4, 2]


def test_mlp_without_hidden_layers_is_affine():
    model = mlp(3, 2, hidden=()).double()
    x, y = torch.eye(3, dtype=torch.float64)[:2, None]
    torch.testing.assert_close(model(x) + model(y), model(x + y) + model(torch.zeros_like(x)))


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first, conv = mlp(3, 2, seed=5), DigitNet(seed=5)
    torch.manual_seed(2)
    assert torch.equal(first[0].weight, mlp(3, 2, seed=5)[0].weight)
    assert torch.equal(conv.classifier.weight, DigitNet(seed=5).classifier.weight)
    assert not torch.equal(first[0].weight, mlp(3, 2, seed=6)[0].weight)


def test_mlp_says_what_is_wrong():
    with pytest.raises(ValueError, match=r"every width .* at least 1, got \(3, 0, 2\)"):
        mlp(3, 2, hidden=(0,))


# Linear models


@pytest.mark.parametrize("make", [breast_cancer, digits])
def test_logistic_regression_equals_sklearn(make):
    split = make()
    inputs = split.train_inputs.flatten(1).double()
    test = split.test_inputs.flatten(1).double()
    estimator = LogisticRegression(max_iter=5000).fit(inputs.numpy(), split.train_targets.numpy())
    layer = from_logistic_regression(estimator)
    expected = torch.tensor(estimator.decision_function(test.numpy()))
    classes = len(split.class_names)
    assert layer(test).shape == (len(test), 1 if classes == 2 else classes)
    torch.testing.assert_close(layer(test), expected.reshape(len(test), -1), rtol=1e-12, atol=1e-12)
    assert accuracy(layer, test, split.test_targets) == estimator.score(
        test.numpy(), split.test_targets.numpy()
    )
    assert accuracy(layer, test, split.test_targets) >= 0.93
    assert from_logistic_regression(estimator, torch.float32).weight.dtype == torch.float32


def test_logistic_regression_must_be_fitted():
    with pytest.raises(ValueError, match="expected a fitted estimator, got LogisticRegression"):
        from_logistic_regression(LogisticRegression())


# Training


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("make", [two_moons, ring])
def test_fit_learns_the_toys(make, outputs):
    split = make()
    model = mlp(2, outputs)
    before = accuracy(model, split.test_inputs, split.test_targets)
    history = fit(model, split.train_inputs, split.train_targets, epochs=40, show_progress=False)
    assert len(history) == 40
    assert history[-1] < history[0] / 2
    assert accuracy(model, split.test_inputs, split.test_targets) >= 0.96 > before
    assert not model.training


def test_fit_depends_on_its_seed_alone():
    split = digits()
    images = nn.functional.pad(split.train_inputs[:64], (10, 10, 10, 10))
    weights = []
    for global_seed, seed in ((1, 0), (2, 0), (1, 1)):
        torch.manual_seed(global_seed)
        model = DigitNet()
        fit(
            model,
            images,
            split.train_targets[:64],
            epochs=1,
            seed=seed,
            batch_size=16,
            augment=shift_and_rotate,
            show_progress=False,
        )
        weights.append(model.classifier.weight.detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_fit_takes_a_batch_larger_than_the_data():
    model = mlp(2, 2)
    before = model[0].weight.detach().clone()
    history = fit(model, torch.eye(2), torch.tensor([0, 1]), epochs=1, batch_size=64, show_progress=False)
    assert len(history) == 1
    assert not torch.equal(before, model[0].weight)


def test_fit_shows_progress_only_when_asked(capsys):
    for show in (False, True):
        fit(mlp(2, 2), torch.eye(2), torch.tensor([0, 1]), epochs=1, show_progress=show)
        assert ("training" in capsys.readouterr().err) == show


def test_training_says_what_is_wrong():
    model, inputs, targets = mlp(2, 2), torch.eye(2), torch.tensor([0, 1])
    with pytest.raises(
        ValueError, match=r"one target for each, got inputs of shape \(2, 2\) .* shape \(1,\)"
    ):
        fit(model, inputs, targets[:1])
    with pytest.raises(ValueError, match="at least one example"):
        fit(model, inputs[:0], targets[:0])
    with pytest.raises(ValueError, match="epochs=0, batch_size=64"):
        fit(model, inputs, targets, epochs=0)
    with pytest.raises(FloatingPointError, match="loss became nan; look for NaN in inputs"):
        fit(model, inputs * float("nan"), targets, epochs=1, show_progress=False)
    with pytest.raises(ValueError, match=r"one target for each of the 2 inputs, got targets of shape \(1,\)"):
        accuracy(model, inputs, targets[:1])
    with pytest.raises(ValueError, match="at least one example"):
        accuracy(model, inputs[:0], targets[:0])


def test_accuracy_in_closed_form():
    columns = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 0.0], [0.0, 5.0]])
    targets = torch.tensor([0, 1, 1, 1])
    assert accuracy(nn.Identity(), columns, targets, batch_size=3) == 0.75
    assert accuracy(nn.Identity(), torch.tensor([[-1.0], [2.0], [0.0], [1.0]]), targets) == 0.75


def blob(row: float, column: float, height: int, width: int) -> torch.Tensor:
    rows, columns = torch.arange(height)[:, None] - row, torch.arange(width) - column
    return torch.exp(-(rows**2 + columns**2) / 8.0)


def centre(image: torch.Tensor) -> torch.Tensor:
    rows, columns = torch.arange(image.shape[0])[:, None], torch.arange(image.shape[1])
    return torch.stack([(image * rows).sum(), (image * columns).sum()]) / image.sum()


def test_shift_and_rotate_with_nothing_to_do_changes_nothing():
    images = torch.rand(3, 1, 28, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(shift_and_rotate(images, torch.Generator(), pixels=0, degrees=0), images)


def test_shift_is_counted_in_pixels():
    image = blob(20, 30, 40, 60).expand(64, 1, 40, 60)
    generator = torch.Generator().manual_seed(0)
    shifts = torch.stack([centre(one[0]) for one in shift_and_rotate(image, generator, pixels=3, degrees=0)])
    shifts = (shifts - torch.tensor([20.0, 30.0])).abs().max(dim=0).values
    assert (shifts <= 3.05).all()
    assert (shifts > 2.5).all()


def test_rotation_is_rigid_on_an_image_that_is_not_square():
    # About the centre (19.5, 29.5), 10 px to the right and 10 px up.
    right, up = blob(19.5, 39.5, 40, 60), blob(9.5, 29.5, 40, 60)
    for image, start in ((right, torch.tensor([0.0, 10.0])), (up, torch.tensor([-10.0, 0.0]))):
        turned = shift_and_rotate(image.expand(64, 1, 40, 60), torch.Generator().manual_seed(0), 0, 30)
        offsets = torch.stack([centre(one[0]) for one in turned]) - torch.tensor([19.5, 29.5])
        torch.testing.assert_close(offsets.norm(dim=1), torch.full((64,), 10.0), rtol=0, atol=0.1)
        angles = torch.rad2deg(torch.acos((offsets @ start / 100).clamp(-1, 1)))
        assert angles.max() <= 30.5
        assert angles.max() > 25


@pytest.mark.parametrize(("side", "objects"), [(84, 1), (84, 2), (84, 4), (56, 4), (60, 4), (29, 1)])
def test_planted_images_lie_apart_on_an_empty_canvas(side, objects):
    images = 1 + torch.rand(50, objects, 2, 28, 27, generator=torch.Generator().manual_seed(0))
    canvases, corners = plant(images, side, torch.Generator().manual_seed(1))
    assert canvases.shape == (50, 2, side, side)
    assert corners.shape == (50, objects, 2)
    for canvas, one, places in zip(canvases, images, corners.tolist(), strict=True):
        for image, (top, left) in zip(one, places, strict=True):
            assert torch.equal(canvas[:, top : top + 28, left : left + 27], image)
        assert (canvas > 0).sum() == objects * 2 * 28 * 27  # none covers another
    assert len(corners.unique(dim=0)) > 1


def test_planting_reaches_every_place_with_chance_from_its_generator_alone():
    images = torch.ones(4000, 1, 1, 28, 28)
    state = torch.get_rng_state()
    corners = plant(images, 32, torch.Generator().manual_seed(0))[1]
    assert torch.equal(torch.get_rng_state(), state)
    places, counts = corners[:, 0].unique(dim=0, return_counts=True)
    assert len(places) == 25
    assert counts.min() > 100  # 160 on average
    assert torch.equal(corners, plant(images, 32, torch.Generator().manual_seed(0))[1])
    assert not torch.equal(corners, plant(images, 32, torch.Generator().manual_seed(1))[1])


def test_planting_says_what_is_wrong():
    with pytest.raises(ValueError, match="side: expected a canvas that holds 5 images of 28 x 28 px.*got 83"):
        plant(torch.ones(1, 5, 1, 28, 28), 83, torch.Generator())
    with pytest.raises(ValueError, match=r"images: expected k images.*got shape \(1, 1, 28, 28\)"):
        plant(torch.ones(1, 1, 28, 28), 84, torch.Generator())


# Digit classifier


def test_digit_net_accuracy_and_confidence(net, mnist):
    assert accuracy(net, mnist.test_inputs, mnist.test_targets) >= 0.97
    probabilities = predict(net, mnist.test_inputs).softmax(dim=1)
    right = probabilities.argmax(dim=1) == mnist.test_targets
    assert ((probabilities.max(dim=1).values >= 0.9) & right).double().mean() >= 0.9


def test_digit_net_is_small(net):
    assert DIGIT_NET_FILE.stat().st_size < 1_000_000
    assert not net.training


def test_digit_net_in_eval_mode_does_not_depend_on_the_batch(net, mnist):
    images = mnist.test_inputs[:8].double()
    model = DigitNet().double()
    model.load_state_dict(net.state_dict())
    model.eval()
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-12, atol=1e-12)


def test_digit_net_on_a_grid_is_the_mean_of_its_cells(net, mnist):
    images = mnist.test_inputs[:4]
    top, bottom = torch.cat([*images[:2]], dim=2), torch.cat([*images[2:]], dim=2)
    grid = torch.cat([top, bottom], dim=1)[None]
    with torch.no_grad():
        maps = net.classifier(net.features(grid))
        cells = maps.unfold(2, 7, 7).unfold(3, 7, 7).mean(dim=(4, 5))
        logits = net(grid)
    assert grid.shape == (1, 1, 56, 56)
    assert maps.shape == (1, 10, 14, 14)
    torch.testing.assert_close(logits, cells.mean(dim=(2, 3)), rtol=1e-4, atol=1e-4)
    # Each cell still names the digit that it holds.
    assert torch.equal(cells[0].flatten(1).argmax(dim=0), mnist.test_targets[:4])


@pytest.mark.parametrize("size", [(28, 28), (29, 45), (64, 64)])
def test_digit_net_takes_any_size(net, size):
    assert net(torch.zeros(2, 1, *size)).shape == (2, 10)


@pytest.mark.parametrize("shape", [(1, 28, 28), (2, 3, 28, 28), (2, 1, 27, 28), (2, 1, 8, 8)])
def test_digit_net_says_what_is_wrong(net, shape):
    with pytest.raises(
        ValueError, match=r"shape \(N, 1, H, W\) with H, W >= 28, got \(" + ", ".join(map(str, shape))
    ):
        net(torch.zeros(shape))


# Vision transformer


def test_digit_vit_accuracy_and_confidence(vit, mnist):
    assert accuracy(vit, mnist.test_inputs, mnist.test_targets) >= 0.97
    probabilities = predict(vit, mnist.test_inputs).softmax(dim=1)
    right = probabilities.argmax(dim=1) == mnist.test_targets
    assert ((probabilities.max(dim=1).values >= 0.9) & right).double().mean() >= 0.9


@pytest.mark.parametrize("objects", [2, 3, 4])
def test_largest_logits_of_digit_vit_on_a_canvas_are_those_of_its_digits(vit, mnist, objects):
    generator = torch.Generator().manual_seed(0)
    classes = torch.stack([torch.randperm(10, generator=generator)[:objects] for _ in range(60)])
    members = torch.stack([(mnist.test_targets == k).nonzero()[:60, 0] for k in range(10)])
    chosen = members[classes, torch.arange(60)[:, None]]
    canvases, _ = plant(mnist.test_inputs[chosen], 84, generator)
    named = predict(vit, canvases, batch_size=20).topk(objects, dim=1).indices
    assert (named[:, :, None] == classes[:, None]).any(2).double().mean() >= 0.9


def test_digit_vit_is_small(vit):
    assert DIGIT_VIT_FILE.stat().st_size < 1_000_000
    assert not vit.training


def test_digit_vit_in_eval_mode_does_not_depend_on_the_batch(vit, mnist):
    images = mnist.test_inputs[:8].double()
    model = DigitVit().double()
    model.load_state_dict(vit.state_dict())
    model.eval()
    torch.testing.assert_close(model(images)[:1], model(images[:1]), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [(28, 28), (56, 84), (84, 84), (30, 45)])
def test_digit_vit_takes_any_size_and_has_two_stages(vit, size):
    assert vit(torch.zeros(2, 1, *size)).shape == (2, 10)
    assert stages(vit, torch.rand(1, 1, *size)) == [vit.stem[0], vit.blocks[-1]]


def test_digit_vit_says_what_is_wrong(vit):
    with pytest.raises(
        ValueError, match=r"DigitVit: expected images of shape .* >= 28, got \(2, 1, 27, 28\)"
    ):
        vit(torch.zeros(2, 1, 27, 28))


def test_attention_is_that_of_torch():
    block = VitBlock(width=12, heads=3)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(block.queries_keys_values.weight)
        theirs.in_proj_bias.copy_(block.queries_keys_values.bias.uniform_())
        theirs.out_proj.load_state_dict(block.joined.state_dict())
    tokens = torch.rand(2, 7, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(block.attended(tokens), theirs(tokens, tokens, tokens)[0])


def test_digit_vit_has_a_forward_mode(mnist):
    model = digit_vit().double()
    image, change = mnist.test_inputs[:2].double().split(1)
    derivative = torch.func.jvp(model, (image,), (change,))[1]
    image = image.clone().requires_grad_()
    for k in (0, 7):
        gradient = torch.autograd.grad(model(image)[0, k], image)[0]
        torch.testing.assert_close((gradient * change).sum(), derivative[0, k], rtol=1e-8, atol=1e-8)


# Weights


@pytest.mark.parametrize(
    ("make", "file", "sha256"),
    [(DigitNet, DIGIT_NET_FILE, DIGIT_NET_SHA256), (DigitVit, DIGIT_VIT_FILE, DIGIT_VIT_SHA256)],
)
def test_checksum_in_the_module_is_that_of_the_file(make, file, sha256):
    assert load_weights(make(), file, sha256).training is False


def test_a_changed_file_is_refused(tmp_path, monkeypatch):
    damaged = bytearray(DIGIT_NET_FILE.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path = tmp_path / "digit_net.pt"
    path.write_bytes(bytes(damaged))
    monkeypatch.setattr(networks, "DIGIT_NET_FILE", path)
    with pytest.raises(ValueError, match=f"SHA-256 {DIGIT_NET_SHA256}, got [0-9a-f]{{64}}.*retrain=True"):
        digit_net()


def test_weights_come_back_and_equal_weights_give_equal_files(tmp_path):
    model = DigitNet(seed=3)
    first = save_weights(model, tmp_path / "new" / "first.pt")
    second = save_weights(model, tmp_path / "second.pt")
    assert first == second != save_weights(DigitNet(seed=4), tmp_path / "third.pt")
    loaded = load_weights(DigitNet(), tmp_path / "new" / "first.pt", first)
    for name, value in model.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[name])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "second.pt", "third.pt"]


def test_load_weights_says_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="expected trained weights in .*none.pt, found none"):
        load_weights(DigitNet(), tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not weights")
    with pytest.raises(ValueError, match="to hold the weights of DigitNet"):
        load_weights(DigitNet(), tmp_path / "text.pt")
    save_weights(mlp(2, 2), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="to hold the weights of DigitNet"):
        load_weights(DigitNet(), tmp_path / "other.pt")
    torch.save(print, tmp_path / "code.pt")
    with pytest.raises(ValueError, match="to hold the weights of DigitNet"):
        load_weights(DigitNet(), tmp_path / "code.pt")


@pytest.fixture
def small_split(mnist, monkeypatch, tmp_path):
    """Stands in for every data set, with an empty cache: training takes a moment."""
    small = Split(
        mnist.train_inputs[:64],
        mnist.train_targets[:64],
        mnist.test_inputs,
        mnist.test_targets,
        mnist.feature_names,
        mnist.class_names,
    )
    monkeypatch.setattr(networks, "image_split", lambda name: small)
    monkeypatch.setattr(networks, "CACHE_FOLDER", tmp_path / "cache")
    return tmp_path / "cache"


@pytest.mark.parametrize("make", [digit_net, digit_vit])
def test_another_data_set_is_trained_once_and_then_cached(small_split, monkeypatch, make):
    trained = make(dataset="FashionMNIST", epochs=1, show_progress=False)
    assert [path.name for path in small_split.iterdir()] == [f"{make.__name__}_FashionMNIST.pt"]
    monkeypatch.setattr(networks, "minimise", None)  # a second training would fail
    again = make(dataset="FashionMNIST")
    assert torch.equal(trained.classifier.weight, again.classifier.weight)
    assert not trained.training
    assert not again.training


@pytest.mark.parametrize(("make", "file"), [(digit_net, DIGIT_NET_FILE), (digit_vit, DIGIT_VIT_FILE)])
def test_retraining_is_new_and_saves_nothing(small_split, make, file):
    before = file.read_bytes()
    for dataset in ("mnist5k", "FashionMNIST"):
        trained = make(retrain=True, dataset=dataset, epochs=1, show_progress=False)
        assert not torch.equal(trained.classifier.weight, make().classifier.weight)
        assert not trained.training
    assert not small_split.exists()
    assert file.read_bytes() == before


def test_unknown_data_set():
    with pytest.raises(ValueError, match="one of mnist5k, MNIST, FashionMNIST, got 'SVHN'"):
        digit_net(dataset="SVHN")
