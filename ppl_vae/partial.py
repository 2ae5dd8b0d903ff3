"""What a long measurement has done so far, kept in its run so that an interruption loses at most a block."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ppl_vae.evidence import Estimate, Measurement, Sandwich
from ppl_vae.runs import Checkpoint

__all__ = ["Kept"]

R = TypeVar("R", Measurement, Sandwich)


class Kept(MutableMapping[int, R]):
    """Measured blocks in a folder, by the position of their first datum.

    Arguments:
        folder: Where they lie; what was measured otherwise is deleted.
        how: All that the measurement depends on, as JSON holds it.
        kind: The class of a block's result, whose first fields are estimates.
    """

    def __init__(self, folder: Path, how: dict[str, Any], kind: type[R]) -> None:
        self.folder = folder
        self.kind: Callable[..., R] = kind
        self.names = [field.name for field in fields(kind) if field.type == "Estimate"]
        self.key = hashlib.sha256(json.dumps(how, sort_keys=True).encode()).hexdigest()[:16]
        for other in folder.glob("*"):
            if not other.name.startswith(self.key):
                other.unlink()

    def _path(self, start: int) -> Path:
        return self.folder / f"{self.key}-{start:09d}.safetensors"

    def __getitem__(self, start: int) -> R:
        if not self._path(start).exists():
            raise KeyError(start)
        kept = Checkpoint.read(self._path(start))

        def estimate(name: str) -> Estimate:
            words: dict[str, Any] = kept.state[name]
            tensors: dict[str, Any] = kept.part(name)
            return Estimate(**tensors, **words | {"notes": tuple(words["notes"])})

        return self.kind(*map(estimate, self.names))

    def __setitem__(self, start: int, found: R) -> None:
        tensors, words = {}, {}
        for name in self.names:
            estimate: Estimate = getattr(found, name)
            for part in ("pointwise", "pointwise_se", "k_hat"):
                if getattr(estimate, part) is not None:
                    tensors[f"{name}.{part}"] = getattr(estimate, part)
            words[name] = {part: getattr(estimate, part) for part in ("method", "bound", "draws", "notes")}
        Checkpoint(tensors, words).write(self._path(start))

    def __delitem__(self, start: int) -> None:
        self._path(start).unlink()

    def __iter__(self) -> Iterator[int]:
        return (int(path.stem.rpartition("-")[2]) for path in sorted(self.folder.glob(f"{self.key}-*.safetensors")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def forget(self) -> None:
        """Deletes the folder: the measurement is whole and lies elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)
