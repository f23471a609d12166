"""What is built from members: contrasts with competing classes, means, presets; noise; life within captum."""

import pytest
import torch
from captum.attr import InputXGradient, NoiseTunnel, visualization
from captum.metrics import infidelity, sensitivity_max
from torch import nn

from helpers.lessons.tables import moves_needed, scores_while_moving
from helpers.saliency import (
    Blurred,
    Covariance,
    Drop,
    Flow,
    GeometricMean,
    Input,
    Largest,
    Layer,
    Logit,
    LogOdds,
    Mean,
    Nearest,
    NonlinearSaliency,
    Removal,
    Secant,
    Softmax,
    Straight,
    StraightTangent,
    Stretch,
    Tangent,
    presets,
    reduce,
)
from helpers.zoo.datasets import breast_cancer, wine
from helpers.zoo.kernel_machines import KernelClassifier
from helpers.zoo.networks import fit, mlp, predict, with_normalisation


@pytest.fixture
def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.Tanh(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 4),
    ).double().eval()  # fmt: skip


@pytest.fixture
def images():
    return torch.rand(3, 1, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


PATHS = [Tangent(), StraightTangent(), Straight(6), Flow(4), Secant(8, 3), Nearest(6, 1, 3)]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
def test_competitors_travel_the_same_path(path, net, images):
    saliency = NonlinearSaliency(net, Logit(), Input(reference=0.0), path=path)
    level = None if path.default_level is None else Drop(0.01)
    record = saliency.explain(images, target=1, level=level, competitors=[0, 3])
    plain = saliency.explain(images, target=1, level=level)
    assert torch.allclose(record.contribution, plain.contribution, atol=1e-12)
    assert record.competitors.tolist() == [[0, 3]] * 3
    assert record.competing_contributions.shape == (3, 2, 1, 10, 12)
    assert (record.gradient_evaluations == 3 * plain.gradient_evaluations).all()
    change = net(record.endpoint) - net(images)
    if not isinstance(path, (Tangent, StraightTangent)):
        sums = record.competing_contributions.flatten(2).sum(2)
        assert torch.allclose(sums, change[:, [0, 3]], rtol=0.02, atol=1e-4)


def test_the_straight_tangent_is_input_times_gradient_and_reports_its_miss(net, images):
    saliency = NonlinearSaliency(net, Logit(), Input(reference=0.0), path=StraightTangent())
    record = saliency.explain(images, target=1)
    peer = InputXGradient(net).attribute(images.clone().requires_grad_(), target=1)
    assert torch.allclose(record.support(), peer, atol=1e-12)
    blank, start = net(torch.zeros_like(images))[:, 1], net(images)[:, 1]
    assert torch.allclose(record.completeness_error, start - peer.flatten(1).sum(1) - blank, atol=1e-12)
    assert record.gradient_evaluations.tolist() == [1] * 3


def test_a_stretch_counts_only_its_part_of_the_way(net, images):
    place = Input(reference=0.25)
    run = NonlinearSaliency(net, Logit(), place, path=Stretch(64, 0.3, 0.8)).explain(images, target=1)
    begin, end = (images + share * (0.25 - images) for share in (0.3, 0.8))
    assert torch.allclose(run.endpoint, end)
    assert torch.allclose(run.score_end, net(end)[:, 1])
    counted = run.contribution.flatten(1).sum(1)
    assert torch.allclose(counted, net(end)[:, 1] - net(begin)[:, 1], atol=1e-3)
    # the same as a straight path from the one place to the other
    between = NonlinearSaliency(net, Logit(), Input(reference=end), path=Straight(64)).explain(
        begin, target=1
    )
    assert torch.allclose(run.contribution, between.contribution, atol=1e-12)
    assert torch.allclose(run.mean_gradient, between.mean_gradient, atol=1e-12)
    assert run.gradient_evaluations.tolist() == [64] * 3
    # what is not counted is reported
    before = net(begin)[:, 1] - net(images)[:, 1]
    assert torch.allclose(run.completeness_error.abs(), before.abs(), atol=1e-3)
    whole = NonlinearSaliency(net, Logit(), place, path=Stretch(7)).explain(images, target=1)
    straight = NonlinearSaliency(net, Logit(), place, path=Straight(7)).explain(images, target=1)
    assert torch.allclose(whole.contribution, straight.contribution, atol=1e-12)


def test_wrong_stretches(net, images):
    for begin, end in ((0.5, 0.5), (-0.1, 1.0), (0.0, 1.1), (0.8, 0.2)):
        with pytest.raises(ValueError, match=r"Stretch\(begin, end\): expected 0 <= begin < end <= 1"):
            Stretch(4, begin, end)
    saliency = NonlinearSaliency(net, Logit(), Input(reference=0.25), path=Stretch(4))
    with pytest.raises(ValueError, match="pass no level"):
        saliency.explain(images, target=1, level=0.0)
    with pytest.raises(ValueError, match="leads to a reference"):
        NonlinearSaliency(net, Logit(), path=Stretch(4)).explain(images, target=1)


def test_the_straight_tangent_ends_where_it_predicts_the_level(net, images):
    saliency = NonlinearSaliency(net, Logit(), Input(reference=0.0), path=StraightTangent())
    whole = saliency.explain(images, target=1)
    predicted = whole.contribution.flatten(1).sum(1)
    level = whole.score_start + predicted / 3
    record = saliency.explain(images[:1], target=1, level=level[0].item())
    assert torch.allclose(record.displacement, whole.displacement[:1] / 3, atol=1e-9)
    assert not record.converged.any()
    # affine: the tangent is right
    linear = nn.Sequential(nn.Flatten(), nn.Linear(120, 2)).double()
    exact = NonlinearSaliency(linear, Logit(), Input(reference=0.0), path=StraightTangent())
    start, blank = linear(images[:1])[0, 1].item(), linear(0 * images[:1])[0, 1].item()
    record = exact.explain(images[:1], target=1, level=(start + blank) / 2)
    assert record.converged.all()
    assert record.completeness_error.abs().max() < 1e-9


def test_the_highest_other_classes_compete(net, images):
    saliency = NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(4))
    record = saliency.explain(images, target=[0, 1, 2], competitors=2)
    logits = net(images)
    for row, target in enumerate([0, 1, 2]):
        others = [c for c in logits[row].argsort(descending=True).tolist() if c != target]
        assert record.competitors[row].tolist() == others[:2]
    every = saliency.explain(images, 0, competitors=9).competitors  # all three, where there are no more
    assert every.sort(1).values.tolist() == [[1, 2, 3]] * 3


@pytest.mark.parametrize(
    ("competitors", "error", "words"),
    [
        (0, ValueError, "competitors: expected an integer of at least 1"),
        ([1, 2], ValueError, "classes other than the target"),
        ([7], ValueError, r"in \[0, 4\); got 7"),
        ([], ValueError, "at least one"),
    ],
)
def test_wrong_competitors(competitors, error, words, net, images):
    with pytest.raises(error, match=words):
        NonlinearSaliency(net).explain(images, target=1, competitors=competitors)


def test_contrasts_in_closed_form():
    own = torch.tensor([[[[2.0, -1.0]]]])
    others = torch.tensor([[[[[1.0, 3.0]]], [[[-1.0, 0.0]]]]])
    assert Largest(2).compare(own, others).flatten().tolist() == [1.0, -3.0]
    size = (2 + 1 + 1 + 3 + 1 + 0) / 6
    shares = torch.tensor([[2.0, -1.0], [1.0, 3.0], [-1.0, 0.0]]).div(size).softmax(0)
    assert torch.allclose(Softmax(2).compare(own, others).flatten(), shares[0] * own.flatten())
    sharper = torch.tensor([[2.0, -1.0], [1.0, 3.0], [-1.0, 0.0]]).div(size * 0.25).softmax(0)
    found = Softmax(2, temperature=0.25).compare(own, others)
    assert torch.allclose(found.flatten(), sharper[0] * own.flatten())
    for wrong in (0.0, -1.0, float("inf"), True):
        with pytest.raises(ValueError, match=r"Softmax\(temperature\): expected a finite number above 0"):
            Softmax(temperature=wrong)


def test_a_contrast_is_a_readout(net, images):
    saliency = NonlinearSaliency(
        net, Logit(), Input(reference=0.0), path=Straight(4), readout=Softmax(competitors=3, width=1.0)
    )
    attribution = saliency.attribute(images, target=2)
    assert attribution.shape == (3, 1, 10, 12)
    assert torch.equal(attribution, saliency.explain(images, target=2).support())
    with pytest.raises(ValueError, match="this run had none"):
        saliency.replace(readout="contribution").explain(images, target=2).support(saliency.readout)


def test_the_mean_of_members(net, images):
    members = [
        NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(4)),
        NonlinearSaliency(net, Logit(), Layer(net[3], Removal(Blurred(2.0))), path=Straight(4)),
    ]
    mean = Mean(members)
    attribution = mean.attribute(images, target=2)
    assert attribution.shape == (3, 1, 10, 12)
    first, second = (reduce(member.attribute(images, target=2))[:, None] for member in members)
    second = nn.functional.interpolate(second, (10, 12), mode="bilinear")
    parts = [part / part.abs().mean((1, 2, 3), keepdim=True) for part in (first, second)]
    assert torch.allclose(attribution, (parts[0] + parts[1]) / 2)
    records = mean.explain(images, target=2).members
    assert [record.contribution.shape[1] for record in records] == [1, 5]
    with pytest.raises(ValueError, match="at least one"):
        Mean([])
    with pytest.raises(TypeError, match=r"Mean\(members\): expected NonlinearSaliency"):
        Mean([net])


def test_the_geometric_mean_keeps_what_all_members_find(net, images):
    members = [
        NonlinearSaliency(net, Logit(), Input(reference=0.0), path=Straight(4)),
        NonlinearSaliency(net, Logit(), Layer(net[3], Removal(Blurred(2.0))), path=Straight(4)),
    ]
    both = GeometricMean(members, floor=0.1).attribute(images, target=2)
    single = [Mean([member]).attribute(images, target=2) for member in members]
    assert torch.allclose(both, (single[0].clamp_min(0.1) * single[1].clamp_min(0.1)).sqrt())
    assert both.min() >= 0.1
    with pytest.raises(ValueError, match=r"GeometricMean\(floor\): expected a finite number above 0"):
        GeometricMean(members, floor=0)
    with pytest.raises(ValueError, match="at least one"):
        GeometricMean([])


def test_reduce_sums_over_channels():
    attribution = torch.randn(2, 3, 4, 5)
    assert torch.equal(reduce(attribution), attribution.sum(1))
    with pytest.raises(ValueError, match="expected a dimension from 1 to 3"):
        reduce(attribution, channels=4)


def test_noise_gives_a_dead_unit_a_way_out():
    model = lambda x: torch.relu(x[:, :1])  # noqa: E731
    x = torch.tensor([[-0.5, 0.0]], dtype=torch.float64)
    stuck = NonlinearSaliency(model, Logit()).explain(x, level=0.5)
    assert "vanishing" in stuck.reason[0]
    smoothed = NonlinearSaliency(model, Logit(), noise=0.5, samples=16)
    record = smoothed.explain(x, level=0.5)
    assert record.converged.all()
    assert record.raw_score_start.item() == 0.0
    assert record.score_start.item() > 0
    assert record.raw_score_end.item() == pytest.approx(record.endpoint[0, 0].item())
    assert record.gradient_evaluations.item() % 16 == 0
    again = smoothed.explain(torch.cat([x + 1, x]), level=0.5)
    assert torch.allclose(again.endpoint[1], record.endpoint[0], atol=1e-9)


def test_noise_draws_are_antithetic_and_end_with_zero(net, images):
    saliency = NonlinearSaliency(net, noise=0.1, samples=5, generator=torch.Generator().manual_seed(3))
    draws = saliency._draws(Input().chart(images, None))
    assert draws.shape == (5, 1, 10, 12)
    assert torch.equal(draws[:2], -draws[2:4])
    assert (draws[4] == 0).all()
    one = NonlinearSaliency(net, noise=0.1, samples=1)
    assert torch.allclose(one.attribute(images, target=0), NonlinearSaliency(net).attribute(images, target=0))
    for options in ({"noise": -1.0}, {"noise": float("nan")}, {"samples": 0}):
        with pytest.raises(ValueError, match="noise|samples"):
            NonlinearSaliency(net, **options)


def test_at_home_in_captum(net, images):
    saliency = NonlinearSaliency(net, path=Flow(4))
    torch.manual_seed(0)
    tunnel = NoiseTunnel(saliency).attribute(
        images, target=1, nt_samples=3, stdevs=0.05, nt_type="smoothgrad"
    )
    plain = saliency.attribute(images, target=1)
    assert tunnel.shape == plain.shape
    assert nn.functional.cosine_similarity(tunnel.flatten(1), plain.flatten(1)).min() > 0.5

    def perturb(inputs):
        noise = 0.01 * torch.randn_like(inputs)
        return noise, inputs - noise

    values = infidelity(net, perturb, images, plain, target=1, normalize=True)
    assert values.shape == (3,)
    assert values.isfinite().all()
    values = sensitivity_max(saliency.attribute, images, target=1, n_perturb_samples=2)
    assert values.isfinite().all()
    shown = plain[0].permute(1, 2, 0).numpy()
    figure, _ = visualization.visualize_image_attr(shown, sign="all", use_pyplot=False)
    assert figure.axes[0].images


def test_the_tabular_preset():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    data = torch.randn(50, 3, dtype=torch.float64)
    record = presets.tabular(model, data.mean(0)).explain(data[:4], target=0)
    assert record.completeness_error.abs().max() < 1e-3
    assert torch.allclose(record.endpoint, data.mean(0).expand(4, 3))
    single = nn.Linear(3, 1).double()
    assert presets.tabular(single, data[:4], Logit()).explain(data[4:8]).support().shape == (4, 3)


@pytest.mark.parametrize("load", [breast_cancer, wine])
@pytest.mark.parametrize("units", [nn.Tanh, nn.ReLU, None], ids=["tanh", "relu", "kernel machine"])
@pytest.mark.parametrize("seed", range(3))
def test_the_tabular_preset_needs_fewer_moves_than_the_flow(load, units, seed):
    split = load(seed)
    train, labels, x = split.train_inputs.double(), split.train_targets, split.test_inputs.double()
    if units is None:
        net = KernelClassifier.fit(train, labels)
    else:
        net = mlp(train.shape[1], len(split.class_names), (16, 16), units, seed=seed).double()
        fit(net, train, labels, epochs=30, seed=seed, show_progress=False)
    own, rival = predict(net, x).topk(2).indices.T
    means = torch.stack([train[labels == k].mean(0) for k in range(len(split.class_names))])
    real = torch.stack([train[labels == k][0] for k in range(len(split.class_names))])
    flow = NonlinearSaliency(net, LogOdds(), geometry=Covariance(torch.cov(train.T)), path=Flow(16))
    methods = presets.tabular(net, means[rival]), flow
    orders = [method.explain(x, own).support().argsort(dim=1, descending=True) for method in methods]
    for end in (means[rival], real[rival]):
        preset, other = (
            moves_needed(scores_while_moving(lambda points: LogOdds()(net(points), own), x, end, order))
            for order in orders
        )
        assert preset.double().mean() < other.double().mean()


def test_normalised_speaks_pixels():
    model = with_normalisation(nn.Flatten(), [0.5, 0.25], [0.5, 1.0])
    pixels = torch.rand(2, 2, 1, 1)
    expected = (pixels - torch.tensor([0.5, 0.25])[:, None, None]) / torch.tensor([0.5, 1.0])[:, None, None]
    assert torch.allclose(model(pixels), expected.flatten(1))
    for mean, std, words in ((0.5, 0.0, "positive"), ([[0.1]], 1.0, "one per channel")):
        with pytest.raises(ValueError, match=words):
            with_normalisation(nn.Flatten(), mean, std)


def test_log_odds_of_a_layer_reach_the_boundary(net, images):
    record = NonlinearSaliency(net, LogOdds(), Layer(net[2]), path=Flow(12)).explain(images, target=1)
    assert record.converged.all()
    assert record.contribution.shape == (3, 4, 5, 6)
