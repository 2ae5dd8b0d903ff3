"""Hooks of the build: pages made from the code, and formulas as MathML, which needs no script."""

from __future__ import annotations

import html
import logging
import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from website import api, notebooks  # noqa: E402

LOG = logging.getLogger("mkdocs.hooks.website")
ELSEWHERE = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=["']?(?:https?:)?//[^"' >]+""")
DISPLAY = re.compile(r'<(div|span) class="arithmatex">\\([\[(])(.*?)\\[\])]</\1>', re.DOTALL)


def on_files(files: Files, config: Any) -> Files:
    """Adds README, changelog, guide for contributors, notebooks and the pages of the Python interface."""
    made: dict[str, str | bytes] = dict(api.pages())
    for source in notebooks.sources():
        text, beside = notebooks.page(source)
        made[f"notebooks/{source.stem}.md"] = text
        made |= {f"notebooks/{name}": content for name, content in beside.items()}
    for name in ("README", "CHANGELOG", "CONTRIBUTING"):
        text = (ROOT / f"{name}.md").read_text(encoding="utf-8")
        made[f"{name.lower()}.md"] = re.sub(
            r"\]\((README|CHANGELOG|CONTRIBUTING)\.md", lambda link: link[0].lower(), text.replace("](docs/", "](")
        )
    for path, text in made.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_content(html_of_page: str, **_: Any) -> str:
    """Turns formulas into MathML."""

    def mathml(found: re.Match[str]) -> str:
        return convert(html.unescape(found[3].strip()), display="block" if found[2] == "[" else "inline")

    return DISPLAY.sub(mathml, html_of_page)


@event_priority(-200)  # after all plugins
def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Refuses a page that would fetch something from another machine."""
    for found in ELSEWHERE.findall(output):
        if 'rel="canonical"' not in found:
            LOG.warning("%s asks another machine: %s", page.file.src_uri, found)
    return output
