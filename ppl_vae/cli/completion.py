"""What a shell completes: run folders, and names of models, guides, estimators and corpora beside the user's files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from ppl_vae.plugins.discovery import Kind, available

__all__ = ["RunPath", "complete_corpora", "names_of"]

Completion = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

DEPTH = 3
"""How many folders below what is typed runs are looked for."""

MOST = 50
"""Number of runs that are shown."""


class RunPath(click.Path):
    """The path of a run folder."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The runs below the folders that begin so; where there are none, folders."""
        typed = Path(incomplete)
        folder, start = (
            (typed, "") if incomplete.endswith(("/", "..")) or not incomplete else (typed.parent, typed.name)
        )
        patterns = (f"{_literal(start)}*/{'*/' * depth}config.json" for depth in range(DEPTH))
        found = (file.parent for pattern in patterns for file in sorted(folder.glob(pattern)))
        shown = [str(run) for run in found if not any(part.startswith(".") for part in run.parts)]
        return [CompletionItem(run) for run in islice(shown, MOST)] or [CompletionItem(incomplete, type="dir")]


def names_of(kind: Kind, besides: tuple[str, ...] = ()) -> Completion:
    """Completes the names of plugins of a kind and other choices, and files."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        names = {name: "" for name in besides} | {name: plugin.summary for name, plugin in available(kind).items()}
        return _starting(incomplete, names.items())

    return complete


def complete_corpora(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the names of corpora, and files."""
    from ppl_vae.data.load import corpora

    return _starting(incomplete, ((name, reader.line) for name, reader in corpora().items() if reader.named))


def _starting(incomplete: str, names: Iterable[tuple[str, str]]) -> list[CompletionItem]:
    items = [CompletionItem(name, help=summary) for name, summary in names if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *items]  # in bash files clear what comes before


def _literal(text: str) -> str:
    """Text as a pattern that matches itself."""
    return "".join(f"[{character}]" if character in "*?[" else character for character in text)
