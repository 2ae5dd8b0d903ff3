"""A user's own files of a run: copies in its folder, which of them is run, and whether it may be."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ppl_vae.data.files import atomic_write
from ppl_vae.plugins.discovery import joined_name, split_name
from ppl_vae.plugins.neighbours import Sources, neighbours
from ppl_vae.plugins.trust import is_trusted, trust
from ppl_vae.plugins.user_files import digest
from ppl_vae.runs.config import OBJECT, ProgramChoice, RunConfig
from ppl_vae.training.progress import log
from ppl_vae.training.run_folder import RunFolder

__all__ = ["Code", "Opening", "code_of", "config_of", "keep_code", "opening", "opening_too", "own_code"]

Code = Literal["run", "current"]

LINES = 20
"""Most lines of a difference that are shown."""

DIGITS = 16
"""Digits of a digest that name the folder of copies of files that have it."""


@dataclass(frozen=True)
class Opening:
    """How runs are opened.

    Arguments:
        code: Whether a model or guide file that has changed since the run began is taken as the run holds it, or as it
            is now.
        corpus: Where the data lie now, if they have moved.
        trust: Run the code inside a run that was not trained on this machine; its digest is remembered.
        ask: Asks the user whether a file may be run; None where nobody can answer.
    """

    code: Code = "run"
    corpus: str | None = None
    trust: bool = False
    ask: Callable[[str], bool] | None = None


_opening: ContextVar[Opening] = ContextVar("opening")


@contextmanager
def opening(how: Opening) -> Iterator[None]:
    """Opens all runs within it in this way."""
    token = _opening.set(how)
    try:
        yield
    finally:
        _opening.reset(token)


def opening_too(code: Code, corpus: str | Path | None, trust: bool) -> AbstractContextManager[None]:
    """Opens all runs within it as these arguments say, or as they are opened anyway where none is given."""
    how = Opening(code, None if corpus is None else str(corpus), trust)
    return nullcontext() if how == Opening() else opening(replace(how, ask=_opening.get(Opening()).ask))


def keep_code(run: RunFolder, config: RunConfig) -> None:
    """Copies the user's own model and guide files, and the files beside them that they import, into a run.

    Copies of other versions stay beside them: until the configuration is written, the run is of those. The files were
    run to train, so that their digests are trusted from then on.

    Raises:
        ValueError: If a file has changed since it was run, naming it; it is not copied then.
    """
    if (estimator := _own_estimator(config)) is not None:
        trust(digest(estimator))
    for choice, copy in _own(config).values():
        sources = Sources.read(_path(choice))
        if sources.digest != choice.sha256:
            raise ValueError(f"{_path(choice)} has changed while it was run; repeat the command")
        for name, content in sources.contents.items():
            atomic_write(run.folder / copy.parent / name, content)
        trust(choice.sha256)


def config_of(run: RunFolder) -> RunConfig:
    """The configuration of a run, naming the files of the user's that are run, and the data where they lie now.

    Raises:
        ValueError: If a file is gone or has changed and the run has no copy of it, or may not be run; or if
            ``config.json`` is damaged.
    """
    config, how = RunConfig.of(run), _opening.get(Opening())
    if (estimator := _own_estimator(config)) is not None:  # it runs when the training goes on
        _trusted(estimator, digest(estimator), run, how)
    taken, choices = dict[Path, tuple[Path, str]](), dict[str, ProgramChoice]()
    for kind, (choice, copy) in _own(config).items():
        path, item = _path(choice), split_name(choice.name)[1]
        if path not in taken:  # of one file with model and guide it is said once what is taken
            taken[path] = _taken(run, choice, run.folder / copy, how)
        file, sha256 = taken[path]
        choices[kind] = replace(choice, name=joined_name(file, item), sha256=sha256)
    config = replace(config, **choices)  # type: ignore[arg-type]
    return replace(config, corpus=replace(config.corpus, name=_data(run, config, how)))


def code_of(run: RunFolder) -> dict[str, str]:
    """Digests of the model and guide that the run would be opened with, as :func:`own_code` has them; nothing is run.

    Raises:
        ValueError: If a file to be taken as it is now is gone.
    """
    config, how = RunConfig.of(run), _opening.get(Opening())
    if how.code == "run":
        return own_code(config)
    now = {kind: _current(_path(choice)) for kind, (choice, _) in _own(config).items()}
    return own_code(config) | now


def own_code(config: RunConfig) -> dict[str, str]:
    """Digests of the user's own model and guide, files or objects; what is shipped or has no source has none."""
    choices = {"model": config.model, "guide": config.guide}
    own = {kind: choice for kind, choice in choices.items() if choice.name.endswith(OBJECT) or _is_own(choice)}
    return {kind: choice.sha256 for kind, choice in own.items() if choice.sha256}


def _own(config: RunConfig) -> dict[str, tuple[ProgramChoice, Path]]:
    """Of model and guide, those that are files of the user's, each with the place of its copy in the run folder."""
    choices = {"model": config.model, "guide": config.guide}
    return {
        kind: (choice, Path("code", choice.sha256[:DIGITS], _path(choice).name))
        for kind, choice in choices.items()
        if _is_own(choice)
    }


def _is_own(choice: ProgramChoice) -> bool:
    return _path(choice).suffix == ".py"


def _own_estimator(config: RunConfig) -> Path | None:
    """The file of an estimator of the user's; None of a shipped one, or if it is gone."""
    file = Path(config.estimator)
    return file if file.suffix == ".py" and file.is_file() else None


def _path(choice: ProgramChoice) -> Path:
    return Path(split_name(choice.name)[0])


def _taken(run: RunFolder, choice: ProgramChoice, copy: Path, how: Opening) -> tuple[Path, str]:
    """The file that is run, the user's or the copy in the run, and its digest.

    Raises:
        ValueError: If neither is as the run began with it, or it may not be run.
    """
    file = _path(choice)
    now = digest(file) if file.is_file() else None
    if now == choice.sha256:
        return _trusted(file, choice.sha256, run, how)
    if how.code == "current":
        now = _current(file)
        log(f"note: {file} has changed since the run began, and is taken as it is now")
        return _trusted(file, now, run, how)
    state = "is gone" if now is None else "has changed since the run began"
    if not copy.is_file() or digest(copy) != choice.sha256:
        raise ValueError(
            f"{file} {state}, and {run.folder} holds no copy of it; restore it, start a new run, or take it as it is "
            "now (--code current, code='current')"
        )
    log(f"note: {file} {state}: the copy in {run.folder} is taken" + (" (--code current takes the file)" * bool(now)))
    for line in () if now is None else _differences(copy, file):
        log(f"  {line}")
    return _trusted(copy.resolve(), choice.sha256, run, how)


def _current(file: Path) -> str:
    if not file.is_file():
        raise ValueError(f"{file} is gone, so that it cannot be taken as it is; restore it, or leave out --code")
    return digest(file)


def _trusted(file: Path, sha256: str, run: RunFolder, how: Opening) -> tuple[Path, str]:
    """The file and its digest, if it may be run.

    Raises:
        ValueError: If it was neither run on this machine before nor trusted by the user.
    """
    if not is_trusted(sha256):
        question = f"opening {run.folder} runs the code of {file}, which this machine has not run before"
        if not (how.trust or (how.ask is not None and how.ask(question))):
            raise ValueError(f"{question}; read it, and if you trust it, add --trust (trust=True), which is remembered")
        trust(sha256)
    return file, sha256


def _differences(copy: Path, file: Path) -> list[str]:
    """Lines of the unified difference between a run's copies and the files as they are now."""
    lines = list[str]()
    for old in (copy, *neighbours(copy)):
        new = file.parent / old.relative_to(copy.parent.resolve() if old != copy else copy.parent)
        before = old.read_text(errors="replace").splitlines()
        after = new.read_text(errors="replace").splitlines() if new.is_file() else []
        lines += difflib.unified_diff(before, after, f"run/{new.name}", f"now/{new.name}", lineterm="", n=0)
    return lines if len(lines) <= LINES else [*lines[:LINES], f"... and {len(lines) - LINES} lines more"]


def _data(run: RunFolder, config: RunConfig, how: Opening) -> str:
    """The name or path of the data: as given, as the run began, or else at the same place relative to the run."""
    if config.is_of_objects:
        return config.corpus.name
    if how.corpus is not None:
        return str(Path(how.corpus).resolve()) if Path(how.corpus).exists() else how.corpus
    path = Path(config.corpus.name)
    if not path.is_absolute() or path.exists():
        return config.corpus.name
    tails = [Path(*path.parts[-count:]) for count in range(1, min(4, len(path.parts)))]
    for folder in [run.folder.resolve(), *run.folder.resolve().parents][:5]:
        for tail in reversed(tails):
            if (folder / tail).exists():
                log(f"note: {path} is gone: the data are read from {folder / tail}, and compared with those of the run")
                return str(folder / tail)
    raise ValueError(f"{path}, the data of {run.folder}, is gone; say where it lies now (--corpus, corpus=)")
