"""How Sphinx builds these pages: Markdown through MyST, the API from the docstrings."""

from holdstep import __version__

project = "holdstep"
author = "the holdstep developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path: list[str] = []

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3  # [text](page.md#heading) works, and is checked

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# Attributes of a class as fields of it: dataclass fields would else be described twice.
napoleon_use_ivar = True

# Prompts and output are not copied along.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"holdstep {version}"
html_theme_options = {"navigation_with_keys": True}
