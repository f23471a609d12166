"""Sphinx configuration of the site: notebooks, how-to pages, measurements, reference. `make site` builds it.

The source folder is the repository itself (sphinx-build -M html . build/site -c docs), so that pages and links are
those of the files: nothing is copied, and a new notebook needs no line here. Nothing is executed: the committed
outputs are shown. No page loads anything from another host: maths is MathML, made here, and the theme brings its
styles and scripts along.
"""

import json
import re
from functools import partial
from html import escape
from textwrap import indent

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.images import get_image_size

from helpers.files import FRAMES

WIDE = 700  # pixels: a wider figure would be shrunk to less than half on a telephone
PANEL = "Here the notebook shows a live panel. Open the notebook to move it: this page computes nothing."

project = "Nonlinear saliency maps"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "benchmarks/NOTES.md",
    "docs/**.md",
    "notebooks/**.ipynb",
]
# Folders that are named here are not even looked into.
exclude_patterns = [
    ".*",
    "**/.*",
    "*.egg-info",
    "build",
    "dist",
    "helpers",
    "tests",
    "venv",
]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # sentences with computed numbers hold tables and formulas, too
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4

autodoc_default_options = {"members": True}
autodoc_inherit_docstrings = False  # what a class inherits is said once, where it comes from
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
default_role = "py:obj"  # a name in a docstring is a link where it is a name of the reference
napoleon_custom_sections = [("Attributes", "params_style")]
python_maximum_signature_line_length = 72

html_theme = "furo"
html_theme_options = {"top_of_page_buttons": []}  # "edit" needs an address of the repository
html_title = project
html_favicon = "_static/favicon.svg"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("panels.js", {"defer": "defer"})]
templates_path = ["_templates"]
html_additional_pages = {"index": "start.html"}
html_sourcelink_suffix = ""
html_show_copyright = False
html_use_index = False
html_domain_indices = False
smartquotes = False  # the text stays as it was written
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "a11y-high-contrast-dark"


def prepare(app: Sphinx, docname: str, source: list[str]) -> None:
    """Make panels of the frames in a notebook, before it is read."""
    if app.env.doc2path(docname).suffix == ".ipynb":
        source[0] = with_panels(source[0])


def with_panels(notebook: str) -> str:
    """The notebook's file, the pictures that `helpers.show.live` keeps in it as HTML."""
    if FRAMES not in notebook:
        return notebook
    content = json.loads(notebook)
    for cell in content["cells"]:
        for output in cell.get("outputs", []):
            if frames := output.get("data", {}).pop(FRAMES, None):
                output["data"] = {"text/html": panel(**frames)}
    return json.dumps(content)


def panel(controls: list[dict], pictures: list[dict]) -> str:
    """Sliders over a picture, as HTML; _static/panels.js moves them, and without scripts the first picture stands.

    Args:
        controls, pictures: as `helpers.show.live.Live.frames` returns them.

    Example:
        >>> size = {"name": "size", "label": "size", "texts": ["1", "2"], "start": 1}
        >>> panel([size], [{"png": "small", "alt": "a dot"}, {"png": "large", "alt": "a disc"}]).count("a disc")
        2
    """
    number, rows = 0, []
    for control in controls:
        texts, start = control["texts"], control["start"]
        number = number * len(texts) + start
        kept = escape(json.dumps(texts))
        slider = f'<input type="range" max="{len(texts) - 1}" value="{start}" data-texts="{kept}">'
        rows.append(
            f"<label>{escape(control['label'])} {slider} <output>{escape(texts[start])}</output></label>"
        )
    picture = pictures[number]
    image = f'<img alt="{escape(picture["alt"])}" src="data:image/png;base64,{picture["png"]}">'
    data = json.dumps(pictures).replace("<", "\\u003c")
    script = f'<script type="application/json">{data}</script>'
    return f'<div class="panel">{"".join(rows)}{image}{script}</div>'


def as_google_style(app: Sphinx, what: str, name: str, obj: object, options, lines: list[str]) -> None:
    """Put the fields of a dataclass under a heading; escape what is markup elsewhere, as the star in "(N, *S)"."""
    fields = "|".join(getattr(obj, "__dataclass_fields__", ["-"]))
    text = re.sub(rf"(?<=\.) (?=(?:{fields}): )", "\n", "\n".join(lines))
    listed = re.search(rf"(?<=\n\n)(?:{fields})(?:, \w+)*: .+(?:\n.+)*", text)
    if listed:
        text = text.replace(listed[0], f"Attributes:\n{indent(listed[0], '    ')}")
    examples = r">>> .+(?:\n.+)*"
    escaped = re.sub(rf"{examples}|(`+).*?\1|([*|]|_(?!\w))", lambda m: f"\\{m[2]}" if m[2] else m[0], text)
    lines[:] = escaped.split("\n")


def improve_outputs(app: Sphinx, document: nodes.document) -> None:
    """Describe the images of outputs, give each its size and a link to itself; say where a live panel would be."""
    for bundle in document.findall(partial(is_element, name="mime_bundle")):
        # myst-nb reads descriptions from the metadata of the cell, which may have several figures; the plain text
        # of an output that helpers.show.style.show made is the figure's description.
        texts = [part.astext() for part in bundle.children if part["mime_type"] == "text/plain"]
        for image in bundle.findall(nodes.image):
            image["alt"] = " ".join(" ".join(texts).split())
            # Sphinx makes an image that has a size a link to its file.
            width, height = get_image_size(app.srcdir / image["uri"])
            image["width"], image["height"] = str(width), str(height)
            if width > WIDE:
                image["classes"].append("wide")
    for cell in document.findall(partial(is_element, name="cell_code")):
        source, *outputs = cell.children
        # A cell that ends in a name shows what it names. No output: it was a widget, and those are not committed.
        if not outputs and source.astext().rstrip().rpartition("\n")[2].isidentifier():
            cell += nodes.paragraph(text=PANEL, classes=["notebook-note"])


def fold_code_of_sentences(app: Sphinx, document: nodes.document) -> None:
    """Fold up code that does nothing but write a text with computed numbers: here the text is what is read."""
    for cell in document.findall(partial(is_element, name="cell_code")):
        source, *outputs = cell.children
        if outputs and "Markdown(" in source.astext() and not any(cell.findall(nodes.image)):
            summary = "<summary>code of this text</summary>"
            before, after = f'<details class="folded">{summary}', "</details>"
            folded = [nodes.raw("", before, format="html"), source, nodes.raw("", after, format="html")]
            cell.children[:1] = folded


def is_element(node: nodes.Node, name: str) -> bool:
    """Whether a node is a container that myst-nb calls by this name."""
    return isinstance(node, nodes.container) and node.get("nb_element") == name


def inline_maths(translator, node: nodes.math) -> None:
    """Write a formula in a line as MathML."""
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block_maths(translator, node: nodes.math_block) -> None:
    """Write a displayed formula as MathML, in a box that scrolls where the formula is wider than the screen."""
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hooks; Sphinx calls it."""
    app.connect("source-read", prepare)
    app.connect("autodoc-process-docstring", as_google_style, priority=400)  # before napoleon
    app.connect("doctree-read", improve_outputs)
    app.connect("doctree-read", fold_code_of_sentences)
    app.add_html_math_renderer("mathml", (inline_maths, None), (block_maths, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
