"""What griffe reads of the code: docstrings as Markdown."""

from __future__ import annotations

from typing import Any

from griffe import Extension, Object

from website.markdown import to_markdown

__all__ = ["Docstrings"]


class Docstrings(Extension):
    """Rewrites every docstring before it is read."""

    def on_object(self, *, obj: Object, **_: Any) -> None:  # what else griffe passes is not looked at
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
