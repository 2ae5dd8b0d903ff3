"""The folder one training leaves behind: configuration, metrics, checkpoints, summary, figures."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["Checkpoint", "Interrupted", "Run", "atomic_write", "fill", "read_tensors"]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or a request to terminate, with the command that goes on."""


def atomic_write(path: Path, *content: bytes | memoryview) -> None:
    """Writes a file so that it is, at any moment, the old one or the new one.

    Arguments:
        path: Of the file.
        content: Its parts, in their order.

    Raises:
        ValueError: If it cannot be written (a full disk, say), naming it; the old one is kept.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.writelines(content)
                file.flush()
                os.fsync(file.fileno())
            # As any new file: mkstemp's are for the owner alone, and runs are shared.
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        kept = "its last good version is kept" if path.is_file() else "choose another folder, or make room"
        raise ValueError(f"cannot write {path}: {error.strerror}; {kept}") from error


class Checkpoint:
    """Tensors by name and a JSON document, in one safetensors file.

    Arguments:
        tensors: By name.
        state: Anything JSON holds.
    """

    def __init__(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.tensors, self.state = tensors, state

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors and their names."""
        return _digest(self.tensors)

    def write(self, path: Path) -> None:
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in self.tensors.items()}
        metadata = {"state": json.dumps(self.state), "sha256": _digest(tensors)}
        atomic_write(path, *_ordered(save(tensors, metadata)))

    @classmethod
    def read(cls, path: Path, remedy: str = "delete the checkpoints to train again") -> Checkpoint:
        """Reads a file back.

        Arguments:
            path: Of the file.
            remedy: Of damage, in words.

        Raises:
            ValueError: If it is missing, truncated or not one of ours.
        """
        try:
            with safe_open(path, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
                metadata = file.metadata() or {}
                if metadata["sha256"] != _digest(tensors):
                    raise ValueError("its checksum is wrong")
                return cls(tensors, json.loads(metadata["state"]))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise ValueError(f"{path} is not a readable checkpoint ({error}); {remedy}") from error

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with ``prefix.``, without it."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}

    @classmethod
    def into(cls, path: Path, model: torch.nn.Module, guide: torch.nn.Module) -> Checkpoint:
        """Reads a file and gives a pair the parameters it holds."""
        kept = cls.read(path)
        kept.restore("model", model, path)
        kept.restore("guide", guide, path)
        return kept

    def restore(self, prefix: str, module: torch.nn.Module, where: Path) -> None:
        """Fills a module.

        Raises:
            ValueError: Naming the first tensor that is missing or has another shape, with both shapes.
        """
        fill(module, self.part(prefix), str(where), prefix, "its options differ from those of the run", f"{prefix}.")


def fill(
    module: torch.nn.Module, found: dict[str, Tensor], where: str, who: str, remedy: str, prefix: str = ""
) -> None:
    """Gives a module tensors by name.

    Arguments:
        module: Left as it is if they do not fit.
        found: The tensors.
        where: They come from, in words.
        who: The module is, in words.
        remedy: Of shapes that differ.
        prefix: Of the tensors' names where they come from.

    Raises:
        ValueError: Naming the first tensor that is missing, has another shape (with both), or is one too many.
    """
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in found:
            raise ValueError(f"{where} has no tensor {prefix}{name}; was it written by another {who}?")
        if found[name].shape != tensor.shape:
            raise ValueError(
                f"{where}: tensor {prefix}{name} has shape {tuple(found[name].shape)}, the {who} needs "
                f"{tuple(tensor.shape)}; {remedy}"
            )
    if extra := [name for name in found if name not in wanted]:
        raise ValueError(f"{where} has a tensor {prefix}{extra[0]}, which the {who} lacks; {remedy}")
    module.load_state_dict(found)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, whoever wrote it.

    Raises:
        ValueError: If it is missing or no such file, holds other tensors than its own checksum says, or a number that
            is not finite, naming the tensor.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the file of tensors in it (.safetensors)")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no readable file of tensors ({error}); write one with safetensors.torch.save_file"
        ) from error
    # Both keys are there in a file of ours; the checksums of others are of something else.
    if "state" in metadata and metadata.get("sha256", "") != _digest(tensors):
        raise ValueError(f"{path} is damaged: its checksum is wrong; restore it, or make it again")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} has numbers that are not finite; restore it, or make it again")
    return tensors


def _ordered(content: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file in two parts, its metadata sorted: they are written in an order that chance decides."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)  # tensors begin at a multiple of 8
    return len(written).to_bytes(8, "little") + written, memoryview(content)[end:]


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


class Run:
    """A run folder.

    Arguments:
        folder: Its path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @staticmethod
    def check_free(folder: Path) -> None:
        """Refuses a folder that cannot become a new run.

        Raises:
            ValueError: If it holds a run already, or is no folder.
        """
        if (folder / "config.json").exists():
            raise ValueError(
                f"{folder} holds a run already; continue it with --resume {folder}, or choose another --out"
            )
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"{folder} is a file, not a folder; choose another --out")

    @classmethod
    def create(cls, folder: Path, config: dict[str, Any]) -> Run:
        """Makes a new folder with its configuration and the versions of what made it.

        Raises:
            ValueError: If the folder holds a run already.
        """
        cls.check_free(folder)
        run = cls(folder)
        run.write_json("config.json", config | {"versions": versions()})
        return run

    @classmethod
    def open(cls, folder: Path) -> Run:
        """An existing run.

        Raises:
            ValueError: If the folder is not one.
        """
        run = cls(folder)
        if not (folder / "config.json").is_file():
            raise ValueError(f"{folder} is not a run folder: it has no config.json; give a folder that --out named")
        run.config  # noqa: B018  (a damaged file is reported before anything else happens)
        return run

    def check_pair(self, remedy: str) -> None:
        """Refuses the training of a generator, where a pair is wanted.

        Raises:
            ValueError: If it is one, with the remedy.
        """
        if "model" not in self.config and "generator" in self.config:
            raise ValueError(f"{self.folder} holds no pair, but the training of a generator; {remedy}")

    @property
    def config(self) -> dict[str, Any]:
        return self.read_json("config.json")

    @property
    def summary(self) -> dict[str, Any] | None:
        """What a finished training ended with; None of one that is not."""
        return self.read_json("summary.json") if (self.folder / "summary.json").exists() else None

    def read_json(self, name: str) -> dict[str, Any]:
        """A JSON object of the folder.

        Raises:
            ValueError: If it is missing or damaged, naming it.
        """
        try:
            content = json.loads((self.folder / name).read_text())
        except (OSError, ValueError) as error:
            raise ValueError(f"{self.folder / name} cannot be read: {error}; restore it, or start a new run") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.folder / name} must hold a JSON object, got {type(content).__name__}")
        return content

    def write_json(self, name: str, content: Any) -> None:
        atomic_write(self.folder / name, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())

    def checkpoint(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def best_state(self) -> tuple[str, str]:
        """The checkpoint that the run is measured by: its name, and the digest by which measurements of it are known.

        Raises:
            ValueError: If there is none yet.
        """
        again = self.summary is not None and self.checkpoint("retrain-best").exists()
        name = "retrain-best" if again else "train-best"
        if not self.checkpoint(name).exists():
            raise ValueError(
                f"{self.folder} has no trained state yet; finish it with ppl-vae train --resume {self.folder}"
            )
        with open(self.checkpoint(name), "rb") as file:
            return name, hashlib.file_digest(file, "sha256").hexdigest()

    def metrics(self, name: str = "metrics", epochs: int | None = None) -> list[dict[str, Any]]:
        """The rows of training so far, or those of so many epochs; a last line cut short by a crash is left out.

        Raises:
            ValueError: If there are fewer.
        """
        path = self.folder / f"{name}.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        rows = []
        for line in lines:
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
        if len(rows) < (epochs or 0):
            raise ValueError(
                f"{path} has {len(rows)} of {epochs} epochs; restore it, or delete the checkpoints to train again"
            )
        return rows[:epochs]

    def write_metrics(self, rows: list[dict[str, Any]], name: str = "metrics") -> None:
        atomic_write(self.folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())

    def figure(
        self, name: str, draw: Callable[[Any], None], size: tuple[float, float], kinds: tuple[str, ...] = ("png",)
    ) -> None:
        """Draws a figure into the folder, leaving the user's matplotlib alone."""
        import io

        from matplotlib.figure import Figure

        from ppl_vae.figures import fit_title

        figure = Figure(figsize=size, layout="constrained")
        draw(figure)
        fit_title(figure)
        for kind in kinds:
            content = io.BytesIO()
            # The layout forgets the titles of panels of fixed aspect; the page grows by what would be cut off.
            figure.savefig(content, format=kind, dpi=160, bbox_inches="tight", pad_inches=0.05)
            atomic_write(self.folder / "figures" / f"{name}.{kind}", content.getvalue())


def versions() -> dict[str, str]:
    """Versions of Python and of the packages a result may depend on."""
    found = {"python": platform.python_version()}
    for package in ("ppl-vae", "torch", "pyro-ppl", "numpy", "scipy", "zuko"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found
