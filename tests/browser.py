"""A real browser for tests: headless Chromium, and a JupyterLab for it to open.

Chromium is not downloaded: playwright drives the one that the system has. Without one the tests that need it are
skipped, and say what to install; where CI=true they fail, so that a green run has seen them.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from playwright.sync_api import Browser, Page, expect, sync_playwright

from helpers.run.records import recorded

ROOT = Path(__file__).resolve().parent.parent
SHOTS = ROOT / "build" / "browser"  # screenshots, for people to look at
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MISSING = (
    "no Chromium found. On Debian and Ubuntu: apt-get install --no-install-recommends chromium; elsewhere set "
    "CHROMIUM to the path of a Chromium or Chrome."
)
TOKEN = "test"
# Tests wait for what is to be seen; half an hour, in milliseconds, is for what hangs.
CEILING = 1_800_000
expect.set_options(timeout=CEILING)
# in the page: whether the notebook's kernel answers
CONNECTED = "jupyterapp.shell.currentWidget.sessionContext.session?.kernel?.connectionStatus === 'connected'"
SHOWN = "jupyterapp.shell.currentWidget.context.model.toJSON()"  # in the page: the notebook, outputs and all
# JupyterLab draws only the cells that are in view, and asks its makers for news: neither is what is tested.
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}


def find() -> str | None:
    """The path of a Chromium: CHROMIUM, or one of the usual names; None if there is none."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless Chromium; skips the test without one, or fails it where CI=true."""
    path = find()
    if not path:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(MISSING)
    with sync_playwright() as playwright:
        # The sandbox needs rights that root in a container does not have; only pages of our own are opened.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"], timeout=CEILING)
        try:
            yield browser
        finally:
            browser.close()


def listen(page: Page) -> list[str]:
    """A list to which the page's console errors, uncaught exceptions and failed requests are appended."""
    heard: list[str] = []

    def console(message):
        if message.type == "error":
            heard.append(f"console: {message.text} {message.location['url']}")

    page.on("console", console)
    page.on("pageerror", lambda error: heard.append(f"exception: {error}"))
    page.on("response", lambda r: heard.append(f"{r.status}: {r.url}") if r.status >= 400 else None)
    return heard


def free_port() -> int:
    """A port of this computer that nobody listens to."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Lab:
    """A running JupyterLab.

    Attributes:
        url: of the server, without a slash at the end.
    """

    def __init__(self, url: str):
        self.url = url

    def open(self, page: Page, notebook: str) -> None:
        """Show a notebook, kernel ready."""
        # Where the server is slow to name its kernels, the notebook asks for one.
        question = page.get_by_role("dialog").get_by_text("Select kernel for")
        page.add_locator_handler(question, lambda _: page.get_by_role("button", name="Select Kernel").click())
        page.goto(f"{self.url}/lab/tree/{notebook}?token={TOKEN}&reset")
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=CEILING)
        expect(page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]")).to_be_visible()
        # A kernel that is just starting calls itself idle, and loses what it is asked.
        page.wait_for_function(CONNECTED, timeout=CEILING)


@contextmanager
def jupyterlab(folder: Path, notebooks: dict[Path, dict]) -> Iterator[Lab]:
    """A JupyterLab on copies of notebooks without outputs, with settings of its own; shut down with its kernels.

    Args:
        folder: empty; everything that the server and the notebooks write goes here.
        notebooks: file -> parameters of its copy, as far as they differ from the defaults.
    """
    work = folder / "notebooks"
    work.mkdir()
    for path, parameters in notebooks.items():
        notebook = load_notebook_node(str(path))
        notebook = parameterize_notebook(notebook, parameters, kernel_name="python3", language="python")
        # what is seen in them is then of this run
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        nbformat.write(notebook, work / path.name)
        if (path.parent / "images").is_dir():
            shutil.copytree(path.parent / "images", work / "images", dirs_exist_ok=True)
    for name, content in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = {f"JUPYTER_{key}": str(folder / name) for key, name in places.items()}
    environment |= {f"JUPYTERLAB_{key.upper()}_DIR": str(folder / key) for key in ("settings", "workspaces")}
    port = free_port()
    options = [
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        f"--IdentityProvider.token={TOKEN}",
        f"--ServerApp.root_dir={work}",
        "--LabApp.extension_manager=readonly",
        "--LabApp.expose_app_in_browser=True",
    ]
    log = folder / "log.txt"
    with log.open("w") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            env=os.environ | environment,
            cwd=ROOT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(url, server, log)
        yield Lab(url)
    finally:
        server.terminate()
        try:
            server.wait(CEILING / 1000)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _wait(url: str, server: subprocess.Popen, log: Path) -> None:
    while server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/api?token={TOKEN}", timeout=CEILING / 1000).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()[-3000:]}")


def numbers(page: Page) -> dict:
    """What the notebook that is shown has put on record."""
    return recorded(nbformat.from_dict(page.evaluate(SHOWN)))


def run_all(page: Page) -> None:
    """Run All Cells, by the menu; returns when all have run, without an error."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    for waiting in ("[ ]", "[*]"):
        expect(page.locator(".jp-InputPrompt", has_text=waiting)).to_have_count(0)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
