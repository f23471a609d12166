"""benchmarks.pointing: disjoint scenes, the same contrast for all, choosing and reporting apart, resumed runs."""

import pandas as pd
import pytest
import torch

from benchmarks import methods as of_methods
from benchmarks import pointing as bench
from helpers.measure.maps import smooth
from helpers.saliency import presets
from helpers.zoo.networks import digit_net

NET = digit_net()


class Mask:
    """Maps that name each object of a scene by its mask, or the places outside it."""

    def __init__(self, scene, right=True):
        self.scene, self.right, self.calls = scene, right, 0

    def __call__(self, image, classes):
        self.calls += 1
        masks = dict(zip(self.scene.targets[0].tolist(), self.scene.masks[0], strict=True))
        none = torch.zeros(image.shape[-2:], dtype=torch.bool)
        return torch.stack([(masks.get(label, none) == self.right).float() for label in classes])


@pytest.fixture
def scenes():
    return bench.digit_scenes(NET, "reporting", 2)


@pytest.fixture
def toys(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "CACHE", tmp_path)
    found = {
        bench.CONTRASTS: {"": Mask(scenes[0])},
        "peer": {"good": Mask(scenes[0]), "bad": Mask(scenes[0], right=False)},
        bench.CONTROLS[0]: {"": of_methods.control(bench.CONTROLS[0])},
    }
    monkeypatch.setattr(bench, "methods_of", lambda model, image: found)
    return found


EVERYTHING = bench.to_choose_from(bench.DIGITS, {})


def test_no_image_is_in_two_groups_and_no_class_twice_in_one():
    targets = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4])
    found = list(bench.groups(torch.arange(9), targets, 2, count=10))
    assert len(found) == 4
    assert len(set(sum(found, []))) == 8
    assert all(len(set(targets[group].tolist())) == 2 for group in found)


def test_the_contrast_is_the_presets(scenes):
    """Row "contrasts" of the table, with the contrast and the preset's smoothing, is the preset's own map."""
    scene = scenes[0]
    classes, logits = bench.classes_of(NET, scene)
    maps = of_methods.methods_of(NET, scene.images)[of_methods.CONTRASTS][""](scene.images, classes)
    own = classes[0]
    planes = bench.variant_maps(maps, logits, 3, 3 / 56 * 84, bench.CONTRAST)
    rivals = [label for _, label in sorted(zip(logits, classes, strict=True), reverse=True) if label != own][
        :8
    ]
    preset = presets.contrasts(NET, rivals, reference=0.0).attribute(scene.images, own)[0, 0]
    torch.testing.assert_close(planes[0].clamp_min(0), preset, atol=1e-5, rtol=1e-3)


def test_rivals_can_be_kept_out_of_the_scene():
    maps = torch.zeros(4, 8, 8)
    maps[0] = maps[1] = 1.0  # two objects of a scene claim all of it, the others nothing
    logits = [4.0, 3.0, 2.0, 1.0]
    within, without = (
        bench.variant_maps(maps, logits, 2, 0.0, variant)[0].mean().item()
        for variant in (bench.CONTRAST, bench.CELLS_OUT)
    )
    assert within == pytest.approx(0.5, abs=0.01)
    assert without == pytest.approx(1.0, abs=0.01)
    assert torch.equal(bench.variant_maps(maps, logits, 2, 2.0, bench.PLAIN), smooth(maps, 2.0)[:2])


def test_every_method_chooses_and_reports_only_what_it_chose(scenes, toys):
    scores = bench.scored(scenes[:1], NET, "digit_net", bench.DIGITS, EVERYTHING)
    peer = scores[scores["method"] == "peer"]
    assert set(peer["setting"]) == {"good", "bad"}
    assert set(peer["width"]) == set(bench.DIGITS.widths)
    assert set(peer["variant"]) == {bench.PLAIN, bench.CONTRAST}
    assert set(scores[scores["method"] == bench.CONTROLS[0]]["variant"]) == {bench.PLAIN}
    means = peer.groupby("setting")["rank_auc"].mean()
    assert means["good"] > 0.8 > 0.2 > means["bad"]
    choices = {("peer", v): ("good", 0.0) for v in (bench.PLAIN, bench.CONTRAST)}
    choices |= {(bench.CONTRASTS, v): ("", 8.0) for v in (bench.PLAIN, bench.CONTRAST)}
    choices |= {(bench.CONTROLS[0], bench.PLAIN): ("", 0.0)}
    scores = bench.scored(scenes[:1], NET, "digit_net", bench.DIGITS, bench.frozen(choices, 84))
    assert (scores[scores["method"] == "peer"]["rank_auc"] == 1).all()
    assert set(scores[scores["method"] == "peer"]["setting"]) == {"good"}
    ours = scores[scores["method"] == bench.CONTRASTS].groupby("variant")["width"].unique()
    assert ours[bench.PLAIN].tolist() == [8.0]
    # the preset stands beside it with its own smoothing
    assert ours[bench.CONTRAST].tolist() == ours[bench.CELLS_OUT].tolist() == [8.0, 3 / 56 * 84]


def test_settings_are_those_of_the_first_layout_and_widths_each_layouts_own():
    wanted = bench.to_choose_from(bench.DIGITS, {("peer", v): "good" for v in (bench.PLAIN, bench.CONTRAST)})
    found = wanted("peer", ["good", "bad"])
    assert {setting for setting, _, _ in found} == {"good"}
    assert [width for _, variant, width in found if variant == bench.PLAIN] == list(bench.DIGITS.widths)


def test_an_interrupted_run_goes_on_where_it_stopped(scenes, toys):
    bench.scored(scenes[:1], NET, "digit_net", bench.DIGITS, EVERYTHING)
    (lost,) = bench.CACHE.glob("digit_net/*/peer-bad.npz")
    lost.unlink()
    calls = {name: {s: m.calls for s, m in of.items()} for name, of in toys.items() if name == "peer"}
    assert calls == {"peer": {"good": 1, "bad": 1}}
    bench.scored(scenes[:1], NET, "digit_net", bench.DIGITS, EVERYTHING)
    assert (toys["peer"]["good"].calls, toys["peer"]["bad"].calls) == (1, 2)


def test_the_summary_pairs_ours_by_scene():
    rows = [
        ("planted", "digit_net", scene, place, place, name, variant, value + more)
        for scene, value in enumerate(torch.rand(9).tolist())
        for place in range(2)
        for variant in (bench.PLAIN, bench.CONTRAST)
        for name, more in ((bench.SUPPORTS, 0.1), (bench.CONTRASTS, 0.2), ("peer", 0.0))
    ]
    columns = ["layout", "network", "scene", "object", "rank", "method", "variant", "rank_auc"]
    table = bench.summary(pd.DataFrame(rows, columns=columns))
    found = table.set_index(["network", "part", "variant", "method"]).sort_index()
    for network in ("digit_net", "all"):
        plain = found.loc[(network, bench.OTHERS, bench.PLAIN)]
        assert plain.loc["peer", "difference"] == pytest.approx(0.1)
        assert plain.loc[bench.CONTRASTS, "verdict"] == "worse"
        assert found.loc[(network, bench.BEST, bench.CONTRAST, "peer"), "verdict"] == "better"
    assert bench.page(table).shape == (3, 3)


def test_too_few_photographs_are_told_before_any_map():
    with pytest.raises(ValueError, match="--photos: expected at least 4 photographs of distinct classes"):
        bench.photo_scenes(None, lambda images: torch.zeros(len(images), 1000), "mosaic", "reporting", 1)


def test_the_photographs_that_packages_bring_make_scenes():
    model = bench.network("efficientnet_lite0")
    mosaics, pairs = (
        bench.photo_scenes(None, model, layout, "reporting", 2) for layout in ("mosaic", "inset")
    )
    assert [scene.masks.shape[1] for scene in (*mosaics, *pairs)] == [4, 2, 2]


def test_every_layout_has_a_choice_of_every_method():
    table = pd.read_csv(bench.HERE / "choose.csv", keep_default_na=False)
    for kind in (bench.PHOTOGRAPHS, bench.DIGITS):
        for layout in kind.layouts:
            rows = table[table["layout"] == layout]
            choices = {(r.method, r.variant): (r.setting, float(r.width)) for r in rows.itertuples()}
            wanted = bench.frozen(choices, side=256)
            for method in rows["method"].unique():
                assert wanted(method, []), method
