"""Commands of the command line that compute nothing, beside an interpreter that imports what they need."""

from __future__ import annotations

import subprocess
import sys

from torch import Tensor

from benchmarks.peers import Peer


class Help(Peer):
    """``ppl-vae --help``."""

    arguments: tuple[str, ...] = ("-m", "ppl_vae", "--help")

    def step(self, x: Tensor) -> None:
        subprocess.run([sys.executable, *self.arguments], check=True, stdout=subprocess.DEVNULL)


class List(Help):
    """``ppl-vae list``."""

    arguments = ("-m", "ppl_vae", "list")


class Import(Help):
    """``import torch, pyro``."""

    arguments = ("-c", "import torch, pyro")
