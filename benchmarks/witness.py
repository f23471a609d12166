"""Does a second network follow a path? Test digits, asked why not their runner-up: python -m benchmarks.witness.

Every path leads from the same digits to the same level of the same network's log-odds, in other coordinates:
pixels, pixels in which smooth changes count as small, the code of principal components, the code of a variational
autoencoder. A witness, which no path sees, says how far it went along (helpers.measure.witness). The straight paths
to the class's mean code are told where such digits lie; the others know the network alone.
"""

import argparse
from functools import partial

import pandas as pd
import torch
from torch import Tensor

from benchmarks.common import write_table
from helpers.measure.witness import witness_table
from helpers.saliency import Flow, Input, LogOdds, NonlinearSaliency, Smooth, Straight, Tangent
from helpers.zoo.datasets import Split, mnist5k
from helpers.zoo.decoders import digit_pca, digit_vae
from helpers.zoo.networks import digit_net, digit_witness, predict

LEVEL = 2.0
WIDTH = 2.0  # of the smooth geometry, in pixels
# A larger change of whatever kind moves a witness further: with these levels the changes of the flows in pixels,
# plain and smooth, are about as large as that of the flow in the autoencoder's code.
FAR = (24.0, 12.0)


def paths(model, split: Split, target: Tensor, steps: int) -> dict[str, tuple[NonlinearSaliency, float]]:
    """The ways that are compared: name -> the method that goes it, and the level that it goes to."""
    from helpers.saliency import Decoder

    codes = {"PCA": digit_pca(), "VAE": digit_vae()}
    means = {
        name: code.mean_codes(split.train_inputs, split.train_targets)[target] for name, code in codes.items()
    }

    def within(name: str, reference: Tensor | None = None) -> Decoder:
        return Decoder(codes[name].decode, codes[name].encode, reference=reference, lower=0.0, upper=1.0)

    pixels, flow, straight = Input(lower=0.0, upper=1.0), Flow(steps), Straight(steps)
    method = partial(NonlinearSaliency, model, LogOdds())
    noisy, smooth = method(pixels, path=flow), method(pixels, geometry=Smooth(WIDTH), path=flow)
    to_level = {
        "flow, pixels": noisy,
        f"flow, pixels, smooth {WIDTH:g} px": smooth,
        f"flow, PCA of {codes['PCA'].size}": method(within("PCA"), path=flow),
        f"flow, VAE of {codes['VAE'].size}": method(within("VAE"), path=flow),
        "straight to the class's mean, PCA": method(within("PCA", means["PCA"]), path=straight),
        "straight to the class's mean, VAE": method(within("VAE", means["VAE"]), path=straight),
        "tangent, VAE": method(within("VAE"), path=Tangent()),
    }
    further = {
        f"flow, pixels, to {FAR[0]:+g}": (noisy, FAR[0]),
        f"flow, pixels, smooth {WIDTH:g} px, to {FAR[1]:+g}": (smooth, FAR[1]),
    }
    return {name: (saliency, LEVEL) for name, saliency in to_level.items()} | further


def walked(images: int, steps: int) -> pd.DataFrame:
    """The witness's table of the paths' ends, and how many of them arrived at the level."""
    model, split = digit_net(), mnist5k()
    # of all classes alike: the digits are in the order of their classes
    chosen = torch.linspace(0, len(split.test_inputs) - 1, images).long()
    inputs = split.test_inputs[chosen]
    target = predict(model, inputs).argsort(dim=1, descending=True)[:, 1]
    records = {
        name: saliency.explain(inputs, target=target, level=level)
        for name, (saliency, level) in paths(model, split, target, steps).items()
    }
    ends = {name: record.endpoint for name, record in records.items()}
    table = witness_table(digit_witness(), model, inputs, ends, target)
    sizes = [(end - inputs).flatten(1).norm(dim=1).median().item() for end in ends.values()]
    converged = [record.converged.double().mean().item() for record in records.values()]
    return table.assign(converged=converged, size=sizes)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--steps", type=int, default=32)
    options = parser.parse_args()
    table = walked(options.images, options.steps).round(3)
    write_table(
        "witness",
        table,
        f"Paths from {options.images} test digits to log-odds {LEVEL:+g} of their runner-up class in the digit "
        f"network (further where it says so), {options.steps} steps; a witness, a multilayer perceptron that no "
        "path sees, at their ends. "
        "Median, mean: its share of its own way to even odds (own way: the network's); named: how often it, and "
        "the network, put the class first; 95 % intervals by image; left out: images at which it stands at even "
        "odds or beyond from the start. Of all images: converged, how many paths arrived at the level; size, the "
        "median Euclidean length of the change of the pixels.",
    )
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
