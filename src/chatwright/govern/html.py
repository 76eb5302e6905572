"""What every page of this room shares: templates, styles, tame Markdown, safe links."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    from jinja2 import Template
    from markdown_it import MarkdownIt

_WEB = re.compile(r"https?://", re.IGNORECASE)


@cache
def template(name: str) -> Template:
    """A template of this package; it escapes everything that is not `Markup`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("chatwright.govern", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def styles(*names: str) -> Markup:
    """The style sheets of a page, one after the other."""
    folder = files(__package__) / "templates"
    return Markup("".join((folder / name).read_text("utf-8") for name in names))


@cache
def _markdown() -> MarkdownIt:
    from markdown_it import MarkdownIt

    reader = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    reader.validateLink = lambda url: bool(_WEB.match(url))  # type: ignore[method-assign]
    return reader


def markdown(text: str) -> Markup:
    """Untrusted Markdown as safe HTML: no raw HTML, no images, links to http(s) only."""
    return Markup(_markdown().render(text))


def link(uri: str | None) -> Markup:
    """A link where the address is of the web; its text alone where it is anything else."""
    text = uri or ""
    if _WEB.match(text):
        return Markup('<a href="{0}" rel="noreferrer noopener">{0}</a>').format(text)
    return Markup("<code>{}</code>").format(text) if text else Markup("–")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 90:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def describe_machine(machine: dict[str, Any]) -> str:
    """One line about what numbers were measured on."""
    parts = [str(machine["system"])] if machine.get("system") else []
    if machine.get("cores"):
        parts.append(f"{machine['cores']} cores")
    if machine.get("accelerator"):
        parts.append(str(machine["accelerator"]))
    for name in ("python", "torch"):
        if machine.get(name):
            parts.append(f"{name} {machine[name]}")
    return ", ".join(parts)
