"""Kernel machines: against scikit-learn, and in closed form."""

import math

import pytest
import torch
from sklearn.svm import SVC

from helpers.zoo.datasets import two_moons
from helpers.zoo.kernel_machines import KernelMachine
from helpers.zoo.networks import (
    accuracy,
)


@pytest.mark.parametrize("gamma", [0.5, 3.0])
def test_kernel_machine_equals_sklearn(gamma):
    moons = two_moons()
    inputs = moons.train_inputs.double()
    machine = KernelMachine.fit(inputs, moons.train_targets, gamma=gamma, C=5.0)
    oracle = SVC(C=5.0, gamma=gamma).fit(inputs.numpy(), moons.train_targets.numpy())
    test = 2 * moons.test_inputs.double()
    expected = torch.tensor(oracle.decision_function(test.numpy()))[:, None]
    torch.testing.assert_close(machine(test), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(machine(test.float()), expected.float(), rtol=1e-3, atol=1e-3)
    assert machine(test.float()).dtype == torch.float32
    assert accuracy(machine, moons.test_inputs, moons.test_targets) == oracle.score(
        moons.test_inputs.double().numpy(), moons.test_targets.numpy()
    )


def test_kernel_machine_in_closed_form_with_its_gradient():
    machine = KernelMachine(torch.tensor([[1.0, 0.0]]).double(), torch.tensor([2.0]).double(), -0.5, 0.7)
    x = torch.tensor([[0.5, 1.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    scores = machine(x)
    kernel = math.exp(-0.7 * 1.25)
    expected = torch.tensor([[2 * kernel - 0.5], [1.5]], dtype=torch.float64)
    torch.testing.assert_close(scores, expected)
    (gradient,) = torch.autograd.grad(scores.sum(), x)
    # On the support vector itself the gradient is zero, not NaN.
    slope = torch.tensor(
        [[-2 * 0.7 * -0.5 * 2 * kernel, -2 * 0.7 * 1.0 * 2 * kernel], [0, 0]], dtype=torch.float64
    )
    torch.testing.assert_close(gradient, slope)
    assert torch.autograd.gradcheck(machine, x)


def test_kernel_machine_says_what_is_wrong():
    vectors, coefficients = torch.zeros(3, 2), torch.ones(3)
    with pytest.raises(ValueError, match=r"dual_coefficients \(S,\), got \(3, 2\) and \(2,\)"):
        KernelMachine(vectors, coefficients[:2], 0.0, 1.0)
    for gamma in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=rf"\(gamma\): expected a finite number above 0; got {gamma}"):
            KernelMachine(vectors, coefficients, 0.0, gamma)
        with pytest.raises(ValueError, match=rf"\(gamma\): expected a finite number above 0; got {gamma}"):
            KernelMachine.fit(torch.zeros(2, 2), torch.tensor([0, 1]), gamma=gamma)
    with pytest.raises(ValueError, match=r"inputs of shape \(N, 2\), got \(4, 3\)"):
        KernelMachine(vectors, coefficients, 0.0, 1.0)(torch.zeros(4, 3))
    with pytest.raises(ValueError, match=r"classes 0 and 1, got \[1, 2\]"):
        KernelMachine.fit(torch.zeros(2, 2), torch.tensor([1, 2]))
