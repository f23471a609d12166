"""benchmarks.front and benchmarks.sanity: verdicts follow their rules; the front page is made of the tables."""

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks import front, sanity
from benchmarks.methods import AT_BLOCKS, CONTRASTS, OURS, SUPPORTS, TWINS
from benchmarks.pointing import CELLS_OUT, CONTRAST, OTHERS, PLAIN
from helpers.lessons.your_model import untrained
from helpers.measure.depths import INPUT
from helpers.zoo.networks import digit_net

NETWORKS = ("efficientnet_lite0", "efficientnet_lite1")


LOW = {"better": 0.01, "no worse": -0.005, "not shown": -0.05, "worse": -0.3}


def single(**verdicts):
    methods = {SUPPORTS: 0.6, TWINS[SUPPORTS]: 0.1, AT_BLOCKS: 0.2, "gradient": 0.3, front.CENTRE: 0.3}
    methods |= dict.fromkeys(front.M1, 0.4) | dict.fromkeys(front.MUCH_DEARER, 0.6)
    rows = [
        (
            network,
            rank,
            name,
            value,
            10.0,
            0.6 - value,
            LOW[verdicts.get(name, "better")],
            0.3,
            verdicts.get(name, "better"),
        )
        for network in NETWORKS
        for rank in ("first", "second")
        for name, value in methods.items()
    ]
    columns = ["network", "class", "method", "value", "passes", "difference", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns)


def pointing(word="better"):
    rows = [
        (layout, network, OTHERS, variant, name, 0.9, 0.0, -0.02, 0.02, word)
        for layout in ("mosaic", "inset", "planted")
        for network in (*NETWORKS, "all")
        for variant in (PLAIN, CONTRAST, CELLS_OUT)
        for name in (SUPPORTS, CONTRASTS, TWINS[CONTRASTS], "Grad-CAM", "gradient")
    ]
    columns = ["layout", "network", "part", "variant", "method", "rank_auc", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "verdict"])


def tables(**changed):
    generator = np.random.default_rng(0)
    residual = generator.random(48)
    depths = [
        {"depth": depth, "module": INPUT if depth == 0 else str(depth), "member": member, "linear": 0.5,
         "nonlinear": 0.6 + r, "gain": 0.1 + r, "residual": r}
        for depth in range(3)
        for member, r in enumerate(residual)
    ]  # fmt: skip
    stability = pd.DataFrame({"method": [SUPPORTS, "Grad-CAM"], "between sizes": [0.9, 0.8]})
    witness = pd.DataFrame(
        [("flow, VAE of 16", 0.8, 0.7, 0.9)], columns=["path", "median", "median low", "median high"]
    )
    sane = pd.DataFrame(
        [("digits", name, 0.05, 0.1 if name in OURS else 0.4) for name in (*OURS, "Grad-CAM")],
        columns=["data", "method", "kept", "overlap"],
    )
    found = {
        "single": single(),
        "pointing": pointing(),
        "depths": pd.DataFrame(depths),
        "stability": stability,
    }
    return found | {"witness": witness, "sanity": sane} | changed


def test_where_all_is_better_every_target_is_met():
    found = front.verdicts(tables()).set_index("target")["verdict"]
    assert found.to_dict() == dict.fromkeys([f"M{k}" for k in range(1, 8)], "met")


@pytest.mark.parametrize(
    ("changed", "target", "verdict"),
    [
        ({"single": single(**{"Grad-CAM": "no worse"})}, "M1", "in part"),
        ({"single": single(**{"iGOS++, cut down": "worse"})}, "M2", "in part"),
        ({"single": single(**{TWINS[SUPPORTS]: "worse"})}, "M4", "missed"),
        ({"single": single(**{AT_BLOCKS: "not shown"})}, "M4", "missed"),
        ({"pointing": pointing("not shown")}, "M3", "missed"),
        (
            {"stability": pd.DataFrame({"method": [SUPPORTS, "Grad-CAM"], "between sizes": [0.7, 0.9]})},
            "M5", "missed",
        ),
        (
            {"sanity": pd.DataFrame([("digits", n, 0.2, 0.1) for n in (*OURS, "Grad-CAM")],
                                    columns=["data", "method", "kept", "overlap"])},
            "M7", "missed",
        ),
    ],
)  # fmt: skip
def test_a_target_that_is_missed_says_so(changed, target, verdict):
    found = front.verdicts(tables(**changed)).set_index("target")
    assert found.loc[target, "verdict"] == verdict
    assert found.loc[target].iloc[-1]


def test_the_front_page_has_at_most_eight_rows_and_the_best_peer():
    table = front.front_table(tables(), passes=7.0)
    assert len(table) <= 8
    assert table["map"].is_unique
    assert list(table["map"])[:2] == [SUPPORTS, CONTRASTS]
    assert {front.best_peer(single(), rank) for rank in ("first", "second")} <= set(table["map"])
    assert table.set_index("map").loc["Grad-CAM", "sizes"] == 0.8
    assert table.set_index("map").loc[CONTRASTS, "passes"] == 7.0


def test_a_quick_run_reads_what_it_measured_and_the_rest_from_the_suite(tmp_path):
    (tmp_path / "single.csv").write_text("method\n")
    assert front._measured(tmp_path, "single") == tmp_path / "single.csv"
    assert front._measured(tmp_path, "witness") == front.folder_for(quick=False) / "witness.csv"


def test_sanity_compares_with_the_same_draw_and_the_second_class(monkeypatch):
    every, few = sanity.methods_of, (*OURS, "Grad-CAM", "gradient")
    monkeypatch.setattr(sanity, "methods_of", lambda *given: {n: every(*given)[n] for n in few})
    net = digit_net()
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    same = sanity.scores_of(net, [net], images, 1, 1.0)
    assert (same["kept"] > 0.999).all()
    drawn = sanity.scores_of(net, [untrained(net)], images, 1, 1.0).groupby("method")
    assert drawn["kept"].mean()[SUPPORTS] < 0.9
    assert drawn["overlap"].mean().between(0, 1).all()
    table = sanity.summary(pd.concat([same.assign(data="digits")]))
    assert set(table[f"overlap of {SUPPORTS}"]) == {"", "too few"}
