"""Pages of the Python interface: which names and modules stand on which page."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import ppl_vae as pv

__all__ = ["pages"]

ROOT = Path(__file__).parents[1]

PUBLIC = {
    "training": (
        "Training",
        "train resume load_run Run train_generator",
        "Train a pair, continue a training, and open what it left behind.",
    ),
    "objectives": (
        "Objectives",
        "DiscreteELBO ImportanceWeightedELBO SleepPhase RateCost",
        "What is maximised. Each is a `pyro.infer.ELBO` and works in any SVI loop.",
    ),
    "measuring": (
        "Measuring a pair",
        "measure split_gap ladder tightness calibrate information rate_distortion_curve sandwich "
        "RefinedGuide log_weight simulate",
        "Functions of any Pyro pair and its data.",
    ),
    "data": (
        "Data",
        "load_corpus pack Corpus PackedCounts",
        "Data sets by name or path, packed word counts, and data larger than memory.",
    ),
    "programs": (
        "Models and guides",
        "new check AmortisedGuide set_layout regulariser",
        "What a model or guide of your own may need.",
    ),
    "studies": (
        "Runs and studies",
        "report list_runs remove_runs compare experiment catalogue",
        "Many runs: reports, lists, comparisons and experiments.",
    ),
}
"""Title, names and first line of each page of public names."""

MODULES = {
    "results": (
        "Results",
        "What measurements return. Each prints as a table, and has `to_frame()`, `to_json()` and `plot()`.",
        [
            "evidence/results.py",
            "evidence/estimate.py",
            "evidence/bracket.py",
            "evidence/shortfall.py",
            "evidence/bdmc.py",
            "diagnostics/gap/gap.py",
            "diagnostics/gap/ladder.py",
            "diagnostics/information/information.py",
            "diagnostics/information/curve.py",
            "diagnostics/tightness/verdict.py",
            "diagnostics/calibration/result.py",
            "diagnostics/retrieval/retrieval.py",
            "diagnostics/comparison.py",
            "runs/summary.py",
        ],
    ),
    "estimators": (
        "Gradient estimators",
        "Estimators of gradients through discrete samples; none of them knows Pyro.",
        ["estimators/*.py", "estimators/base/*.py"],
    ),
    "evidence-methods": (
        "Evidence methods",
        "Ways to log p(x): one file each.",
        ["evidence/methods/*.py", "evidence/ais.py", "evidence/psis.py"],
    ),
    "guides": (
        "Guides and networks",
        "Shipped guides, their base classes, and the networks that they are made of.",
        ["../guides/*.py", "programs/amortised.py", "programs/deep_guide.py", "nn/*.py"],
    ),
    "distributions": ("Distributions", "Distributions that Pyro lacks.", ["distributions/*.py"]),
    "readers": ("Readers of data", "One file for each form of data.", ["data/source.py", "data/readers/*.py"]),
}
"""Title, first line and files of each page of modules."""


def pages() -> dict[str, str]:
    """Markdown of the pages by their path in the site; the last of the public names has those that no page names."""
    shown = {name for _, names, _ in PUBLIC.values() for name in names.split()}
    title, names, line = PUBLIC["studies"]
    others = " ".join([names, *sorted(set(pv._PLACES) - shown - {"estimators"})])
    public = PUBLIC | {"studies": (title, others, line)}
    made = {f"api/{page}.md": _public(*content) for page, content in public.items()}
    return made | {f"api/{page}.md": _modules(*content) for page, content in MODULES.items()}


def _public(title: str, names: str, line: str) -> str:
    places = pv._PLACES
    options = "    options:\n      heading: pv.{0}\n      heading_level: 2\n      inherited_members: {1}\n"
    blocks = [
        f"::: ppl_vae.{places[name]}.{name}\n{options.format(name, str(name == 'Run').lower())}"
        for name in names.split()
    ]
    return "\n".join([f"# {title}\n\n{line} `pv` is `import ppl_vae as pv`.\n", *blocks])


def _modules(title: str, line: str, patterns: list[str]) -> str:
    blocks = [f"# {title}\n\n{line}\n"]
    for file in _files(patterns):
        path = file.relative_to(ROOT).with_suffix("").parts
        name = ".".join(path if path[0] == "ppl_vae" else ("ppl_vae", *path))
        module = name.removeprefix("ppl_vae.")
        names = [each for each in _exported(file) if pv._PLACES.get(each) != module]
        if not names:
            continue
        source = name if path[0] == "ppl_vae" else ".".join(path)
        options = "    options:\n      heading: {0}\n      heading_level: 2\n"
        blocks += [f"::: {source}.{each}\n{options.format(f'{module}.{each}')}" for each in names]
    return "\n".join(blocks)


def _files(patterns: list[str]) -> Iterator[Path]:
    for pattern in patterns:
        folder, _, last = pattern.rpartition("/")
        found = sorted((ROOT / "ppl_vae" / folder).resolve().glob(last))
        if not found:
            raise ValueError(f"website/api.py names {pattern}, which matches no file")
        yield from (file for file in found if file.stem != "__init__")


def _exported(file: Path) -> list[str]:
    """The public classes and functions that a module defines, in their order."""
    kinds = (ast.ClassDef, ast.FunctionDef)
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
