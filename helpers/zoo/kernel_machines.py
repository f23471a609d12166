"""Kernel machines as differentiable modules."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from helpers.checks import require_above_0


class KernelMachine(nn.Module):
    """A kernel machine with a Gaussian (RBF) kernel: f(x) = sum_i a_i exp(-gamma |x - s_i|^2) + b.

    The decision function of a support vector machine (Cortes & Vapnik 1995) as a differentiable module;
    positive values speak for class 1. It computes in the dtype of its input.

    Args:
        support_vectors: s, (S, n).
        dual_coefficients: a, (S,).
        intercept: b, one number.
        gamma: inverse squared width of the kernel, in 1 / (unit of the features)^2.

    Raises:
        ValueError: shapes that do not agree, or gamma not a positive finite number.

    Example:
        >>> import torch
        >>> machine = KernelMachine(torch.zeros(1, 2), torch.ones(1), intercept=-0.5, gamma=1.0)
        >>> machine(torch.tensor([[0.0, 0.0], [9.0, 9.0]]))  # at its support vector, and far away
        tensor([[ 0.5000],
                [-0.5000]])
    """

    def __init__(self, support_vectors: Tensor, dual_coefficients: Tensor, intercept: float, gamma: float):
        super().__init__()
        if support_vectors.ndim != 2 or dual_coefficients.shape != support_vectors.shape[:1]:
            raise ValueError(
                "KernelMachine: expected support_vectors (S, n) and dual_coefficients (S,), got "
                f"{tuple(support_vectors.shape)} and {tuple(dual_coefficients.shape)}."
            )
        require_above_0("KernelMachine(gamma)", gamma)
        self.register_buffer("support_vectors", support_vectors.detach().clone())
        self.register_buffer("dual_coefficients", dual_coefficients.detach().clone())
        self.register_buffer("intercept", torch.as_tensor(intercept, dtype=support_vectors.dtype))
        self.register_buffer("gamma", torch.as_tensor(gamma, dtype=support_vectors.dtype))

    def forward(self, inputs: Tensor) -> Tensor:
        """Decision value of each example: (N, n) -> (N, 1)."""
        if inputs.ndim != 2 or inputs.shape[1] != self.support_vectors.shape[1]:
            raise ValueError(
                f"KernelMachine: expected inputs of shape (N, {self.support_vectors.shape[1]}), got "
                f"{tuple(inputs.shape)}; flatten each example to one row of features."
            )
        # Differences, not cdist: its root has no gradient where an input lies on a support vector.
        difference = inputs[:, None, :] - self.support_vectors.to(inputs)
        kernel = torch.exp(-self.gamma.to(inputs) * difference.square().sum(dim=2))
        return (kernel @ self.dual_coefficients.to(inputs) + self.intercept.to(inputs))[:, None]

    @classmethod
    def fit(cls, inputs: Tensor, targets: Tensor, gamma: float = 1.0, C: float = 1.0) -> "KernelMachine":
        """Fits a support vector classifier (``sklearn.svm.SVC``) and takes it over, in float64.

        Args:
            inputs: (N, n) features.
            targets: (N,) class indices, 0 and 1.
            gamma: inverse squared width of the kernel.
            C: weight of the margin violations; larger fits closer.

        Raises:
            ValueError: targets other than 0 and 1, or only one of them.

        Example:
            >>> import torch
            >>> inputs = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]])  # XOR
            >>> machine = KernelMachine.fit(inputs, torch.tensor([0, 0, 1, 1]), gamma=2.0, C=10.0)
            >>> (machine(inputs)[:, 0] > 0).int()
            tensor([0, 0, 1, 1], dtype=torch.int32)
        """
        from sklearn.svm import SVC

        classes = torch.unique(targets).tolist()
        if classes != [0, 1]:
            raise ValueError(
                f"KernelMachine.fit: expected targets to hold the classes 0 and 1, got {classes}."
            )
        require_above_0("KernelMachine.fit(gamma)", gamma)
        machine = SVC(C=C, kernel="rbf", gamma=gamma).fit(inputs.double().numpy(), targets.numpy())
        return cls(
            torch.tensor(machine.support_vectors_),
            torch.tensor(machine.dual_coef_[0]),
            float(machine.intercept_[0]),
            float(gamma),
        )


class KernelClassifier(nn.Module):
    """Kernel machines side by side, one output column a class: (N, n) -> (N, K).

    Two classes need one machine f: the columns are -f/2 and f/2, so that the log-odds of class 1 are f. Of
    more classes each has a machine of its own, against all the rest (Rifkin & Klautau 2004, JMLR 5). Decision
    values are distances to a boundary in units of the margin, no calibrated log-odds.

    Args:
        machines: one for two classes, else one a class; positive values speak for class 1, or for the class.

    Raises:
        ValueError: no machine, or two of them.

    Example:
        >>> import torch
        >>> machine = KernelMachine(torch.zeros(1, 2), torch.ones(1), intercept=0.0, gamma=1.0)
        >>> KernelClassifier([machine])(torch.zeros(1, 2))  # log-odds of class 1: 1
        tensor([[-0.5000,  0.5000]])
    """

    def __init__(self, machines: Sequence[KernelMachine]):
        super().__init__()
        if len(machines) in (0, 2):
            raise ValueError(
                "KernelClassifier(machines): expected one machine for two classes, or one for each of at "
                f"least three; got {len(machines)}."
            )
        self.machines = nn.ModuleList(machines)

    def forward(self, inputs: Tensor) -> Tensor:
        columns = torch.cat([machine(inputs) for machine in self.machines], dim=1)
        return torch.cat([-columns / 2, columns / 2], dim=1) if len(self.machines) == 1 else columns

    @classmethod
    def fit(
        cls, inputs: Tensor, targets: Tensor, gamma: float | None = None, C: float = 10.0
    ) -> "KernelClassifier":
        """Fits the machines, in float64 (`helpers.zoo.kernel_machines.KernelMachine.fit`).

        Args:
            inputs: (N, n) features.
            targets: (N,) class indices 0 to K - 1, each of them at least once.
            gamma: inverse squared width of the kernel; None: 1 / n, which suits standardised features.
            C: weight of the margin violations.

        Raises:
            ValueError: fewer than two classes, or one of them without an example.

        Example:
            >>> import torch
            >>> inputs, targets = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([0, 1, 2])
            >>> KernelClassifier.fit(inputs, targets, gamma=5.0)(inputs).argmax(1)
            tensor([0, 1, 2])
        """
        classes = torch.unique(targets).tolist()
        if classes != list(range(len(classes))) or len(classes) < 2:
            raise ValueError(
                f"KernelClassifier.fit: expected targets to hold the classes 0 to K - 1, K >= 2; got {classes}."
            )
        gamma = 1 / inputs.shape[1] if gamma is None else gamma
        own = [1] if len(classes) == 2 else classes
        return cls([KernelMachine.fit(inputs, (targets == k).long(), gamma, C) for k in own]).eval()
