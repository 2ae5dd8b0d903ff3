"""Finished blocks of a long measurement, stored in its run: an interruption loses at most one block."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from ppl_vae.data.files import NotWrittenError
from ppl_vae.evidence.estimate import Estimate
from ppl_vae.evidence.results import Result
from ppl_vae.evidence.shortfall import Shortfall
from ppl_vae.nn.checkpoint import Checkpoint

__all__ = ["BlockStore", "delete_blocks"]

R = TypeVar("R", bound=Result)


class BlockStore(MutableMapping[int, R]):
    """Measured blocks in a folder, by the position of their first datum.

    Blocks read or written are remembered: another process that measures the same, and ends first, deletes the files.

    Arguments:
        folder: The folder of the measurement; blocks of another state of the pair are deleted.
        settings: All that the measurement depends on, as JSON holds it, including the ``"state"`` of the pair.
        kind: Class of the result, a dataclass of estimates, dictionaries of estimates, and JSON values.
        check: Function called before each write, which raises if the run of the folder is gone.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], kind: type[R], check: Callable[[], object] = lambda: None
    ) -> None:
        self.folder, self.check = folder, check
        self.kind: Callable[..., R] = kind
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        state = str(settings.get("state", ""))[:16]
        self.blocks = folder / f"{state}-{digest[:16]}"
        self._known: dict[int, R] = {}
        for other in folder.glob("*"):
            if not other.name.startswith(f"{state}-"):
                shutil.rmtree(other, ignore_errors=True)

    def _path(self, start: int) -> Path:
        return self.blocks / f"{start:09d}.safetensors"

    def __getitem__(self, start: int) -> R:
        if start in self._known:
            return self._known[start]
        path = self._path(start)
        if not path.exists():
            raise KeyError(start)
        try:
            stored = Checkpoint.read(path)
        except ValueError as error:
            path.unlink(missing_ok=True)  # it is measured again
            raise KeyError(start) from error
        parts = {name: _unpacked(value, name, stored) for name, value in stored.state.items()}
        self._known[start] = self.kind(**parts)
        return self._known[start]

    def __setitem__(self, start: int, result: R) -> None:
        tensors: dict[str, Tensor] = {}
        content = {field.name: _packed(getattr(result, field.name), field.name, tensors) for field in fields(result)}
        self.check()
        block = Checkpoint(tensors, content)
        try:
            block.write(self._path(start))
        except NotWrittenError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise
            block.write(self._path(start))  # another process has just deleted the folder
        self._known[start] = result

    def __delitem__(self, start: int) -> None:
        self._known.pop(start, None)
        self._path(start).unlink(missing_ok=True)

    def __iter__(self) -> Iterator[int]:
        return iter(sorted({int(path.stem) for path in self.blocks.glob("*.safetensors")} | self._known.keys()))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def delete(self) -> None:
        """Deletes the blocks."""
        delete_blocks(self.folder, self.blocks.name)


def delete_blocks(folder: Path, name: str) -> None:
    """Deletes the blocks of a measurement that is complete; those by other options in its folder stay."""
    for blocks in folder.glob("*"):
        if blocks.name == name:  # which may have been read from a file: it leads nowhere else
            shutil.rmtree(blocks, ignore_errors=True)
    with contextlib.suppress(OSError):  # another measurement's blocks are still there
        folder.rmdir()


def _packed(value: object, name: str, tensors: dict[str, Tensor]) -> object:
    """Returns a field as JSON holds it, and adds the tensors of its estimates to the dictionary."""
    if isinstance(value, dict):
        return {key: _packed(part, f"{name}/{key}", tensors) for key, part in value.items()}
    if isinstance(value, Shortfall):
        return value.to_json()
    if not isinstance(value, Estimate):
        return value
    parts = {each.name: getattr(value, each.name) for each in fields(value)}
    tensors |= {f"{name}.{part}": each for part, each in parts.items() if isinstance(each, Tensor)}
    rest = {part: each for part, each in parts.items() if each is not None and not isinstance(each, Tensor)}
    return {part: _packed(each, f"{name}/{part}", tensors) for part, each in rest.items()}


def _unpacked(value: object, name: str, stored: Checkpoint) -> object:
    if isinstance(value, dict) and "bound" in value:
        tensors: dict[str, Any] = stored.part(name)
        rest = {part: _unpacked(each, f"{name}/{part}", stored) for part, each in value.items()}
        if "shortfall" in rest:
            rest["shortfall"] = Shortfall.stored(value["shortfall"])
        return Estimate(**tensors, **rest | {"notes": tuple(value["notes"])})
    if isinstance(value, dict):
        return {key: _unpacked(part, f"{name}/{key}", stored) for key, part in value.items()}
    return value
