"""Models as people write them: hooks, optional arguments, no_grad, in-place work, chance, compilation, tokens.

Each is explained in Input, Removal and Layer coordinates and by both presets; a layer's map equals that of a pass
through the whole model in which a hook puts the layer's output, or the refusal names the argument.
"""

import gc
import warnings

import pytest
import torch
from captum.attr import NoiseTunnel
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from helpers.lessons.your_model import require_explainable
from helpers.measure.cost import measured
from helpers.measure.peers import IntegratedGradients, SmoothGrad
from helpers.measure.sanity import weight_layers
from helpers.saliency import (
    Decoder,
    Drop,
    Flow,
    Input,
    Layer,
    Logit,
    Mean,
    NonlinearSaliency,
    Removal,
    Straight,
    Tangent,
    blocks,
    cut,
    presets,
)
from helpers.saliency.cut import AtLayer, recorded, replaced, state_of
from helpers.saliency.model import Forward
from helpers.zoo.networks import Preprocessed, digit_net, predict

CHANNELS, SIDE, CLASSES = 3, 12, 4
COARSE = Decoder(nn.Upsample(SIDE, mode="bilinear"), nn.AdaptiveAvgPool2d(4), reference=0.0)


class Plain(nn.Module):
    """Two convolutions, `a` and `b`, and a head; what follows differs in forward alone."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(CHANNELS, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 6, 3, padding=1, stride=2)
        self.head = nn.Linear(6, CLASSES)

    def tail(self, h):
        return self.head(torch.tanh(self.b(torch.tanh(h))).mean((2, 3)))

    def forward(self, x):
        return self.tail(self.a(x))


class Hooked(Plain):
    """A hook on the model itself scales what it returns."""

    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, arguments, output: output * 10)


class HookedBefore(Plain):
    """A hook on the model changes what it gets."""

    def __init__(self):
        super().__init__()
        self.register_forward_pre_hook(lambda module, arguments: (arguments[0] * 2,))


class Optional(Plain):
    """An optional argument decides what is computed."""

    def forward(self, x, mask=None):
        h = self.a(x)
        return self.tail(h) if mask is None else self.head(h.mean((2, 3)))


class OptionalFactor(Plain):
    """An optional argument that is a number."""

    def forward(self, x, scale=1.0):
        return self.tail(self.a(x) * scale)


class PartlyConstant(Plain):
    """A factor is computed under no_grad."""

    def forward(self, x):
        h = self.a(x)
        with torch.no_grad():
            factor = torch.sigmoid(h)
        return self.tail(h * factor)


class Detached(Plain):
    """The same by detach()."""

    def forward(self, x):
        h = self.a(x)
        return self.tail(h * torch.sigmoid(h).detach())


class HeadWithoutGradient(Plain):
    """A backbone that is run under no_grad."""

    def forward(self, x):
        with torch.no_grad():
            h = self.a(x)
        return self.tail(h)


class InPlace(Plain):
    """Works on its input, and on the layer's output, in place."""

    def forward(self, x):
        x -= 0.5
        return self.tail(torch.relu_(self.a(x)))


class Remembers(Plain):
    """Leaves things in attributes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        h = self.a(x)
        self.last = h
        self.seen.append(h.shape)
        return self.tail(h)


class Decides(Plain):
    """Control flow that depends on values: cannot be traced."""

    def forward(self, x):
        h = self.a(x)
        return self.tail(h if h.mean() < 1e6 else -h)


class Skips(Plain):
    """A connection that passes by the layer."""

    def forward(self, x):
        h = self.a(x)
        return self.head((torch.tanh(self.b(h)) + torch.nn.functional.avg_pool2d(h, 2)).mean((2, 3)))


class Switched(Plain):
    """An attribute decides."""

    strong = False

    def forward(self, x):
        return self.tail(self.a(x) * (3.0 if self.strong else 1.0))


class Compiled(Plain):
    """Compiled where it stands."""

    def __init__(self):
        super().__init__()
        self.compile(backend="eager")


MODELS = {
    kind.__name__: kind
    for kind in (
        Plain,
        Hooked,
        HookedBefore,
        Optional,
        OptionalFactor,
        PartlyConstant,
        Detached,
        HeadWithoutGradient,
        InPlace,
        Remembers,
        Decides,
        Skips,
        Switched,
        Compiled,
    )
}
models = pytest.mark.parametrize("kind", MODELS)


def built(kind: str) -> nn.Module:
    torch.manual_seed(0)
    return MODELS[kind]().double().eval()


@pytest.fixture
def images():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(3, CHANNELS, SIDE, SIDE, dtype=torch.float64, generator=generator)


def by_hook(model, module, images, target):
    """Score and its gradient at the module's output, by autograd in the unmodified model."""
    forward, rows = Forward(model, examples=len(images)), torch.arange(len(images))
    _, points = recorded(forward, module, images.clone(), rows)
    points = points.detach().requires_grad_()
    score = replaced(forward, module, images.clone(), points.clone(), rows)[:, target]
    return score.detach(), torch.autograd.grad(score.sum(), points)[0]


@models
def test_the_map_at_a_layer_is_that_of_the_model_with_its_hooks(kind, images):
    model, kept = built(kind), images.clone()
    scores = model(images.clone())[:, 1].detach()
    run = NonlinearSaliency(model, Logit(), Layer(model.a), path=Tangent()).explain(
        images, 1, level=Drop(0.1)
    )
    assert torch.allclose(run.score_start, scores, rtol=1e-9)
    _, gradient = by_hook(model, model.a, images, 1)
    assert torch.allclose(run.mean_gradient, gradient, rtol=1e-7, atol=1e-10)
    assert torch.equal(images, kept), "the caller's images are the caller's"


@models
@pytest.mark.parametrize("coordinates", [Input(reference=0.0), Removal(0.5), Removal(0.5, cells=3), COARSE])
def test_the_map_at_the_input_is_that_of_autograd(kind, coordinates, images):
    model, kept = built(kind), images.clone()
    if kind == "HeadWithoutGradient":
        with pytest.raises(ValueError, match="forward_func: expected an output that depends on the input"):
            NonlinearSaliency(model, Logit(), coordinates, path=Straight(3)).explain(images, 1)
        return
    run = NonlinearSaliency(model, Logit(), coordinates, path=Straight(3)).explain(images, 1)
    assert torch.allclose(run.score_start, model(images.clone())[:, 1], rtol=1e-9)
    leaf = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf.clone())[:, 1].sum(), leaf)
    tangent = NonlinearSaliency(model, Logit(), Input(), path=Tangent()).explain(images, 1, level=Drop(0.1))
    assert torch.allclose(tangent.mean_gradient, gradient, rtol=1e-9, atol=1e-12)
    assert torch.equal(images, kept)


@models
@pytest.mark.parametrize("preset", [presets.supports, presets.contrasts])
def test_presets_are_read_at_the_last_block(kind, preset, images):
    model, kept = built(kind), images.clone()
    saliency = preset(model, steps=2)
    if kind == "HeadWithoutGradient":
        with pytest.raises(ValueError, match="forward_func: expected an output that depends on the input"):
            saliency.attribute(images, 1)
        return
    run = saliency.explain(images, 1)
    assert len(run.members) == (3 if preset is presets.supports else 2)
    # of the last, something passes by
    assert saliency.read_at(images)[-1] is (model.a if kind == "Skips" else model.b)
    assert torch.allclose(run.members[1].score_start, model(images.clone())[:, 1], rtol=1e-9)
    assert torch.isfinite(run.support()).all()
    assert torch.equal(images, kept)


@models
def test_parts_of_a_batch_give_the_same_map_at_a_layer(kind, images):
    model = built(kind)
    saliency = NonlinearSaliency(model, Logit(), Layer(model.b, Input(reference=0.0)), path=Straight(3))
    whole, parts = (saliency.explain(images, [0, 1, 2], internal_batch_size=size) for size in (None, 1))
    assert torch.allclose(whole.contribution, parts.contribution, rtol=1e-9, atol=1e-12)


def test_what_forward_keeps_is_left_as_the_model_left_it(images):
    model = built("Remembers")
    model(images)
    state = {name: id(value) for name, value in vars(model).items()}
    shapes = list(model.seen)
    parts = cut.cut(model, model.a)
    assert parts is not None, "it can be traced"
    assert {name: id(value) for name, value in vars(model).items()} == state
    assert model.seen == shapes
    NonlinearSaliency(model, Logit(), Layer(model.a), path=Tangent()).attribute(images, 1, level=Drop(0.1))
    assert isinstance(model.last, torch.Tensor)
    assert not isinstance(model.last, torch.fx.Proxy)
    assert all(isinstance(shape, torch.Size) for shape in model.seen)


# ---- the comparison is made once ---------------------------------------------------------------------------


def passes_of(model, call) -> int:
    """How many rows go through the whole model in a call."""
    rows = []
    handle = model.register_forward_hook(lambda module, arguments, output: rows.append(len(output)))
    try:
        call()  # the hook is a new state of the model: what is kept is made anew with it
        first = list(rows)
        rows.clear()
        call()
        return first, list(rows)
    finally:
        handle.remove()


def test_a_cut_costs_a_pass_on_all_and_one_on_a_part_once(images):
    model = built("Plain")
    saliency = NonlinearSaliency(model, Logit(), Layer(model.a, Input(reference=0.0)), path=Straight(2))
    first, again = passes_of(model, lambda: saliency.attribute(images, 1))
    assert first == [3, 2], "all three, and two of them; the rest goes through the parts"
    assert again == []


def test_what_is_kept_follows_hooks_modes_and_attributes(images):
    model = built("Switched")
    saliency = NonlinearSaliency(model, Logit(), Layer(model.a), path=Tangent())

    def start():
        return saliency.explain(images, 1, level=Drop(0.1)).score_start

    plain = start()
    model.strong = True
    assert torch.allclose(start(), model(images)[:, 1])
    assert not torch.allclose(start(), plain)
    model.strong = False
    handle = model.register_forward_hook(lambda module, arguments, output: output + 1)
    assert torch.allclose(start(), plain + 1)
    handle.remove()
    assert torch.allclose(start(), plain)
    model.head = nn.Linear(6, CLASSES).double()
    assert torch.allclose(start(), model(images)[:, 1])
    before = state_of(model)
    assert state_of(model.train()) != before


def test_maps_at_a_layer_leave_no_traced_models_behind(images):
    model = built("Plain")
    saliency = NonlinearSaliency(model, Logit(), Layer(model.a), path=Tangent())
    saliency.attribute(images, 1, level=Drop(0.1))

    def traced():
        gc.collect()
        return sum(issubclass(type(each), torch.fx.GraphModule) for each in gc.get_objects())

    before = traced()
    for _ in range(5):
        saliency.attribute(images, 1, level=Drop(0.1))
    assert traced() <= before


def test_a_layer_whose_output_is_used_by_the_side_is_refused(images):
    class Sideways(Plain):
        def forward(self, x):
            self.a.register_forward_hook  # noqa: B018
            h = self.a(x)
            return self.tail(h) + self.kept.mean((2, 3)) @ torch.ones(6, CLASSES, dtype=h.dtype)

    class Keeps(nn.Conv2d):
        def forward(self, x):
            owner.kept = super().forward(x)
            return owner.kept

    torch.manual_seed(0)
    owner = Sideways()
    owner.a = Keeps(CHANNELS, 6, 3, padding=1)
    object.__setattr__(owner, "kept", None)
    owner = owner.double().eval()
    with pytest.raises(
        ValueError, match=r"Layer\(module\): expected a module whose output can be put in its place"
    ):
        NonlinearSaliency(owner, Logit(), Layer(owner.a), path=Tangent()).explain(images, 1, level=Drop(0.1))


# ---- compiled models ---------------------------------------------------------------------------------------


@models
def test_a_path_is_read_at_a_module_completely_or_what_is_missing_is_said(kind, images):
    model, kept = built(kind), images.clone()
    path = Straight(16, "trapezoid")
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.5), path=path)
    if kind == "HeadWithoutGradient":
        with pytest.raises(ValueError, match="forward_func: expected an output that depends on the input"):
            saliency.explain(images, 1, layers=[model.b])
        return
    run = saliency.explain(images, 1, layers=[model.b])
    assert torch.equal(run.contribution, saliency.explain(images, 1).contribution)
    assert torch.equal(images, kept)
    change = run.score_end - run.score_start
    missing = run.layer_completeness_error[:, 0].abs() / change.abs()
    assert (missing < 0.1).all() or all("does not go through" in reason for reason in run.reason)


def test_a_compiled_model_has_the_map_of_the_model(images):
    conv = nn.Sequential(
        nn.Conv2d(CHANNELS, 6, 3),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.LazyLinear(4),
    ).double()
    conv(images)
    conv.eval()
    compiled = torch.compile(conv, backend="eager")
    for layer in (conv[1], conv[3]):
        found, wanted = (
            NonlinearSaliency(model, Logit(), Layer(layer), path=Tangent()).attribute(
                images, 1, level=Drop(0.1)
            )
            for model in (compiled, conv)
        )
        assert torch.allclose(found, wanted)
    preset, plain = (presets.supports(model, steps=2) for model in (compiled, conv))
    assert len(preset.read_at(images)) == 2
    assert torch.allclose(preset.attribute(images, 1), plain.attribute(images, 1))


# ---- chance and memory -------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    def __init__(self, cell):
        super().__init__()
        self.cell, self.head = cell(8, 6, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(self.cell(x)[0][:, -1])


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attend, self.head = (
            nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True),
            nn.Linear(8, CLASSES),
        )

    def forward(self, x):
        return self.head(self.attend(x, x, x)[0].mean(1))


class Functional(nn.Module):
    """Dropout without a module, for Monte Carlo, whatever the mode."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.head(nn.functional.dropout(x, 0.5).mean(1))


class Counts(nn.Module):
    """Keeps a running mean of its own."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, CLASSES)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        self.mean.mul_(0.9).add_(0.1 * x.detach().mean((0, 1)))
        return self.head(x.mean(1) - self.mean)


CHANCE = {
    "GRU": lambda: Recurrent(nn.GRU),
    "LSTM": lambda: Recurrent(nn.LSTM),
    "attention": Attention,
    "RReLU": lambda: nn.Sequential(nn.Flatten(), nn.Linear(40, 9), nn.RReLU(), nn.Linear(9, CLASSES)),
    "dropout": lambda: nn.Sequential(nn.Flatten(), nn.Dropout(), nn.Linear(40, CLASSES)),
    "batch norm": lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(40), nn.Linear(40, CLASSES)),
    "functional dropout": Functional,
    "own statistics": Counts,
}


@pytest.mark.parametrize("kind", CHANCE)
def test_chance_and_memory_are_warned_of(kind):
    torch.manual_seed(0)
    model, sequences = CHANCE[kind]().train(), torch.rand(4, 5, 8)
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(2))
    with pytest.warns(UserWarning, match="forward_func: the model") as caught:
        saliency.attribute(sequences, 1, internal_batch_size=2)
    assert len(caught) == 1, "once a run"
    assert "train mode" in str(caught[0].message)
    assert caught[0].filename == __file__
    if kind not in ("functional dropout", "own statistics"):
        model.eval()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            saliency.attribute(sequences, 1)


def test_stochastic_depth_is_warned_of():
    torchvision = pytest.importorskip("torchvision")
    model = torchvision.models.convnext_tiny(weights=None, num_classes=5).train()
    saliency = NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(1))
    with pytest.warns(UserWarning, match=r"depends on chance .*StochasticDepth"):
        saliency.attribute(torch.rand(2, 3, 32, 32), 1)


def test_the_noise_of_a_run_is_not_the_models_chance():
    model, sequences = nn.Sequential(nn.Flatten(), nn.Linear(40, CLASSES)).train(), torch.rand(4, 5, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(2), noise=0.1).attribute(
            sequences, 1
        )


# ---- captum's tools around whatever explains ---------------------------------------------------------------

EXPLAINERS = {
    "straight": lambda net: NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(2)),
    "bounded flow, as in README": lambda net: NonlinearSaliency(
        net, coordinates=Input(lower=0.0, upper=1.0), path=Flow(steps=2)
    ),
    "removal": lambda net: NonlinearSaliency(net, Logit(), Removal(0.0), path=Straight(2)),
    "mean": lambda net: Mean([NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(2))]),
    "supports": lambda net: presets.supports(net, steps=2),
    "contrasts": lambda net: presets.contrasts(net, rivals=2),
}


@pytest.mark.filterwarnings("ignore:inputs. .* values lie outside the bounds")
@pytest.mark.parametrize("kind", EXPLAINERS)
def test_captums_tools_take_what_has_attribute(kind):
    net = digit_net()
    explainer, digits = (
        EXPLAINERS[kind](net),
        torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0)),
    )
    torch.manual_seed(0)
    tunnel = NoiseTunnel(explainer).attribute(digits, nt_samples=2, stdevs=0.1, target=3)
    assert tunnel.shape == digits.shape
    given = explainer.attribute((digits,), target=3)
    assert isinstance(given, tuple)
    assert torch.equal(given[0], explainer.attribute(digits, target=3))
    sensitivity = sensitivity_max(explainer.attribute, digits, n_perturb_samples=2, target=3)
    assert sensitivity.shape == (2,)
    assert torch.isfinite(sensitivity).all()

    def perturbed(inputs):
        noise = 0.1 * torch.ones_like(inputs)
        return noise, inputs - noise

    found = infidelity(
        net, perturbed, digits, explainer.attribute(digits, target=3), target=3, n_perturb_samples=2
    )
    assert torch.isfinite(found).all()


def test_inputs_outside_the_bounds_may_only_move_inwards():
    model = nn.Sequential(nn.Linear(3, 1)).double()
    with torch.no_grad():
        model[0].weight.fill_(1.0), model[0].bias.zero_()
    inputs = torch.tensor([[-0.5, 0.5, 1.5]], dtype=torch.float64)
    saliency = NonlinearSaliency(model, Logit(), Input(0.0, 1.0), path=Flow(4))
    with pytest.warns(
        UserWarning, match=r"inputs: 2 values lie outside the bounds of Input\(lower=0.0, upper=1.0\)"
    ):
        run = saliency.explain(inputs, level=0.0)
    assert run.converged.all()
    assert run.endpoint[0, 0] == -0.5, "no farther out"
    assert run.endpoint[0, 2] < 1.5
    with pytest.warns(UserWarning, match="inputs: 2 values"):
        up = saliency.explain(inputs, level=3.0)
    assert up.endpoint[0, 2] == 1.5
    assert up.endpoint[0, 0] > -0.5


# ---- dtypes and modes --------------------------------------------------------------------------------------


def test_inference_mode_is_named(images):
    model = built("Plain")
    saliency = NonlinearSaliency(model, path=Tangent())
    with (
        torch.inference_mode(),
        pytest.raises(RuntimeError, match=r"inputs: .* torch\.inference_mode\(\) forbids"),
    ):
        saliency.attribute(images, 1)
    with torch.inference_mode():
        made_inside = images * 1.0
    with pytest.raises(RuntimeError, match=r"inputs: .* cloned outside"):
        saliency.attribute(made_inside, 1)
    with torch.no_grad():
        assert torch.equal(saliency.attribute(made_inside.clone(), 1), saliency.attribute(images, 1))


def test_half_precision_is_refused_and_brain_floats_are_not(images):
    model = built("Plain")
    with pytest.raises(
        TypeError, match=r"inputs: expected float32, float64 or bfloat16; float16 is too narrow"
    ):
        NonlinearSaliency(model.half()).attribute(images.half(), 1)
    saliency = NonlinearSaliency(model.bfloat16(), Logit(), Input(reference=0.0), path=Straight(2))
    assert torch.isfinite(saliency.attribute(images.bfloat16(), 1)).all()


def test_tokens_are_explained_at_their_embeddings():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(20, 6), nn.Flatten(), nn.Linear(30, 3)).double().eval()
    tokens = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]])
    with pytest.raises(
        TypeError, match=r"inputs: .* explain their embeddings, with coordinates=Layer\(embedding\)"
    ):
        NonlinearSaliency(model).attribute(tokens, 1)
    at_embedding = Layer(model[0], Input(reference=0.0), carried=False)
    run = NonlinearSaliency(model, Logit(), at_embedding, path=Straight(4)).explain(tokens, 1)
    assert run.contribution.shape == (2, 5, 6)
    assert run.completeness_error.abs().max() < 1e-9
    padding = Layer(model[0], Input(reference=0.0))  # token 0, through the embedding
    assert (
        NonlinearSaliency(model, Logit(), padding, path=Straight(4)).explain(tokens, 1).residual.abs().max()
        < 1e-9
    )


def test_a_model_with_examples_that_depend_on_each_other_is_cut_all_the_same(images):
    class Centred(Plain):
        def forward(self, x):
            return self.tail(self.a(x - x.mean(0, keepdim=True)))

    torch.manual_seed(0)
    model = Centred().double().eval()
    parts = AtLayer(Forward(model, examples=3), model.a, images)
    assert not parts.recomputes


# ---- what works in place, outside of a run -----------------------------------------------------------------


def test_what_calls_a_model_gives_it_a_copy(images):
    model, kept = built("InPlace"), images.clone()
    wanted = model(images.clone()).detach()
    assert torch.equal(predict(model, images, batch_size=2), wanted)
    assert torch.equal(images, kept)
    weight_layers(model, images)
    blocks(model, images[:1])
    SmoothGrad(model, samples=2).attribute(images, 1)
    IntegratedGradients(model, reference=0.0, steps=2).attribute(images, 1)
    measured(NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(1)), images, 1)
    assert torch.equal(images, kept)


def test_a_normalisation_in_place_is_a_normalisation():
    v2 = pytest.importorskip("torchvision").transforms.v2
    pixels = torch.rand(2, 3, 8, 8)
    kept = pixels.clone()
    inner = nn.Sequential(nn.Flatten(), nn.Linear(192, CLASSES))
    in_place, plain = (
        Preprocessed(v2.Normalize([0.5] * 3, [0.25] * 3, inplace=inplace), inner) for inplace in (True, False)
    )
    for _ in range(2):
        assert torch.equal(in_place(pixels), plain(pixels))
    assert torch.equal(pixels, kept)
    assert require_explainable(in_place.eval(), pixels) == CLASSES
    straight = {"score": Logit(), "coordinates": Input(reference=0.0), "path": Straight(2)}
    maps = [NonlinearSaliency(model, **straight).attribute(pixels, 1) for model in (in_place, plain)]
    assert torch.equal(*maps)
