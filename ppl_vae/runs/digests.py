"""Digests of the user's own files that a run depends on besides its pair: estimator, reader, evidence methods."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ppl_vae.data.load import reader_plugin
from ppl_vae.evidence.plan import own_methods
from ppl_vae.plugins.discovery import Plugin, find

if TYPE_CHECKING:
    from ppl_vae.runs.config import RunConfig

__all__ = ["changed_files", "check_estimator", "method_digests", "own_digests", "source_digest"]


def own_digests(config: RunConfig) -> dict[str, str]:
    """The digest of each file by what it is, such as ``"estimator mine"``; those that are gone are left out."""
    choices: list[Callable[[], Plugin]] = [lambda: reader_plugin(config.corpus.name)]
    if config.estimator != "auto":
        choices.append(lambda: find("estimators", config.estimator))
    plugins = []
    for choose in choices:
        try:
            plugins.append(choose())
        except ValueError:
            continue
    return _digests([*plugins, *own_methods()])


def method_digests(method: str) -> dict[str, str]:
    """The digest of an evidence method, if it is the user's own; of ``"auto"`` those of all it may choose."""
    return _digests(own_methods() if method == "auto" else [find("evidence", method, besides=["auto"])])


def source_digest(program: object) -> str:
    """Digest of the source of a class, a function, or the class of an object; empty where it has none."""
    target = program if isinstance(program, type) or inspect.isroutine(program) else type(program)
    try:
        return hashlib.sha256(inspect.getsource(target).encode()).hexdigest()
    except (OSError, TypeError):
        return ""


def changed_files(config: RunConfig) -> list[str]:
    """Which of the files that a run began with have changed since, or are gone."""
    now = own_digests(config)
    return [name for name, digest in config.digests.items() if now.get(name) != digest]


def check_estimator(config: RunConfig) -> None:
    """Refuses to continue by another estimator of the user's than that of the run.

    Raises:
        ValueError: If it has changed, or is gone, naming it.
    """
    if changed := [name for name in changed_files(config) if name.startswith("estimator ")]:
        raise ValueError(f"{changed[0]} has changed since the run began, or is gone; restore it, or start a new run")


def _digests(plugins: Iterable[Plugin]) -> dict[str, str]:
    return {f"{plugin.singular} {plugin.name}": plugin.sha256 for plugin in plugins if not plugin.shipped}
