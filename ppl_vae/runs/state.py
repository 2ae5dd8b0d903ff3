"""The state of a run under which a measurement counts: its checkpoint, and the code that is run with it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ppl_vae.runs.code import code_of, own_code
from ppl_vae.runs.config import RunConfig
from ppl_vae.training.run_folder import RunFolder

__all__ = ["RunState"]


@dataclass(frozen=True)
class RunState:
    """What a measurement of a run is of.

    Arguments:
        name: Name of the checkpoint that is measured.
        checkpoint: SHA-256 of its file.
        code: Digests of the user's own model and guide; shipped ones have none.
        is_run: Whether this is the code that the run is trained with, not that of files that have changed since.
    """

    name: str
    checkpoint: str
    code: Mapping[str, str] = field(default_factory=dict)
    is_run: bool = True

    @classmethod
    def of(cls, run: RunFolder, code: Mapping[str, str] | None = None) -> RunState:
        """The best state of a run.

        Arguments:
            run: The run.
            code: Digests of the model and guide that were opened; None is of those that would be.

        Raises:
            ValueError: If there is no trained state yet.
        """
        taken = dict(code_of(run) if code is None else code)
        return cls(*run.best_state(), taken, taken == own_code(RunConfig.of(run)))

    @property
    def key(self) -> str:
        """Tells states apart; measurements are stored with it."""
        return "-".join([self.checkpoint, *([self._digest] if self.code else [])])

    @property
    def _digest(self) -> str:
        return hashlib.sha256(json.dumps(self.code, sort_keys=True).encode()).hexdigest()[:16]

    def named(self, name: str) -> str:
        """The name of files in the run: what code that has changed since measures has files of its own."""
        return name if self.is_run else f"{name}-current-{self._digest[:8]}"

    def summary(self, run: RunFolder) -> dict[str, Any] | None:
        """The final table of the run if it counts for this state, as :attr:`RunFolder.summary` has it."""
        return run.summary if self.is_run else None
