import pytest
import torch
from combinations import COVARIANCE, SCALED

from helpers.saliency import Blurred, Constant, Covariance, DataMean, Euclidean, Scaled, Smooth, gaussian_blur
from helpers.saliency.smoothing import smoothing_matrix

GEOMETRIES = [
    (Euclidean(), (4,)),
    (SCALED, (4,)),
    (COVARIANCE, (4,)),
    (Smooth(1.5), (2, 6, 9)),
    (Smooth(40.0), (1, 5, 5)),
]


@pytest.mark.parametrize(("geometry", "shape"), GEOMETRIES, ids=lambda value: type(value).__name__)
def test_the_adjoint_is_exact(geometry, shape):
    generator = torch.Generator().manual_seed(0)
    v, g = torch.randn(2, 3, *shape, dtype=torch.float64, generator=generator)
    geometry.check(shape)
    left = (geometry.apply(v) * g).flatten(1).sum(1)
    right = (v * geometry.adjoint(g)).flatten(1).sum(1)
    assert torch.allclose(left, right, rtol=1e-13, atol=1e-13)


def test_covariance_is_the_matrix():
    matrix = COVARIANCE.matrix
    assert torch.allclose(COVARIANCE.apply(COVARIANCE.adjoint(torch.eye(4, dtype=torch.float64))), matrix)


def test_blur_keeps_constants_and_spreads_a_point_like_a_gaussian():
    assert torch.allclose(gaussian_blur(torch.ones(1, 1, 7, 9), 3.0), torch.ones(1, 1, 7, 9), atol=1e-6)
    point = torch.zeros(1, 1, 61, 61, dtype=torch.float64)
    point[..., 30, 30] = 1
    spread = gaussian_blur(point, 3.0)[0, 0]
    places = torch.arange(61, dtype=torch.float64) - 30
    bell = torch.exp(-(places**2) / 18)
    bell = bell / bell.sum()
    assert torch.allclose(spread, bell[:, None] * bell, atol=1e-9)


def test_blur_is_symmetric_and_contracts():
    matrix = smoothing_matrix(11, 2.0)
    assert torch.equal(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).max() <= 1 + 1e-12
    assert gaussian_blur(torch.rand(2, 3), 0) is not None


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: Scaled(torch.tensor([1.0, 0.0])), "positive, finite"),
        (lambda: Covariance(torch.ones(2, 3)), r"expected shape \(n, n\); got \(2, 3\)"),
        (lambda: Covariance(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "symmetric"),
        (lambda: Covariance(-torch.eye(2)), "positive definite"),
        (lambda: Smooth(-1.0), r"Smooth\(width\): expected a width in pixels"),
        (lambda: Blurred(float("nan")), r"Blurred\(width\)"),
        (lambda: Smooth(1.0).check((4,)), r"image coordinates of shape \(C, H, W\); got \(4,\)"),
        (lambda: SCALED.check((5,)), r"broadcasts to the coordinates' \(5,\); got \(4,\)"),
        (lambda: COVARIANCE.check((5,)), r"expected shape \(5, 5\)"),
        (lambda: Blurred(2.0)(torch.rand(2, 4)), r"images of shape \(N, C, H, W\)"),
        (lambda: DataMean(torch.rand(9, 3))(torch.rand(2, 4)), r"shape \(M, 4\); got \(9, 3\)"),
    ],
)
def test_errors_name_what_is_wrong(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_references():
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(Constant(0.5)(images), torch.full_like(images, 0.5))
    assert torch.allclose(
        Blurred(100.0)(images), images.mean((2, 3), keepdim=True).expand_as(images), atol=1e-5
    )
    assert torch.allclose(DataMean(images)(images)[0], images.mean(0))
