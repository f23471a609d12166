"""Removal and layers: what must hold beyond what tests/test_nonlinear.py runs through for every member."""

import pytest
import torch
import torchvision
from captum.attr import LayerIntegratedGradients
from combinations import REFUSED
from torch import nn

from helpers.saliency import (
    Blurred,
    Constant,
    Flow,
    Input,
    Layer,
    Logit,
    LogOdds,
    NonlinearSaliency,
    Removal,
    Share,
    Straight,
    Tangent,
)
from helpers.saliency.cut import AtLayer
from helpers.saliency.model import Forward
from helpers.zoo.networks import DigitNet


class Residual(nn.Module):
    """A small convolutional net with a skip connection, an in-place activation and a branch in Python."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.first = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 3)
        self.act = nn.ReLU(inplace=True)

    def forward(self, x):
        size = x.shape[0]
        x = self.act(self.stem(x))
        x = x + self.second(self.first(x))
        return self.head(x.mean((2, 3)).view(size, -1))


class Untraceable(Residual):
    """The same, with control flow that depends on a value."""

    def forward(self, x):
        if x.sum() > 1e9:
            return self.head(x.mean((2, 3))[:, :1].expand(-1, 4))
        return super().forward(x)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.pair = nn.LSTM(4, 4, batch_first=True)

    def forward(self, x):
        return self.layer(self.layer(x)) + self.pair(x[:, None])[0][:, 0]


@pytest.fixture
def images():
    return torch.rand(3, 2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[Residual, Untraceable])
def net(request):
    return request.param().double().eval()


MODULES = ["stem", "first", "first.0", "first.1", "second", "act", "head"]


@pytest.mark.parametrize("name", MODULES)
def test_the_two_parts_of_a_cut_model_are_the_model(net, name, images):
    parts = AtLayer(Forward(net, None, 3), net.get_submodule(name), images)
    assert parts.recomputes == isinstance(net, Untraceable)
    rows = torch.tensor([2, 0])
    with torch.no_grad():
        assert torch.allclose(parts(parts.activations()[rows], rows), net(images[rows]), atol=1e-12)


@pytest.mark.parametrize("name", MODULES[:5])
@pytest.mark.parametrize("internal", [None, 2])
def test_layer_maps_are_captums_layer_integrated_gradients(net, name, internal, images):
    module = net.get_submodule(name)
    saliency = NonlinearSaliency(
        net, Logit(), Layer(module, Input(reference=Constant(0.25))), path=Straight(7)
    )
    record = saliency.explain(images, target=1, internal_batch_size=internal)
    # the peer's hooks do not stand what works in place; ours must
    net.act.inplace = net.first[2].inplace = False
    peer = LayerIntegratedGradients(net, module).attribute(
        images, torch.full_like(images, 0.25), target=1, n_steps=7, method="riemann_middle"
    )
    assert torch.allclose(record.support(), peer, atol=1e-9)
    head = 2 if isinstance(net, Residual) and not isinstance(net, Untraceable) else 2 + 7 + 2
    assert record.head_evaluations.tolist() == [head] * 3
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("name", ["first", "second"])
def test_removal_at_a_layer_has_one_u_for_all_channels(net, name, images):
    saliency = NonlinearSaliency(
        net, coordinates=Layer(net.get_submodule(name), Removal(Blurred(3.0))), path=Flow(8)
    )
    record = saliency.explain(images, target=1, level=Share(0.1))
    assert record.displacement.shape == (3, 1, 8, 8)
    assert record.contribution.shape == (3, 4, 8, 8)
    assert ((record.displacement >= 0) & (record.displacement <= 1)).all()
    assert record.converged.any()
    for row in range(3):
        alone = saliency.explain(images[row : row + 1], target=1, level=Share(0.1))
        assert torch.allclose(alone.contribution[0], record.contribution[row], atol=1e-9)


def transformer(weights):
    return torchvision.models.VisionTransformer(64, 16, 3, 2, 32, 64)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (torchvision.models.resnet18, "layer3"),
        (torchvision.models.resnet18, "layer2.0.bn1"),
        (transformer, "encoder.layers.encoder_layer_1"),
    ],
)
def test_torchvision_models_are_cut(build, name):
    model = build(weights=None).eval()
    if build is transformer:
        nn.init.normal_(model.heads.head.weight)  # torchvision starts with zeros there
    images = torch.rand(2, 3, 64, 64)
    parts = AtLayer(Forward(model, None, 2), model.get_submodule(name), images)
    assert not parts.recomputes
    rows = torch.arange(2)
    with torch.no_grad():
        assert torch.allclose(parts(parts.activations(), rows), model(images), atol=1e-4)


def test_the_digit_network_and_efficientnet_are_cut():
    digits = DigitNet().eval()
    efficientnet = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="pip install -e '.[bench]'"
    ).EfficientNet
    photos = efficientnet.from_name("efficientnet-lite0").eval()
    for model, module, inputs in (
        (digits, digits.features, torch.rand(2, 1, 28, 28)),
        (photos, photos._blocks[8], torch.rand(2, 3, 64, 64)),
    ):
        parts = AtLayer(Forward(model, None, 2), module, inputs)
        assert not parts.recomputes
        with torch.no_grad():
            assert torch.allclose(parts(parts.activations(), torch.arange(2)), model(inputs), atol=1e-5)


def test_a_shared_reference_passes_with_each_examples_own_arguments():
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.last = nn.Linear(3, 4).double(), nn.Linear(4, 2).double()

        def forward(self, x, shift):
            return self.last(torch.tanh(self.inner(x + shift)))

    torch.manual_seed(0)
    model, x = Shifted(), torch.rand(2, 3, dtype=torch.float64)
    shift = torch.tensor([[0.0], [5.0]], dtype=torch.float64)
    saliency = NonlinearSaliency(
        model, coordinates=Layer(model.inner, Input(reference=0.0)), path=Straight(4)
    )
    record = saliency.explain(x, target=0, additional_forward_args=shift)
    with torch.no_grad():
        assert torch.allclose(record.endpoint, model.inner(torch.zeros_like(x) + shift))


def test_token_sequences_share_one_u_per_token():
    model = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Flatten(), nn.Linear(18, 2)).double()
    x = torch.rand(2, 3, 5, dtype=torch.float64)
    saliency = NonlinearSaliency(model, coordinates=Layer(model[0], Removal(0.0)), path=Straight(8))
    record = saliency.explain(x, target=0)
    assert record.displacement.shape == (2, 3, 1)
    assert record.contribution.shape == (2, 3, 6)


@pytest.mark.parametrize(
    ("name", "words"),
    [("layer", "called 2 times in one pass"), ("unused", "not used"), ("pair", "returns tuple")],
)
def test_layers_that_cannot_be_explained_are_refused(name, words):
    model = Twice()
    saliency = NonlinearSaliency(model, coordinates=Layer(model.get_submodule(name)))
    with pytest.raises(ValueError, match=words):
        saliency.explain(torch.rand(2, 4), target=0)
    assert not any(module._forward_hooks for module in model.modules())


def test_no_hook_is_left_behind_after_an_exception(images):
    class Fragile(Untraceable):
        fails = False

        def forward(self, x):
            out = super().forward(x)
            if self.fails:
                raise RuntimeError("broken on purpose")
            return out

    net = Fragile().double().eval()
    net.fails = True
    with pytest.raises(RuntimeError, match="on purpose"):
        NonlinearSaliency(net, coordinates=Layer(net.second)).explain(images, target=0)
    assert not any(module._forward_hooks for module in net.modules())


def test_a_reference_of_the_layer_itself(net, images):
    nothing = Layer(net.second, Input(reference=0.0), carried=False)
    run = NonlinearSaliency(net, Logit(), nothing, path=Straight(3)).explain(images, target=1)
    seen = []
    handle = net.second.register_forward_hook(lambda _, __, out: seen.append(out) or torch.zeros_like(out))
    with torch.no_grad():
        without = net(images)
    handle.remove()
    assert torch.allclose(run.displacement, -seen[0])
    assert torch.allclose(run.score_end, without[:, 1])
    carried = NonlinearSaliency(net, Logit(), Layer(net.second, Input(reference=0.0)), path=Straight(3))
    assert not torch.allclose(carried.explain(images, target=1).displacement, -seen[0])


def test_a_layer_of_another_model_is_refused(images):
    with pytest.raises(ValueError, match="no part of this Residual"):
        NonlinearSaliency(Residual().double(), coordinates=Layer(nn.Conv2d(1, 1, 1))).explain(
            images, target=0
        )
    with pytest.raises(TypeError, match=r"Layer\(module\): expected a module of the model"):
        Layer("layer3")


@pytest.mark.parametrize("member", REFUSED, ids=lambda member: member.name)
def test_choices_that_do_not_go_together_are_refused_when_built(member):
    with pytest.raises(ValueError, match="(path|geometry): "):
        member.saliency(nn.Linear(4, 2), LogOdds())


def test_removal_moves_one_way_and_its_support_has_the_sign_of_evidence():
    # the first feature supports the score, the second speaks against it, the third is not there
    model = lambda x: (x @ torch.tensor([2.0, -1.0, 3.0], dtype=torch.float64))[:, None]  # noqa: E731
    x = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)
    coordinates = Removal(Constant(0.0))
    down = NonlinearSaliency(model, Logit(), coordinates, path=Flow(10)).explain(x, level=0.0)
    assert torch.allclose(down.displacement, torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(down.support(), torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64))
    up = NonlinearSaliency(model, Logit(), coordinates, path=Flow(10)).explain(x, level=1.5)
    assert torch.allclose(up.displacement, torch.tensor([[0.0, 0.5, 0.0]], dtype=torch.float64))
    assert up.support()[0, 1].item() == pytest.approx(-0.5)
    assert up.support("displacement")[0, 1].item() == pytest.approx(-0.5)
    assert torch.allclose(up.support("mean_gradient"), torch.tensor([[2.0, -1.0, 0.0]], dtype=torch.float64))
    away = NonlinearSaliency(model, Logit(), coordinates, path=Straight(3)).explain(x)
    assert torch.allclose(away.support(), torch.tensor([[2.0, -1.0, 0.0]], dtype=torch.float64))
    blocked = NonlinearSaliency(model, Logit(), coordinates, path=Flow(10)).explain(x, level=-2.0)
    assert not blocked.converged.any()
    assert "bound" in blocked.reason[0]
    assert torch.allclose(blocked.displacement, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64))


def test_removal_of_images_shares_u_over_channels(images):
    net = Residual().double().eval()
    record = NonlinearSaliency(net, coordinates=Removal(0.5), path=Straight(64)).explain(images, target=0)
    assert record.displacement.shape == (3, 1, 8, 8)
    assert record.contribution.shape == images.shape
    assert record.completeness_error.abs().max() < 1e-4
    assert torch.allclose(record.endpoint, torch.full_like(images, 0.5))


@pytest.mark.parametrize("path", [Tangent(), Straight(16), Flow(8)])
def test_share_of_the_way_and_a_share_that_is_a_rise(path):
    model = lambda x: torch.sigmoid(x[:, :1])  # noqa: E731
    x = torch.tensor([[2.0], [-1.0]], dtype=torch.float64)
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.5), path=path)
    record = saliency.explain(x, level=Share(0.5))
    start, end = torch.sigmoid(x[:, 0]), torch.sigmoid(torch.tensor(0.5, dtype=torch.float64))
    assert torch.allclose(record.level, (start + end) / 2)
    if not isinstance(path, Tangent):
        assert record.converged.all()
        assert record.reason[0] == ""
        assert "the share is a rise" in record.reason[1]
    with pytest.raises(ValueError, match="the coordinates have none"):
        NonlinearSaliency(model, Logit()).explain(x, level=Share(0.5))
    with pytest.raises(ValueError, match="other than 0"):
        Share(0.0)


@pytest.mark.parametrize(
    ("coordinates", "words"),
    [
        (Removal(torch.zeros(7)), r"Removal\(reference\).*broadcasts"),
        (Removal(0.0, channels=4), r"Removal\(channels\): expected a dimension from 1 to 3; got 4"),
        (
            Input(lower=0.0, upper=1.0, reference=2.0),
            r"Input\(reference\): expected values within the bounds",
        ),
    ],
)
def test_wrong_coordinates(coordinates, words, images):
    with pytest.raises(ValueError, match=words):
        NonlinearSaliency(Residual().double(), coordinates=coordinates).explain(images, target=0)
