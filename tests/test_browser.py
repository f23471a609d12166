"""The widgets as a user meets them: JupyterLab in headless Chromium, run by its menu, moved by the keyboard.

The notebooks with a panel are run with the parameters of tests/cases.py, and must put its numbers on record: this
is their run with other parameters.
"""

import io
import re

import browser
import pytest
from cases import CASES, PANELS, assert_recorded, with_photo
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from helpers.show.style import as_png, few_colours

WALK = browser.ROOT / "notebooks"
PLAYGROUND = "10_playground"


@pytest.fixture(scope="module")
def lab(chromium, tmp_path_factory):
    photo = tmp_path_factory.mktemp("photo") / "my photo.jpg"
    parameters = {name: with_photo(CASES[name].parameters, photo) for name in PANELS}
    notebooks = {WALK / f"{name}.ipynb": values for name, values in {PLAYGROUND: {}, **parameters}.items()}
    with browser.jupyterlab(tmp_path_factory.mktemp("lab"), notebooks) as running:
        yield running


@pytest.fixture
def page(chromium):
    context = chromium.new_context(viewport={"width": 1400, "height": 1400})
    context.set_default_timeout(browser.CEILING)
    yield context.new_page()
    context.close()


def control(page: Page, name: str) -> Locator:
    """The widget with this description."""
    label = page.locator(".widget-label", has_text=re.compile(f"^{name}$"))
    return page.locator(".jp-OutputArea .widget-inline-hbox", has=label)


def shot(page: Page, name: str) -> None:
    browser.SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=browser.SHOTS / f"{name}.png")


def picture_of_panel(page: Page) -> None:
    """build/browser/playground.png: its controls, in columns, are in notebooks/images/: copy after changes."""
    png = page.locator(".jp-OutputArea-output .widget-vbox").first.screenshot()
    picture = as_png(few_colours([Image.open(io.BytesIO(png)).convert("RGB")], 128))
    (browser.SHOTS / f"{PLAYGROUND[3:]}.png").write_bytes(picture)
    assert len(picture) < 100_000


def test_the_playground_is_run_moved_chosen_and_says_what_is_wrong(lab, page):
    heard = browser.listen(page)
    lab.open(page, f"{PLAYGROUND}.ipynb")
    browser.run_all(page)
    state, picture = page.locator("[data-state]"), page.locator(".widget-html img")
    expect(state).to_have_attribute("data-state", "ready")
    state.scroll_into_view_if_needed()
    seen = [picture.get_attribute("src")]

    def redrawn(name: str) -> None:
        expect(picture).not_to_have_attribute("src", seen[-1])
        expect(state).to_have_attribute("data-state", "ready")
        seen.append(picture.get_attribute("src"))
        shot(page, name)

    shot(page, "playground-1-run")
    picture_of_panel(page)
    image = control(page, "image")
    before = image.locator(".widget-readout").inner_text()
    image.locator(".noUi-handle").press("ArrowRight")
    redrawn("playground-2-slider-moved")
    assert image.locator(".widget-readout").inner_text() == str(int(before) + 1)

    target = control(page, "target").locator("select")
    likely = target.locator("option").all_text_contents()
    target.select_option(index=1)
    redrawn("playground-3-class-chosen")
    second = re.match(r"class\s\d", likely[1])[0].replace("\xa0", " ")
    assert f", {second} " in picture.get_attribute("alt")

    # What does not go together is said, and not computed.
    control(page, "path").locator("select").select_option("secant")
    expect(state).to_have_attribute("data-state", "waiting")
    expect(page.get_by_role("alert")).to_contain_text("secant")
    assert picture.get_attribute("src") == seen[-1]
    shot(page, "playground-4-refused")
    control(page, "path").locator("select").select_option("tangent")
    redrawn("playground-5-mended")
    expect(page.get_by_role("alert")).to_have_count(0)

    # What fails on the way is said as well.
    control(page, "data").locator("select").select_option("file")
    # On a busy machine the panel may still be answering the choice, and forget what is typed meanwhile: type again.
    for _ in range(browser.CEILING // 3000):
        file = control(page, "file").locator("input")
        file.fill("")
        file.fill("nowhere.png")
        file.press("Enter")
        page.wait_for_timeout(3000)
        if "nowhere.png" in state.inner_text():
            break
    expect(state).to_have_attribute("data-state", "error")
    expect(state).to_contain_text("nowhere.png")
    shot(page, "playground-6-no-such-file")

    assert len(set(seen)) == 4, "every picture is another one"
    assert not heard


@pytest.mark.parametrize("notebook", PANELS)
def test_a_small_panel_is_run_and_moved(notebook, lab, page):
    """After the whole notebook has run: cells below must not pull the rug from under the panel."""
    heard = browser.listen(page)
    lab.open(page, f"{notebook}.ipynb")
    browser.run_all(page)
    assert_recorded(notebook, browser.numbers(page))
    state, picture = page.locator("[data-state]"), page.locator(".widget-html img")
    expect(state).to_have_attribute("data-state", "ready")
    state.scroll_into_view_if_needed()
    before = picture.get_attribute("src"), picture.get_attribute("alt")
    page.locator(".jp-OutputArea .widget-slider .noUi-handle").last.press("ArrowLeft")
    expect(picture).not_to_have_attribute("src", before[0])
    expect(state).to_have_attribute("data-state", "ready")
    assert picture.get_attribute("alt") != before[1]
    shot(page, f"panel-{notebook}")
    assert not heard
