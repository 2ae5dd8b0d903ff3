"""A wheel holds every package and every data file of the checkout."""

import configparser
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
BESIDE = ("models", "guides", "experiments")


def settings():
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def folders():
    """Folders of the checkout by the name of their package."""
    inside = {
        ".".join(init.parent.relative_to(ROOT).parts): init.parent for init in ROOT.glob("ppl_vae/**/__init__.py")
    }
    return inside | {f"ppl_vae.{name}": ROOT / name for name in BESIDE}


def test_every_package_is_listed():
    assert sorted(settings()["options"]["packages"].split()) == sorted(folders())


def test_every_data_file_is_listed():
    patterns = {name: value.split() for name, value in settings()["options.package_data"].items()}
    missing = [
        f"{package}: {file.name}"
        for package, folder in folders().items()
        for file in folder.iterdir()
        if file.is_file() and file.suffix not in (".py", ".pyc")
        if not any(fnmatch(file.name, pattern) for pattern in patterns.get(package, ()))
    ]
    assert missing == []


def test_the_conda_recipe_requires_what_the_wheel_does():
    lines = (ROOT / "conda" / "recipe.yaml").read_text().splitlines()
    run = lines[lines.index("  run:") + 1 : lines.index("tests:")]
    named = {"pytorch": "torch", "matplotlib-base": "matplotlib", "python": ""}
    required = {named.get(name, name): bound for name, bound in (line.split()[1:] for line in run if line.strip())}
    assert required.pop("") == settings()["options"]["python_requires"]
    wheel = [line.partition(">=") for line in settings()["options"]["install_requires"].split()]
    assert required == {name: f">={version}" for name, _, version in wheel}
