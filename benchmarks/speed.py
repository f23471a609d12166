"""Time and memory of the maps against bare loops and captum's methods: python -m benchmarks.speed."""

import argparse
import time

import pandas as pd
import torch
from captum.attr import IntegratedGradients, LayerGradCam
from efficientnet_lite_pytorch import EfficientNet
from matplotlib.figure import Figure

from benchmarks.common import HERE, median_seconds, peak_bytes, write_table
from helpers.saliency import Drop, Flow, Input, Layer, Logit, NonlinearSaliency, Removal, Straight
from helpers.zoo.networks import DigitNet

STEPS = 8


def network() -> EfficientNet:
    """EfficientNet-Lite0; its weights do not matter for time and memory."""
    torch.manual_seed(0)
    return EfficientNet.from_name("efficientnet-lite0").eval()


def prepare():
    """Network and photographs, after one pass through it (which fills caches)."""
    torch.manual_seed(0)
    model, photos = network(), torch.rand(8, 3, 224, 224)
    with torch.no_grad():
        model(photos[:1])
    return model, photos


def bare_loop(model, inputs, steps: int) -> None:
    """As many gradients of the same score as a straight path has, and nothing else."""
    for step in range(steps):
        point = (inputs * (1 - (step + 0.5) / steps)).requires_grad_()
        torch.autograd.grad(model(point)[:, 3].sum(), point)


def straight(model, steps: int, **options) -> NonlinearSaliency:
    return NonlinearSaliency(model, Logit(), Input(reference=0.0), path=Straight(steps), **options)


def integrated(model, inputs, steps: int, internal: int | None = None):
    # with its convergence delta, because our record has it too
    return IntegratedGradients(model).attribute(
        inputs,
        0.0 * inputs,
        target=3,
        n_steps=steps,
        method="riemann_middle",
        internal_batch_size=internal,
        return_convergence_delta=True,
    )


def overhead(repeats: int) -> list[dict]:
    """Our straight path against a bare loop of the same number of gradients."""
    rows = []
    model, photos = prepare()
    digits, images = DigitNet().eval(), torch.rand(256, 1, 28, 28)
    for name, net, inputs, limit in (
        ("EfficientNet-Lite0, 8 photos of 224 px", model, photos, 1.05),
        ("digit network, 256 images", digits, images, 1.15),
    ):
        # the straight path measures the scores at both ends without a gradient; the loop does so, too
        def loop(net=net, inputs=inputs):
            bare_loop(net, inputs, STEPS)
            with torch.no_grad():
                net(inputs), net(0 * inputs)

        ours = straight(net, STEPS)
        seconds = median_seconds(
            {"loop": loop, "ours": lambda ours=ours, inputs=inputs: ours.attribute(inputs, target=3)}, repeats
        )
        rows.append(row(f"time, straight / bare loop: {name}", seconds["ours"] / seconds["loop"], limit))
    seconds = median_seconds(
        {
            "ours": lambda: straight(model, STEPS).attribute(photos, target=3),
            "captum": lambda: integrated(model, photos, STEPS, 8),
        },
        repeats,
    )
    rows.append(
        row(
            "time, straight / captum's IntegratedGradients with its delta",
            seconds["ours"] / seconds["captum"],
            1.05,
        )
    )
    place = Layer(model._blocks[-1], Removal(0.0))
    layer = NonlinearSaliency(model, Logit(), place, path=Straight(10))
    seconds = median_seconds(
        {
            "layer": lambda: layer.attribute(photos, target=3),
            "Grad-CAM": lambda: LayerGradCam(model, model._blocks[-1]).attribute(photos, target=3),
        },
        repeats,
    )
    rows.append(row("time, last block, 10 steps / one Grad-CAM", seconds["layer"] / seconds["Grad-CAM"], 2.0))
    return rows


def memory() -> list[dict]:
    """Peak memory of tensors, network and photographs not counted, as ratios."""
    model, photos = prepare()

    def ours(steps: int, internal: int | None = None) -> int:
        method = straight(model, steps)
        return peak_bytes(lambda: method.attribute(photos, target=3, internal_batch_size=internal))

    flow = NonlinearSaliency(model, Logit(), path=Flow(4))
    one = peak_bytes(lambda: bare_loop(model, photos, 1))
    two = peak_bytes(lambda: bare_loop(model, photos[:2], 1))
    captum = peak_bytes(lambda: integrated(model, photos, 4, 8))
    captum_few = peak_bytes(lambda: integrated(model, photos, 4, 4))
    flowing = peak_bytes(lambda: flow.attribute(photos, target=3, level=Drop(0.01)))
    return [
        row("memory, straight, 2 steps / one pass with gradient", ours(2) / one, 1.1),
        row("memory, straight, 16 steps / one pass with gradient", ours(16) / one, 1.1),
        row("memory, flow, 4 steps / one pass with gradient", flowing / one, 1.1),
        row("memory, straight, internal batch 2 / one pass with gradient of 2", ours(4, 2) / two, 1.1),
        row("memory, straight / captum's IntegratedGradients, internal batch 8", ours(4, 8) / captum, 1.0),
        row(
            "memory, straight / captum's IntegratedGradients, internal batch 4", ours(4, 4) / captum_few, 1.0
        ),
    ]


def row(what: str, ratio: float, limit: float) -> dict:
    ratio = round(ratio, 3)
    return {"what": what, "ratio": ratio, "limit": limit, "met": "yes" if ratio <= limit else "no"}


def scaling() -> None:
    """Seconds against steps, batch size and pixels, drawn to speed.png."""
    model = network()

    def seconds(steps: int, batch: int, side: int) -> float:
        photos = torch.rand(batch, 3, side, side)
        begin = time.perf_counter()
        straight(model, steps).attribute(photos, target=3)
        return time.perf_counter() - begin

    seconds(1, 1, 64)
    sweeps = {
        "steps (4 photos of 128 px)": [(n, seconds(n, 4, 128)) for n in (2, 4, 8, 16, 32)],
        "batch size (4 steps, 128 px)": [(n, seconds(4, n, 128)) for n in (1, 2, 4, 8, 16)],
        "pixels per side (4 steps, 2 photos)": [(n, seconds(4, 2, n)) for n in (64, 128, 192, 256, 320)],
    }
    figure = Figure(figsize=(10, 3), layout="constrained")
    for axes, (name, points) in zip(figure.subplots(1, 3), sweeps.items(), strict=True):
        axes.plot(*zip(*points, strict=True), marker="o")
        axes.set(xlabel=name, ylabel="seconds", ylim=(0, None))
        axes.grid(alpha=0.3)
    figure.savefig(HERE / "speed.png", dpi=90)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=9, help="timings per median")
    repeats = parser.parse_args().repeats
    table = pd.DataFrame(overhead(repeats) + memory())
    scaling()
    write_table(
        "speed",
        table,
        "Ratios of medians, the contenders taking turns in one run; memory is the most that tensors take up at"
        " one time beyond network and photos, counted exactly. Seconds against steps, batch and pixels: speed.png.",
    )
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
