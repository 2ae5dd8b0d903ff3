"""Files of tensors: written atomically, identified by their checksum, never unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ppl_vae.data.files import atomic_write
from ppl_vae.data.text_file import reason

__all__ = ["Checkpoint", "fill", "optimizer_state", "read_tensors", "restore_optimizer"]


def optimizer_state(
    optimizer: torch.optim.Optimizer, prefix: str = "optimizer"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the state of an optimiser: copies of its tensors by prefixed name, and the rest as JSON holds it."""
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, values in state["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{prefix}.{index}.{name}"] = value.detach().clone()
            else:
                scalars.setdefault(str(index), {})[name] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Restores an optimiser from :func:`optimizer_state`, with the names of tensors without the prefix."""
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in rest["scalars"].items()}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        # A copy: the optimiser works in place, and the checkpoint must not change.
        state.setdefault(int(index), {})[key] = tensor.clone()
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})


FORMAT = "1"
"""Version of the files of :class:`Checkpoint`; another is refused."""


class Checkpoint:
    """Tensors by name and a JSON document, in one safetensors file.

    Arguments:
        tensors: Tensors by name.
        state: The JSON document.
    """

    def __init__(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        self.tensors, self.state = tensors, state

    @property
    def digest(self) -> str:
        """SHA-256 of the tensors with their names, types and shapes."""
        return _digest(self.tensors)

    def write(self, path: Path) -> None:
        """Writes a file atomically."""
        atomic_write(path, *self.content())

    def content(self) -> tuple[bytes, memoryview]:
        """The content of a file, in two parts."""
        tensors = {name: t.detach().cpu().contiguous().clone() for name, t in self.tensors.items()}
        state = json.dumps(self.state)
        return _ordered(save(tensors, {"format": FORMAT, "state": state, "sha256": _digest(tensors, state)}))

    @classmethod
    def read(cls, path: Path, remedy: str = "delete the checkpoints to train again") -> Checkpoint:
        """Reads a file back.

        Arguments:
            path: Path of the file.
            remedy: Remedy for a damaged file, for the error message.

        Raises:
            ValueError: If it is missing, truncated, not one of ours, or of another version of this package.
        """
        try:
            tensors, metadata = _read(path)
            if not {"state", "sha256"} <= metadata.keys():
                raise ValueError("ppl-vae did not write it")
            if metadata.get("format") != FORMAT:
                raise ValueError(
                    f"its format is {metadata.get('format', 'older than 1')}, and this version of ppl-vae reads "
                    f"{FORMAT}: take the version that wrote it, which config.json names"
                )
            if metadata["sha256"] != _digest(tensors, metadata["state"]):
                raise ValueError("its checksum is wrong")
            return cls(tensors, json.loads(metadata["state"]))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            why = error if type(error) is ValueError else reason(error)
            raise ValueError(f"{path} is not a readable checkpoint ({why}); {remedy}") from error

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors whose names begin with ``prefix.``, without it."""
        return {name.removeprefix(f"{prefix}."): t for name, t in self.tensors.items() if name.startswith(f"{prefix}.")}

    @classmethod
    def into(cls, path: Path, model: torch.nn.Module, guide: torch.nn.Module) -> Checkpoint:
        """Reads a file and fills a pair with its parameters."""
        checkpoint = cls.read(path)
        checkpoint.fill(model, guide, path)
        return checkpoint

    def fill(self, model: torch.nn.Module, guide: torch.nn.Module, source: Path) -> None:
        """Fills a pair with its parameters; the source is that of error messages."""
        self.restore("model", model, source)
        self.restore("guide", guide, source)

    def restore(self, prefix: str, module: torch.nn.Module, source: Path) -> None:
        """Fills a module with the tensors of a prefix.

        Raises:
            ValueError: Naming the first tensor that is missing or has another shape, with both shapes.
        """
        fill(module, self.part(prefix), str(source), prefix, "its options differ from those of the run", f"{prefix}.")


def fill(
    module: torch.nn.Module, tensors: dict[str, Tensor], source: str, owner: str, remedy: str, prefix: str = ""
) -> None:
    """Fills a module with tensors by name; it is left as it is if they do not fit.

    Arguments:
        module: The module.
        tensors: The tensors.
        source: Origin of the tensors, for the error message.
        owner: Description of the module, for the error message.
        remedy: Remedy for different shapes, for the error message.
        prefix: Prefix of the tensors' names in their source.

    Raises:
        ValueError: Naming the first tensor that is missing, has another shape (with both shapes), or is superfluous.
    """
    wanted = module.state_dict()
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(f"{source} has no tensor {prefix}{name}; was it written by another {owner}?")
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{source}: tensor {prefix}{name} has shape {tuple(tensors[name].shape)}, the {owner} needs "
                f"{tuple(tensor.shape)}; {remedy}"
            )
        if tensors[name].is_floating_point() != tensor.is_floating_point():
            raise ValueError(
                f"{source}: tensor {prefix}{name} holds {tensors[name].dtype}, the {owner} needs {tensor.dtype}; "
                "restore the file, or make it again"
            )
    if extra := [name for name in tensors if name not in wanted]:
        raise ValueError(f"{source} has a tensor {prefix}{extra[0]}, which the {owner} lacks; {remedy}")
    module.load_state_dict(tensors)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of any safetensors file.

    Raises:
        ValueError: If it is missing or no such file, holds other tensors than its own checksum says, or a number that
            is not finite, naming the tensor.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the file of tensors in it (.safetensors)")
    try:
        tensors, metadata = _read(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is no readable file of tensors ({reason(error)}); write one with safetensors.torch.save_file"
        ) from error
    # Files of this package have both keys; checksums of other files mean something else.
    if "state" in metadata and metadata.get("sha256", "") != _digest(tensors, metadata["state"]):
        raise ValueError(f"{path} is damaged: its checksum is wrong; restore it, or make it again")
    for name, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{path}: tensor {name} has numbers that are not finite; restore it, or make it again")
    return tensors


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def _ordered(content: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file in two parts, with its metadata sorted, which are written in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    written = json.dumps(header, separators=(",", ":")).encode()
    written += b" " * (-len(written) % 8)  # tensors begin at a multiple of 8
    return len(written).to_bytes(8, "little") + written, memoryview(content)[end:]


def _digest(tensors: dict[str, Tensor], state: str = "") -> str:
    """SHA-256 of tensors, with their names, types and shapes, and of a JSON document."""
    shapes = {name: (str(tensors[name].dtype), list(tensors[name].shape)) for name in sorted(tensors)}
    digest = hashlib.sha256(json.dumps([shapes, state]).encode())
    for name in shapes:
        digest.update(tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
