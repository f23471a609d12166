"""Peers are the captum calls they say they are, controls are what they say, and costs are what happened."""

import warnings

import numpy as np
import pytest
import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
    NoiseTunnel,
    Occlusion,
    Saliency,
)
from torch import nn

from helpers.measure import cost as measure_cost
from helpers.measure import peers
from helpers.measure.cost import Cost, measured
from helpers.measure.grids import CENTRE, INK, ORACLE, RANDOM, Grids, controls, grid_pointing
from helpers.measure.peers import (
    BLURRED,
    EDGES,
    OWN_INK,
    SQUARED,
    BlurredGradient,
    GradCam,
    Gradient,
    OwnInk,
    SmoothGrad,
    SobelEdges,
    SquaredGradient,
    UniformRandom,
    standard_peers,
)
from helpers.saliency import (
    Blurred,
    Euclidean,
    Flow,
    Input,
    Layer,
    Logit,
    LogOdds,
    Margin,
    Mean,
    NonlinearSaliency,
    Removal,
    Straight,
    presets,
)
from helpers.zoo.networks import DigitNet

TARGETS = [2, 0, 3]


class Tally(nn.Module):
    """A small network that counts for itself: rows of passes, and rows of backward passes from its outputs."""

    def __init__(self, classes: int = 4):
        super().__init__()
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            self.body = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, stride=2))
            self.head = nn.Sequential(
                nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, classes)
            )
        self.double().eval()
        self.rows = self.backward_rows = 0

    def forward(self, images, *arguments):
        self.rows += len(images)
        logits = self.head(self.body(images))
        for argument in arguments:
            logits = logits * argument
        return Marked.apply(logits, self) if logits.requires_grad else logits


class Marked(torch.autograd.Function):
    """The identity, which notes that a gradient came back through it."""

    @staticmethod
    def forward(context, values, tally):
        context.tally = tally
        return values.clone()

    @staticmethod
    def backward(context, gradient):
        context.tally.backward_rows += len(gradient)
        return gradient, None


@pytest.fixture
def model():
    return Tally()


@pytest.fixture
def images():
    return torch.rand(3, 2, 13, 11, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def all_peers(model, score=Logit(), **options):
    return standard_peers(model, model.body, Blurred(2.0), score, 5, samples=6, **options)


def on_captum(name, model, images, target):
    """The same by captum alone, with captum's own choice of the logit."""
    x, reference = images.clone().requires_grad_(), Blurred(2.0)(images)
    if name == "gradient":
        return Saliency(model).attribute(x, target).sum(1, keepdim=True)
    if name == "input x gradient":
        return InputXGradient(model).attribute(x, target).sum(1, keepdim=True)
    if name == "SmoothGrad":
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            mean = NoiseTunnel(Saliency(model)).attribute(
                x, nt_samples=6, nt_samples_batch_size=1, stdevs=0.15, target=target, abs=False
            )
        return mean.abs().sum(1, keepdim=True)
    if name == "Integrated Gradients":
        method = IntegratedGradients(model)
        return method.attribute(x, reference, target, n_steps=5, method="riemann_middle").sum(1, keepdim=True)
    if name == "Grad-CAM":
        small = LayerGradCam(model, model.body).attribute(x, target)
        return LayerAttribution.interpolate(small, images.shape[2:], "bilinear")
    window = Occlusion(model).attribute(
        images, (2, 2, 2), (2, 1, 1), baselines=reference, target=target, perturbations_per_eval=1
    )
    return window[:, :1].double()


NAMES = ["gradient", "input x gradient", "SmoothGrad", "Integrated Gradients", "Grad-CAM", "Occlusion"]


def test_the_order_of_the_tables(model):
    assert list(all_peers(model)) == NAMES
    assert [n for n in standard_peers(model, None, 0.0) if "CAM" in n] == []
    two = standard_peers(model, {"middle": model.body[0], "last": model.body}, 0.0)
    assert list(two)[4:6] == ["Grad-CAM, middle", "Grad-CAM, last"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", [1, TARGETS])
def test_every_peer_is_the_captum_call_that_it_wraps(name, target, model, images):
    expected = on_captum(name, model, images, target).detach()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = all_peers(model)[name].attribute(images, target=target)
    assert got.shape == (3, 1, 13, 11)
    assert got.dtype == torch.float64
    assert not got.requires_grad
    assert not images.requires_grad
    assert expected.abs().max() > 0
    assert torch.allclose(got, expected, rtol=1e-9, atol=1e-12)
    (in_a_tuple,) = all_peers(model)[name].attribute((images,), target=target)
    assert torch.equal(in_a_tuple, got)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "SmoothGrad"])
def test_a_map_depends_on_neither_its_batch_nor_on_the_size_of_a_pass(name, model, images):
    peer = all_peers(model)[name]
    whole = peer.attribute(images, target=TARGETS)
    for size in (1, 2, 7, 100):
        got = peer.attribute(images, target=TARGETS, internal_batch_size=size)
        assert torch.allclose(got, whole, rtol=1e-9, atol=1e-12), size
    alone = torch.cat([peer.attribute(images[i : i + 1], target=TARGETS[i]) for i in range(3)])
    assert torch.allclose(alone, whole, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_no_pass_is_larger_than_it_may_be(size, model, images):
    largest = 0

    def watch(x):
        nonlocal largest
        largest = max(largest, len(x))
        return model(x)

    for name, peer in standard_peers(watch, model.body, 0.0, steps=5, samples=6).items():
        largest = 0
        peer.attribute(images, target=TARGETS, internal_batch_size=size)
        repeats = {"Integrated Gradients": 5, "SmoothGrad": 6, "Occlusion": 120}.get(name, 1)
        # several steps, draws or windows share a pass, as many as there is room for
        assert largest == (size if size <= 3 else 3 * min(repeats, size // 3)), name
        largest = 0
        peer.attribute(images, target=TARGETS)
        assert largest == 3, name


@pytest.mark.parametrize("score", [LogOdds(), Margin(), lambda outputs: outputs[:, 1] * outputs[:, 0]])
def test_every_peer_explains_the_score_that_it_is_given(score, model, images):
    """Against autograd and windows by hand, without captum."""
    targets = None if callable(score) and not isinstance(score, (LogOdds, Margin)) else TARGETS
    value = (lambda x: score(model(x))) if targets is None else (lambda x: score(model(x), targets))
    x, reference = images.clone().requires_grad_(), Blurred(2.0)(images)
    (gradient,) = torch.autograd.grad(value(x).sum(), x)
    maps = {
        name: peer.attribute(images, target=targets)
        for name, peer in all_peers(model, score, window=4, stride=3).items()
    }
    one_channel = {"gradient": gradient.abs(), "input x gradient": gradient * images}
    steps = []
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        point = (reference + share * (images - reference)).requires_grad_()
        steps += torch.autograd.grad(value(point).sum(), point)
    one_channel["Integrated Gradients"] = torch.stack(steps).mean(0) * (images - reference)
    for name, expected in one_channel.items():
        # captum has the weights of its steps in float32
        assert torch.allclose(maps[name], expected.sum(1, keepdim=True), rtol=1e-6, atol=1e-9), name
    features = model.body(images).detach().requires_grad_()
    outputs = model.head(features)
    (slope,) = torch.autograd.grad(
        (score(outputs) if targets is None else score(outputs, targets)).sum(), features
    )
    small = (slope.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True).detach()
    large = nn.functional.interpolate(small, (13, 11), mode="bilinear")
    assert torch.allclose(maps["Grad-CAM"], large)
    assert large.min() < 0  # signed
    loss, cover = torch.zeros(3, 13, 11, dtype=torch.float64), torch.zeros(13, 11, dtype=torch.float64)
    with torch.no_grad():
        for down in (0, 3, 6, 9):
            for right in (0, 3, 6, 9):  # the last one is cut at the edge
                changed = images.clone()
                place = (..., slice(down, down + 4), slice(right, right + 4))
                changed[place] = reference[place]
                loss[place] += (value(images) - value(changed))[:, None, None]
                cover[place] += 1
    assert torch.allclose(maps["Occlusion"][:, 0], loss / cover, rtol=1e-5, atol=1e-8)


def test_integrated_gradients_is_the_straight_member(model, images):
    ours = NonlinearSaliency(model, LogOdds(), Input(reference=Blurred(2.0)), Euclidean(), Straight(5))
    expected = ours.attribute(images, target=TARGETS).sum(1, keepdim=True)
    got = all_peers(model, LogOdds())["Integrated Gradients"].attribute(images, target=TARGETS)
    assert torch.allclose(got, expected, rtol=1e-6, atol=1e-9)


def test_magnitudes_and_signs(model, images):
    signed = Gradient(model, magnitude=False).attribute(images, target=1)
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    assert torch.allclose(signed, gradient.sum(1, keepdim=True))
    assert signed.min() < 0 <= Gradient(model).attribute(images, target=1).min()
    still = SmoothGrad(model, noise=0.0, samples=3, magnitude=False)
    assert torch.allclose(still.attribute(images, target=1), signed)
    assert (GradCam(model, model.body, relu=True).attribute(images, target=1) >= 0).all()


def test_smoothgrad_repeats_itself_and_leaves_the_global_generator_alone(model, images):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first = SmoothGrad(model, samples=4).attribute(images, target=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(SmoothGrad(model, samples=4).attribute(images, target=1), first)
    assert not torch.equal(SmoothGrad(model, samples=4, seed=1).attribute(images, target=1), first)


def test_peers_take_feature_vectors_and_models_with_more_arguments(images):
    weights = torch.arange(12.0, dtype=torch.float64).reshape(4, 3) / 10
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)

    def function(x, own, shared):
        return own[:, None] * (x.square() @ shared)  # own: one per example; shared: the same for all

    x = images.flatten(1)[:, :4]
    arguments = {"target": [2, 0, 0], "additional_forward_args": (scale, weights)}
    expected = 2 * x * weights[:, [2, 0, 0]].T * scale[:, None]
    vectors = standard_peers(function, None, 0.0, steps=4)
    for size in (None, 2, 9):
        got = {n: p.attribute(x, **arguments, internal_batch_size=size) for n, p in vectors.items()}
        assert torch.allclose(got["gradient"], expected)
        assert torch.allclose(got["input x gradient"], expected * x)
        assert torch.allclose(got["Integrated Gradients"], expected * x / 2)
        assert torch.allclose(got["Occlusion"], expected * x / 2)


# ---- cost --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 1, 2, 7])
@pytest.mark.parametrize("name", NAMES)
def test_the_cost_of_a_peer_is_what_its_model_saw(name, size, images):
    model = Tally()
    peer = all_peers(model, LogOdds())[name]
    with measure_cost.counted(model) as passes:
        expected = peer.attribute(images, target=TARGETS, internal_batch_size=size)
    counted = passes.cost(3)
    assert (counted.gradients, counted.gradients + counted.forwards) == (
        model.backward_rows / 3,
        model.rows / 3,
    )
    got, cost = measured(peer, images, TARGETS, internal_batch_size=size)
    assert torch.equal(got, expected)
    assert (cost.gradients, cost.forwards) == (counted.gradients, counted.forwards)
    gradients = {"SmoothGrad": 6, "Integrated Gradients": 5, "Occlusion": 0}.get(name, 1)
    assert cost.gradients == gradients
    # 12 x 10 places of a 2 x 2 window with stride 1, and the image itself
    assert cost.forwards == (121 if name == "Occlusion" else 0)
    assert cost.part_gradients == cost.part_forwards == 0


def test_the_cost_of_ours_is_counted_the_same_way(images):
    model = Tally()
    flow = NonlinearSaliency(model, LogOdds(), Input(), path=Flow(3), noise=0.05, samples=2)
    record = flow.explain(images, TARGETS)
    model.rows = model.backward_rows = 0
    _, cost = measured(flow, images, TARGETS)
    assert cost.gradients == record.gradient_evaluations.double().mean()
    assert cost.forwards == record.forward_evaluations.double().mean()
    # `measured` itself makes one pass of one example, for the unit of work
    assert (model.backward_rows, model.rows - 1) == (3 * cost.gradients, 3 * (cost.gradients + cost.forwards))
    assert cost.work > 1.5 * cost.gradients


def test_passes_through_a_part_are_counted_apart(images):
    model = nn.Sequential(
        nn.Conv2d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 4)
    )
    model.double().eval()
    layer = NonlinearSaliency(model, LogOdds(), Layer(model[1], Removal(0.1 * images)), path=Straight(5))
    record = layer.explain(images, TARGETS)
    _, cost = measured(layer, images, TARGETS)
    assert (cost.gradients, cost.forwards) == (0, 0)
    assert cost.part_gradients == record.gradient_evaluations.double().mean() == 5
    ahead = record.forward_evaluations + record.head_evaluations
    assert cost.part_forwards == ahead.double().mean()
    assert 2 < cost.work < 2.2  # twice up to the layer; behind it there is next to nothing
    mean = Mean([layer, NonlinearSaliency(model, LogOdds(), Input(reference=0.0), path=Straight(5))])
    _, both = measured(mean, images, TARGETS)
    assert both.part_gradients == both.gradients == 5


def test_a_gradient_through_a_whole_model_that_cannot_be_cut_counts_as_one(images, model):
    # Tally's control flow depends on values, so that the layer is reached by a hook in a whole pass
    layer = NonlinearSaliency(model, LogOdds(), Layer(model.body, Removal(0.0)), path=Straight(5))
    record = layer.explain(images, TARGETS)
    _, cost = measured(layer, images, TARGETS)
    assert cost.gradients == record.gradient_evaluations.double().mean() == 5
    assert cost.part_gradients == cost.part_forwards == 0


def test_presets_have_a_cost():
    digits = DigitNet().eval()
    preset = presets.contrasts(digits, rivals=5, reference=0.0, steps=2)
    maps, cost = measured(preset, torch.rand(2, 1, 28, 28), 3)
    assert maps.shape == (2, 1, 28, 28)
    # three points of one path, each with the gradients of six classes, which share a pass; the rivals' go back to
    # the module that is read and no further
    assert (cost.gradients, cost.part_gradients) == (18, 0)
    assert 3 * 2 + cost.forwards <= cost.work < 3 * 2 + cost.forwards + 0.5


def test_work_is_exact_where_it_is_known():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(8, 4))
    x = torch.rand(3, 2, 2, 2)
    for name, work in (("gradient", 2), ("Integrated Gradients", 32), ("SmoothGrad", 32), ("Occlusion", 5)):
        _, cost = measured(standard_peers(linear, None, 0.0, window=1)[name], x, 1)
        assert cost.work == pytest.approx(work), name
    nothing = nn.Flatten()  # neither matrix product nor convolution
    assert np.isnan(measured(Gradient(nothing), x, 1)[1].work)


def test_costs_are_said_in_words():
    assert str(Cost(1, 0)) == "1 gradient"
    assert str(Cost(16, 1)) == "16 gradients + 1 pass"
    assert str(Cost(0, 170)) == "170 passes"
    assert str(Cost(0, 0, 10, 3.5)) == "10 gradients in part + 3.5 passes in part"
    assert str(Cost(72, 1, 216, 12)) == "72 gradients + 216 in part + 1 pass + 12 in part"
    assert str(Cost(0, 0)) == "no pass"


def test_counting_ends_with_its_block(model, images):
    with measure_cost.counted(model) as passes:
        model(images)
    model(images)
    assert passes.cost(3).forwards == 1
    with pytest.raises(RuntimeError), measure_cost.counted(model) as passes:
        model(images[:, :1])
    model(images)
    assert not passes.seen
    with pytest.raises(TypeError, match="model: expected a module"), measure_cost.counted(lambda x: x):
        pass
    with pytest.raises(TypeError, match=r"Wrap the function in an nn\.Module"):
        measured(Gradient(lambda x: x.flatten(1)), images, 1)


def test_two_scores_of_one_pass_are_two_gradients(model, images):
    with measure_cost.counted(model) as passes:
        x = images.clone().requires_grad_()
        outputs = model(x)
        torch.autograd.grad(outputs[:, 0].sum(), x, retain_graph=True)
        torch.autograd.grad(outputs[:, 1].sum(), x)
        model(x)  # a graph is built, but no gradient is asked for
    assert passes.cost(3) == Cost(2, 1, work=pytest.approx(np.nan, nan_ok=True))


# ---- controls ----------------------------------------------------------------------------------------------


def test_the_random_control_depends_on_image_class_and_seed_alone(images):
    random = UniformRandom()
    maps = random.attribute(images, target=TARGETS)
    assert maps.shape == (3, 1, 13, 11)
    assert maps.dtype == images.dtype
    assert torch.equal(random.attribute(images[1:2], target=0), maps[1:2])
    others = (
        random.attribute(images, target=[1, 1, 1]),
        random.attribute(images + 1e-9, target=TARGETS),
        UniformRandom(1).attribute(images, target=TARGETS),
        random.attribute(images),
    )
    for other in others:
        assert (other != maps).all()
    many = random.attribute(torch.rand(40, 1, 20, 20, generator=torch.Generator().manual_seed(0)), target=0)
    counts = torch.histc(many, 10, 0, 1) / many.numel()
    assert (counts - 0.1).abs().max() < 0.01
    assert abs(np.corrcoef(many.flatten(1))[0, 1]) < 0.2


def test_the_own_ink_is_that_of_the_evaluation():
    even = torch.rand(2, 1, 8, 8)
    none = torch.zeros(2, 4, dtype=torch.long)
    theirs = controls(Grids(even, none, none, none, none))
    assert torch.equal(OwnInk().attribute(even), theirs[INK][:, :1])


def test_edges_lie_where_the_image_changes():
    image = torch.zeros(1, 3, 9, 9)
    image[..., 5:] = 0.5
    image[:, :, :, 5:] += torch.tensor([0.5, 0.0, -0.5]).reshape(1, 3, 1, 1)  # a grey mean of 0.5
    edges = SobelEdges().attribute(image)
    assert edges.shape == (1, 1, 9, 9)
    assert (edges[..., 1:-1, 4:6] > 0.3).all()
    assert (edges[..., :4] == 0).all()
    assert (edges[..., 6:] == 0).all()


def test_ink_is_the_sum_of_the_channels(images):
    assert torch.equal(OwnInk().attribute(images), images.sum(1, keepdim=True))


def test_blurred_and_squared_gradients(model, images):
    plain = Gradient(model).attribute(images, target=1)
    blurred = BlurredGradient(model, width=3.0).attribute(images, target=1)
    assert torch.allclose(blurred.sum((2, 3)), plain.sum((2, 3)))
    assert blurred.std() < 0.5 * plain.std()
    assert torch.allclose(BlurredGradient(model, width=0.0).attribute(images, target=1), plain)
    x = images.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[:, 1].sum(), x)
    squared = SquaredGradient(model).attribute(images, target=1)
    assert torch.allclose(squared, gradient.square().sum(1, keepdim=True))


def test_controls_cost_nothing_and_go_with_the_evaluations_own():
    digits = DigitNet().eval()
    own = {
        EDGES: SobelEdges(),
        BLURRED: BlurredGradient(digits, width=2.0),
        SQUARED: SquaredGradient(digits),
    }
    every = {RANDOM: UniformRandom()} | own | {OWN_INK: OwnInk()}
    one = torch.rand(1, 1, 28, 28)
    costs = [str(measured(control, one, 3)[1]) for control in every.values()]
    assert costs == ["no pass"] * 2 + ["1 gradient"] * 2 + ["no pass"]
    assert measured(every[RANDOM], one, 3)[1].work == 0
    cells = torch.zeros(1, 4, dtype=torch.long)
    grids = Grids(torch.rand(1, 1, 56, 56), cells + 3, cells, torch.arange(4)[None], cells)
    methods = {
        name: lambda x, t, control=control: control.attribute(x, target=t) for name, control in own.items()
    }
    table = grid_pointing(methods, grids, show_progress=False)
    assert set(table["method"]) == {*methods, RANDOM, CENTRE, INK, ORACLE}


# ---- what is refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda m: Gradient("net"),
            TypeError,
            "forward_func: expected a module or a function; got 'net'",
        ),
        (lambda m: Gradient(m, score=3), TypeError, "score: expected LogOdds"),
        (lambda m: SmoothGrad(m, noise=-1.0), ValueError, r"SmoothGrad\(noise\): .*got -1"),
        (lambda m: SmoothGrad(m, noise=float("nan")), ValueError, r"SmoothGrad\(noise\): .*finite"),
        (lambda m: SmoothGrad(m, samples=0), ValueError, r"SmoothGrad\(samples\): .*at least 1"),
        (lambda m: peers.IntegratedGradients(m, steps=0), ValueError, r"IntegratedGradients\(steps\)"),
        (lambda m: peers.Occlusion(m, window=0), ValueError, r"Occlusion\(window\)"),
        (lambda m: peers.Occlusion(m, stride=1.5), ValueError, r"Occlusion\(stride\)"),
        (lambda m: GradCam(m, "body"), TypeError, r"GradCam\(layer\): expected a module"),
        (lambda m: GradCam(m, nn.ReLU()), ValueError, "ReLU is no part of the Tally"),
        (lambda m: BlurredGradient(m, width=-1), ValueError, r"BlurredGradient\(width\)"),
    ],
)
def test_wrong_settings_are_refused(make, error, message, model):
    with pytest.raises(error, match=message):
        make(model)


def test_wrong_calls_are_refused(model, images):
    gradient = Gradient(model)
    for arguments, error, message in (
        ({"inputs": [1.0], "target": 0}, TypeError, "inputs: expected a tensor"),
        ({"inputs": images.long(), "target": 0}, TypeError, "inputs: expected a floating-point tensor"),
        ({"inputs": images / 0, "target": 0}, ValueError, "inputs: expected finite values"),
        ({"inputs": images}, ValueError, "target: the model has 4 output columns"),
        ({"inputs": images, "target": [0, 1]}, ValueError, "target: expected one class or one per example"),
        ({"inputs": images, "target": 4}, ValueError, r"target: expected class indices in \[0, 4\); got 4"),
        ({"inputs": images, "target": 1.0}, TypeError, "target: expected integer"),
        ({"inputs": images, "target": 0, "internal_batch_size": 0}, ValueError, "internal_batch_size"),
    ):
        with pytest.raises(error, match=message):
            gradient.attribute(**arguments)
    for peer, message in (
        (peers.Occlusion(model, window=12), r"window <= 11, .*got window 12, stride 6"),
        (peers.Occlusion(model, window=2, stride=3), "got window 2, stride 3"),
        (peers.Occlusion(model, torch.zeros(5)), r"Occlusion\(reference\)"),
        (peers.IntegratedGradients(model, torch.zeros(5)), r"IntegratedGradients\(reference\)"),
        (GradCam(model, model.head[2]), r"feature maps \(N, c, h, w\) or tokens; got inputs .* of a Flatten"),
    ):
        with pytest.raises(ValueError, match=message):
            peer.attribute(images, target=0)
    assert not model.head[2]._forward_hooks
    for control in (SobelEdges(), UniformRandom()):
        with pytest.raises(ValueError, match=r"expected images of shape \(N, C, H, W\); got \(3, 286\)"):
            control.attribute(images.flatten(1))
    flat = nn.Linear(286, 2).double()
    with pytest.raises(ValueError, match="BlurredGradient: expected images"):
        BlurredGradient(flat, width=1.0).attribute(images.flatten(1), target=0)
    with pytest.raises(ValueError, match="target: expected one class"):
        UniformRandom().attribute(images, target=[1, 2])
    model.head.append(nn.Dropout()).train()
    with pytest.warns(UserWarning, match="train mode and has Dropout"):
        gradient.attribute(images, target=0)
