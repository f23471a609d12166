"""The static site: built once; then its links, pictures, formulas and tables, without and with a browser."""

import base64
import functools
import http.server
import inspect
import json
import math
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import browser
import pytest
from bs4 import BeautifulSoup
from cases import PANELS

from docs.conf import panel, with_panels
from helpers import saliency
from helpers.files import FRAMES

ROOT = Path(__file__).resolve().parent.parent
WALK = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOTEBOOKS = WALK + sorted((ROOT / "notebooks" / "solutions").glob("*.ipynb"))
TABLES = sorted((ROOT / "benchmarks").glob("*.md"))
HOME = "docs/index.html"
TELEPHONE = {"width": 390, "height": 844}
SHOTS = browser.SHOTS / "site"
DESK = {"width": 1280, "height": 900}
CEILING = 1800  # seconds: what hangs ends; nothing here is judged by its speed


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built as `make site` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    options = ["-M", "html", ".", str(folder), "-c", "docs", "-W", "--keep-going", "-q"]
    command = [sys.executable, "-m", "sphinx", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "html"


@pytest.fixture(scope="module")
def pages(site):
    """Address within the site -> parsed page."""
    return {
        path.relative_to(site).as_posix(): BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in sorted(site.rglob("*.html"))
        if "_static" not in path.parts
    }


def page_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix(".html").as_posix()


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def addresses(page: BeautifulSoup):
    """Every address that a page names, with the element that names it."""
    for element in page.find_all(True):
        for name in ("href", "src", "srcset", "data", "poster"):
            if element.get(name):
                yield element, element[name]


def test_the_table_of_contents_has_every_notebook_in_order_and_every_other_page(pages):
    tree = pages[HOME].select(".sidebar-tree a.reference")
    links = [os.path.normpath(f"docs/{link['href']}") for link in tree if "#" not in link["href"]]
    assert [link for link in links if link.startswith("notebooks/")] == [page_of(path) for path in NOTEBOOKS]
    others = {page_of(path) for path in (ROOT / "docs").rglob("*.md")} - {HOME}
    assert len(others) == 13
    others |= {"README.html", "CONTRIBUTING.html", "benchmarks/NOTES.html", "data/README.html"}
    assert others == {link for link in links if not link.startswith("notebooks/")}


def test_the_home_page_moves_and_has_three_ways_in(site, pages):
    home = pages[HOME]
    (film,) = home.select("article img")
    assert (site / "docs" / film["src"]).resolve().read_bytes().count(b"fcTL") > 4, "a picture that moves"
    cards = home.select("article .cards li")
    assert [card.a.get_text() for card in cards] == ["Read", "Rerun", "Your model"]
    leads = [os.path.normpath(f"docs/{card.a['href']}") for card in cards]
    assert leads == [page_of(WALK[0]), "docs/rerun.html", page_of(WALK[-1])]
    for card in cards:
        assert len(card.select("a")) == 1
        assert re.fullmatch(r"[A-Z][^.]+\.", card.select("p")[-1].get_text()), "one sentence"


def test_the_index_and_the_name_in_the_corner_lead_home(pages):
    refresh = pages["index.html"].find("meta", attrs={"http-equiv": "refresh"})
    assert refresh["content"] == f"0; url={HOME}"
    assert pages["README.html"].select_one("a.sidebar-brand")["href"] == HOME


def test_the_readme_leads_to_the_notebooks(pages):
    links = {link["href"] for link in pages["README.html"].select("article a.reference")}
    assert {page_of(path) for path in WALK} <= links


def test_the_reference_has_every_public_name_once(pages):
    entries = [entry["id"] for page in pages.values() for entry in page.select("dt.sig[id]")]
    assert len(entries) == len(set(entries))
    modules = [name for name in saliency.__all__ if inspect.ismodule(getattr(saliency, name))]
    assert {f"helpers.saliency.{name}" for name in saliency.__all__ if name not in modules} <= set(entries)
    for folder, page in (("saliency", modules), ("measure", None), ("run", None)):
        found = {module["id"] for module in pages[f"docs/api/{folder}.html"].select("[id^=module-helpers]")}
        files = page or [path.stem for path in (ROOT / "helpers" / folder).glob("[!_]*.py")]
        assert found == {f"module-helpers.{folder}.{name}" for name in files}


def test_every_page_names_its_icon(pages):
    """Where a page names none a browser asks for /favicon.ico, and its console shows an error."""
    assert not [name for name, page in pages.items() if not page.select('link[rel~="icon"]')]


def test_every_link_within_the_site_answers_and_so_does_every_anchor(site, pages):
    anchors = {name: {element["id"] for element in page.select("[id]")} for name, page in pages.items()}
    broken = []
    for name, page in pages.items():
        for _, address in addresses(page):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or address == "#":
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            known = anchors.get(os.path.relpath(target, site).replace(os.sep, "/"))
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and known is not None and anchor not in known):
                broken.append(f"{name}: {address}")
    assert not broken


def test_links_to_notebooks_lead_to_pages_and_not_to_files(pages):
    files = [
        f"{name}: {address}"
        for name, page in pages.items()
        for element, address in addresses(page)
        if urlsplit(address).path.endswith((".ipynb", ".md")) and not element.has_attr("download")
    ]
    assert not files


def test_every_notebook_can_be_downloaded_from_its_page(site, pages):
    for notebook in NOTEBOOKS:
        name = page_of(notebook)
        (link,) = pages[name].select("a[download]")
        file = (site / name).parent / link["href"]
        assert file.suffix == ".ipynb"
        assert file.read_bytes() == notebook.read_bytes()


@pytest.mark.parametrize(
    "notebook", NOTEBOOKS, ids=lambda path: path.relative_to(ROOT / "notebooks").as_posix()
)
def test_every_figure_of_a_notebook_is_on_its_page_with_its_description(notebook, site, pages):
    outputs = [output for cell in cells(notebook) for output in cell.get("outputs", [])]
    wanted = [
        output["metadata"]["image/png"]["alt"] for output in outputs if "image/png" in output.get("data", {})
    ]
    images = pages[page_of(notebook)].select(".cell_output img:not(.panel img)")
    assert [image["alt"] for image in images] == [" ".join(text.split()) for text in wanted]
    for image in images:
        assert image.parent["href"] == image["src"], "a figure opens in full size"


def test_every_picture_is_there_and_described(site, pages):
    assert pages["README.html"].select_one("article img")
    for name, page in pages.items():
        for image in page.find_all("img"):
            inside = image["src"].startswith("data:image/png;base64,")
            assert inside or ((site / name).parent / image["src"]).is_file(), (name, image)
            assert image.get("alt", "").strip(), (name, image)


# ---- panels without a kernel -------------------------------------------------------------------------------


def control(name: str, texts: list[str], start: int) -> dict:
    return {"name": name, "label": f"the {name}", "texts": texts, "start": start}


def test_a_panel_starts_with_the_picture_of_its_start_and_keeps_all():
    controls = [control("a", ["0", "{1}"], 1), control("b", ["x", '<y & "z">', "z"], 2)]
    pictures = [{"png": f"{number}", "alt": f"<{number}> & '{number}'"} for number in range(6)]
    found = BeautifulSoup(panel(controls, pictures), "html.parser").select_one(".panel")
    assert found.img["alt"] == "<5> & '5'"
    assert found.img["src"] == "data:image/png;base64,5"
    assert json.loads(found.script.string) == pictures
    sliders = found.select("label input[type=range]")
    assert [(slider["max"], slider["value"]) for slider in sliders] == [("1", "1"), ("2", "2")]
    assert [json.loads(slider["data-texts"]) for slider in sliders] == [c["texts"] for c in controls]
    assert [label.get_text(" ", strip=True) for label in found.select("label")] == ["the a {1}", "the b z"]


def test_a_panels_data_cannot_end_its_script():
    tricky = [{"png": "", "alt": "</script><script>alert(1)</script>"}]
    found = BeautifulSoup(panel([control("a", ["0"], 0)], tricky), "html.parser")
    (script,) = found.select("script")
    assert json.loads(script.string) == tricky


def test_frames_in_a_notebook_become_a_panel_and_nothing_else_changes():
    frames = {"controls": [control("a", ["0"], 0)], "pictures": [{"png": "AAAA", "alt": "a dot"}]}
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["hello"]},
        {"output_type": "execute_result", "data": {FRAMES: frames, "text/plain": ["A panel"]}},
    ]
    notebook = {"cells": [{"cell_type": "markdown", "source": ["text"]}, {"outputs": outputs}]}
    done = json.loads(with_panels(json.dumps(notebook)))
    assert done["cells"][0] == notebook["cells"][0]
    assert done["cells"][1]["outputs"][0] == outputs[0]
    assert done["cells"][1]["outputs"][1]["data"] == {"text/html": panel(**frames)}
    plain = json.dumps(notebook["cells"][:1])
    assert with_panels(plain) == plain


@pytest.mark.parametrize("notebook", PANELS)
def test_a_notebook_keeps_its_panels_and_the_page_shows_them(notebook, pages):
    outputs = [o for cell in cells(ROOT / "notebooks" / f"{notebook}.ipynb") for o in cell.get("outputs", [])]
    kept = [output["data"][FRAMES] for output in outputs if FRAMES in output.get("data", {})]
    assert kept, "no panel keeps its pictures: live(draw, beforehand=...)"
    found = pages[f"notebooks/{notebook}.html"].select(".cell_output .panel")
    assert len(found) == len(kept)
    for shown, frames in zip(found, kept, strict=True):
        assert len(shown.select("input")) == len(frames["controls"])
        pictures = json.loads(shown.script.string)
        assert pictures == frames["pictures"]
        assert len(pictures) == math.prod(len(one["texts"]) for one in frames["controls"]) > 1
        assert len({picture["png"] for picture in pictures}) > 1
        assert all(picture["alt"].strip() for picture in pictures)
        assert base64.b64decode(shown.img["src"].partition(",")[2])[1:4] == b"PNG"


def test_formulas_are_mathml_and_no_tex_is_left(pages):
    assert pages["notebooks/03_nonlinear_saliency.html"].select_one('math[display="block"] mfrac')
    for notebook in NOTEBOOKS:
        prose = "".join(
            "".join(cell["source"]) for cell in cells(notebook) if cell["cell_type"] == "markdown"
        )
        prose = re.sub(r"```.*?```|`[^`]*`", "", prose, flags=re.DOTALL)
        formulas = re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", prose, flags=re.DOTALL)
        assert len(pages[page_of(notebook)].find_all("math")) >= len(formulas)
    for name, page in pages.items():
        for formula in page.find_all("math"):
            assert "\\" not in formula.get_text(), (name, formula)
        texts = page.article.find_all(string=True) if page.article else ()
        prose = "".join(t for t in texts if not t.find_parent(["pre", "code", "style", "script"]))
        assert not re.findall(r"\$[^$\n]+\$|\\(?:frac|mathrm|sum|nabla)\b", prose), name


def test_every_bench_has_its_table_on_the_scoreboard_page(pages):
    shown = pages["docs/benches.html"].select("article table")
    heads = [[cell.get_text(strip=True) for cell in table.select("thead th")] for table in shown]
    tables = [path for path in TABLES if path.name != "NOTES.md"]
    assert tables
    for path in tables:
        head = re.findall(r"^\|(.+)\|\n\|-", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert head, path
        for line in head:
            assert [cell.strip() for cell in line.split("|")] in heads, path


def test_a_live_panel_is_announced_where_its_output_would_be(pages):
    panels = 0
    for notebook in NOTEBOOKS:
        sources = ["".join(cell["source"]) for cell in cells(notebook) if not cell.get("outputs", True)]
        wanted = sum(source.rstrip().splitlines()[-1].isidentifier() for source in sources)
        found = pages[page_of(notebook)].select(".cell .notebook-note")
        assert len(found) == wanted, notebook
        panels += len(found)
    assert panels >= 1


def test_code_of_sentences_is_folded(pages):
    page = pages["notebooks/03_nonlinear_saliency.html"]
    folded = page.select("details.folded")
    assert folded
    for part in folded:
        assert part.select_one("pre")
        assert not part.select_one(".cell_output")
    assert len(page.select(".cell_input")) > len(folded)


def test_nothing_is_loaded_from_another_host(site, pages):
    for name, page in pages.items():
        for element, address in addresses(page):
            parts = urlsplit(address)
            if element.name != "a" and (parts.netloc or parts.scheme not in ("", "data")):
                pytest.fail(f"{name}: {element}")
    for path in site.rglob("*.css"):
        loaded = re.findall(
            r"url\(\s*['\"]?((?:https?:)?//[^)]*)|@import[^;]*//", path.read_text(encoding="utf-8")
        )
        assert not loaded, path


def test_no_page_names_a_folder_of_the_machine_that_built_it(site, pages):
    for name in pages:
        text = (site / name).read_text(encoding="utf-8")
        assert str(ROOT) not in text, name
        assert str(site) not in text, name


@pytest.fixture(scope="module")
def server(site):
    """The address of a server that has the site."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def telephone(chromium):
    context = chromium.new_context(viewport=TELEPHONE)
    context.set_default_timeout(CEILING * 1000)
    yield context.new_page()
    context.close()


# On narrow screens the theme lets the column of text scroll, which the width of the document would not show.
SCROLLS = """() => [document.documentElement, ...document.querySelectorAll(".main, .content")]
    .filter(box => box.scrollWidth > box.clientWidth)
    .map(box => `${box.tagName} ${box.className}: ${box.scrollWidth}`)"""


def test_on_a_telephone_every_page_is_whole_quiet_and_does_not_scroll_sideways(server, pages, telephone):
    heard, asked, wrong = browser.listen(telephone), [], []
    telephone.on("request", lambda request: asked.append(request.url))
    for name in pages:
        telephone.goto(f"{server}/{name}", wait_until="load")
        if name == "index.html":
            telephone.wait_for_url(f"**/{HOME}")
        width = telephone.evaluate("document.documentElement.scrollWidth")
        images = telephone.evaluate("[...document.images].filter(i => !i.naturalWidth).map(i => i.src)")
        scrolling = telephone.evaluate(SCROLLS)
        if width > TELEPHONE["width"] or images or scrolling:
            wrong.append((name, width, images, scrolling))
    assert not wrong
    assert not heard
    assert {urlsplit(url).netloc for url in asked if not url.startswith("data:")} == {urlsplit(server).netloc}


@pytest.mark.parametrize("screen", [TELEPHONE, DESK], ids=lambda screen: screen["width"])
def test_the_sliders_of_panels_change_the_picture_and_nothing_scrolls_sideways(
    server, pages, chromium, screen
):
    context = chromium.new_context(viewport=screen)
    context.set_default_timeout(CEILING * 1000)
    page = context.new_page()
    heard, moved = browser.listen(page), []
    for notebook in PANELS:
        page.goto(f"{server}/notebooks/{notebook}.html", wait_until="load")
        panels = page.locator(".panel").all()
        assert panels, notebook
        for shown in panels:
            image = shown.locator("img")
            for label in shown.locator("label").all():
                slider, readout = label.locator("input"), label.locator("output")
                value, picture = slider.input_value(), image.get_attribute("src")
                slider.press("ArrowLeft" if value == slider.get_attribute("max") else "ArrowRight")
                assert slider.input_value() != value
                text = json.loads(slider.get_attribute("data-texts"))[int(slider.input_value())]
                assert readout.inner_text() == slider.get_attribute("aria-valuetext") == text
                assert image.get_attribute("src") != picture
                assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
                assert image.bounding_box()["width"] <= screen["width"]
                moved.append(notebook)
        assert page.evaluate(SCROLLS) == [], notebook
        panels[0].screenshot(path=SHOTS / f"{notebook}-{screen['width']}.png")
    context.close()
    assert set(moved) == set(PANELS)
    assert not heard


@pytest.mark.parametrize("name", ["NonlinearSaliency", "presets.supports", "Horizon"])
def test_the_search_finds_a_name_of_the_reference_first_and_without_a_network(name, server, telephone):
    heard = browser.listen(telephone)
    telephone.goto(f"{server}/search.html?q={name}")
    link = telephone.locator("ul.search a").first
    link.wait_for()
    assert link.inner_text() == f"helpers.saliency.{name}"
    link.click()
    telephone.wait_for_load_state()
    entry = telephone.locator(f"[id='helpers.saliency.{name}']")
    assert name.rpartition(".")[2] in entry.inner_text()
    assert not heard


def test_the_search_finds_a_page_without_a_network(server, telephone):
    heard = browser.listen(telephone)
    telephone.goto(f"{server}/search.html?q=insertion")
    link = telephone.locator("ul.search a").first
    link.wait_for()
    link.click()
    telephone.wait_for_load_state()
    assert "insertion" in telephone.locator("article").inner_text().lower()
    assert not heard


# Every figure is on paper of one colour; in the dark the paper is less bright.
PAPER = """() => [...document.querySelectorAll("article img")].map(image => {
    const style = getComputedStyle(image);
    return [style.filter, style.backgroundColor, parseFloat(style.borderRadius) > 0, parseFloat(style.padding) > 0];
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_are_sheets_of_paper_that_are_dimmed_in_the_dark(scheme, server, chromium):
    context = chromium.new_context(viewport=DESK, color_scheme=scheme)
    context.set_default_timeout(CEILING * 1000)
    page = context.new_page()
    for name in (HOME, "README.html", page_of(WALK[2])):
        page.goto(f"{server}/{name}", wait_until="load")
        sheets = page.evaluate(PAPER)
        assert sheets
        for filtered, *sheet in sheets:
            assert filtered.startswith("brightness(") if scheme == "dark" else filtered == "none"
            assert sheet == ["rgb(255, 255, 255)", True, True]
        page.screenshot(path=SHOTS / f"{Path(name).stem}-{scheme}.png")
    context.close()
