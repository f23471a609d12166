"""Nearest against foolbox's minimal-norm attacks on the digit network: python -m benchmarks.nearest."""

import argparse

import foolbox
import pandas as pd
import torch

from benchmarks.common import write_table
from helpers.saliency import Input, Margin, Nearest, NonlinearSaliency
from helpers.zoo.datasets import mnist5k
from helpers.zoo.networks import digit_net

# beyond the boundary by more than the tolerance of the level, so that the strict test below holds
LEVEL = 5e-3


def distances(images: int, gradients: int) -> dict[str, torch.Tensor]:
    """Euclidean distances to the runner-up's region for each method, infinite where it failed.

    The same target class, the same box [0, 1], the same test (the target is the argmax), at most the same
    number of gradients.
    """
    torch.manual_seed(0)
    model = digit_net()
    inputs = mnist5k().test_inputs[:images]
    with torch.no_grad():
        target = model(inputs).argsort(1, descending=True)[:, 1]

    def strict(ends: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            reached = model(ends).argmax(1) == target
        size = (ends - inputs).flatten(1).norm(dim=1)
        return torch.where(
            reached & (ends >= 0).flatten(1).all(1) & (ends <= 1).flatten(1).all(1), size, torch.inf
        )

    results = {}
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    criterion = foolbox.criteria.TargetedMisclassification(target)
    for name, attack in (
        ("DDN", foolbox.attacks.DDNAttack(steps=gradients)),
        ("L2 FMN", foolbox.attacks.L2FMNAttack(steps=gradients)),
    ):
        _, ends, _ = attack(wrapped, inputs, criterion, epsilons=None)
        results[name] = strict(ends)
    for starts in (1, 3):
        path = Nearest(iterations=(gradients - 2) // starts, starts=starts, nodes=1)
        record = NonlinearSaliency(model, Margin(), Input(0.0, 1.0), path=path).explain(
            inputs, target=target, level=LEVEL
        )
        assert record.gradient_evaluations.max() <= gradients
        results[f"Nearest, {starts} start{'s' * (starts > 1)}"] = strict(record.endpoint)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--gradients", type=int, default=[50, 100, 200], nargs="+")
    options = parser.parse_args()
    rows = []
    for gradients in options.gradients:
        results = distances(options.images, gradients)
        for name, size in results.items():
            ratio = size / results["DDN"]
            rows.append(
                {
                    "method": name,
                    "gradients": gradients,
                    "reached": f"{torch.isfinite(size).double().mean():.3f}",
                    "median distance": f"{size.median():.4f}",
                    "median of distance / DDN's": f"{ratio[torch.isfinite(ratio)].median():.4f}",
                }
            )
    table = pd.DataFrame(rows)
    write_table(
        "nearest",
        table,
        f"Distance from {options.images} test digits to the region of their runner-up class, in [0, 1] pixels; "
        "infinite where it was not reached.",
    )
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
