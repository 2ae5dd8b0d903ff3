"""What becomes of one damaged file."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from benchmarks.siege.case import Case, Form

__all__ = ["FAULTS", "OUTCOMES", "Outcome", "Verdict", "differences", "judged"]

Verdict = Literal["read right", "refused", "crash", "hang", "memory", "foreign error", "wrong"]

OUTCOMES: tuple[Verdict, ...] = get_args(Verdict)

FAULTS = OUTCOMES[2:]
"""Outcomes that no file may have."""

LONGEST = 1200
"""Most characters of a message, besides its path."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Arguments:
        number: Number of the file, by which it can be made again.
        verdict: The outcome.
        reason: Why it is a fault; of a refusal the message.
    """

    number: int
    verdict: Verdict
    reason: str = ""


def judged(form: Form, case: Case, folder: Path, number: int = 0) -> Outcome:
    """Reads a file in a folder that is emptied first, and compares it with the independent parse."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = case.write(folder)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = form.read(path)
    except ValueError as error:
        if "MemoryError" in str(error) or "allocate" in str(error):
            return Outcome(number, "memory", str(error)[:500])
        fault = _message_fault(error, folder)
        return Outcome(number, "foreign error", f"{fault}: {error}"[:500]) if fault else Outcome(number, "refused")
    except MemoryError as error:
        return Outcome(number, "memory", f"MemoryError: {error}"[:500])
    except Exception as error:
        return Outcome(number, "foreign error", f"{type(error).__name__}: {error}"[:500])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = form.parse(path)
    except Exception as error:
        return Outcome(number, "wrong", f"read, but it is invalid ({type(error).__name__}: {error})"[:500])
    difference = differences(found, expected)
    return Outcome(number, "wrong", difference[:500]) if difference else Outcome(number, "read right")


def _message_fault(error: ValueError, folder: Path) -> str:
    """What a refusal lacks; empty if it names file and remedy, and can be printed."""
    message = str(error)
    if type(error) is not ValueError:
        return f"a bare {type(error).__name__}"
    if str(folder) not in message:
        return "names no file"
    if ";" not in message:
        return "names no remedy"
    if len(message.replace(str(folder), "")) > LONGEST:
        return f"is {len(message)} characters long"
    if any(not character.isprintable() and character != "\n" for character in message):
        return "cannot be printed"
    return ""


def differences(found: object, expected: object, place: str = "") -> str:
    """Where two values of lists, dictionaries, arrays and numbers differ; empty if they are the same."""
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return f"{place} has {sorted(map(repr, found))[:9]} for {sorted(map(repr, expected))[:9]}"
        parts = (differences(found[key], expected[key], f"{place}.{key}") for key in found)
        return next((part for part in parts if part), "")
    if isinstance(found, torch.Tensor) and isinstance(expected, torch.Tensor):
        same = found.dtype == expected.dtype and found.shape == expected.shape
        return "" if same and torch.equal(found, expected) else f"{place} has other numbers"
    if isinstance(found, np.ndarray) and isinstance(expected, np.ndarray):
        if found.shape != expected.shape or found.dtype != expected.dtype:
            return f"{place} is {found.dtype} {found.shape} for {expected.dtype} {expected.shape}"
        same = np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
        return "" if same else f"{place} has other numbers"
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)):
        if len(found) != len(expected):
            return f"{place} has {len(found)} entries for {len(expected)}"
        if found == expected:
            return ""
        parts = (differences(*pair, f"{place}[{i}]") for i, pair in enumerate(zip(found, expected, strict=True)))
        return next((part for part in parts if part), "")
    if isinstance(found, float) and isinstance(expected, float) and found != found and expected != expected:
        return ""
    same = type(found) is type(expected) and found == expected
    return "" if same else f"{place} is {str(found)[:80]!r} for {str(expected)[:80]!r}"
