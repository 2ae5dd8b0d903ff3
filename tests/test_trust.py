"""What docs/trust.md promises: nothing is unpickled or run but the user's programs, nothing is written elsewhere."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    file for folder in ("ppl_vae", "models", "guides", "experiments") for file in (ROOT / folder).rglob("*.py")
)
NEVER_IMPORTED = {"pickle", "dill", "shelve", "marshal", "yaml", "_pickle"}
NEVER_CALLED = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "os.execv",
    "pickle.loads",
    "joblib.load",
}
COMMANDS = ("train gmm --guide full --epochs 1 --guide-width 4 --evidence-data 9 --out r", "gap r --data 5")
RUN = {"ppl_vae/__init__.py", "ppl_vae/plugins/user_files.py"}
"""Files that run a module by its path: this package's own, and the user's programs."""


def name_of(call):
    """The dotted name of what is called."""
    parts, node = [], call.func
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([*([node.id] if isinstance(node, ast.Name) else []), *reversed(parts)])


def keyword(call, name):
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), None)


def faults(source):
    """Lines of a source that unpickle, or run what they read."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [each.name for each in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"{node.lineno}: imports {m}" for m in modules if m.partition(".")[0] in NEVER_IMPORTED)
        if not isinstance(node, ast.Call):
            continue
        name = name_of(node)
        if name in NEVER_CALLED or keyword(node, "shell") not in (None, "False"):
            yield f"{node.lineno}: {name}"
        if name == "torch.load" and keyword(node, "weights_only") != "True":
            yield f"{node.lineno}: torch.load may unpickle"
        if name in ("np.load", "numpy.load", "np.lib.format.read_array") and keyword(node, "allow_pickle") != "False":
            yield f"{node.lineno}: {name} may unpickle"
        if name.endswith((".extractall", ".extract")):
            yield f"{node.lineno}: {name} writes where an archive says"


def test_no_source_unpickles_or_runs_what_it_reads():
    sources = {str(file.relative_to(ROOT)): file.read_text(encoding="utf-8") for file in SOURCES}
    assert {file: found for file, source in sources.items() if (found := list(faults(source)))} == {}
    assert {file for file, source in sources.items() if "exec_module" in source} == RUN


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "eval(x)",
        "torch.load(f)",
        "torch.load(f, weights_only=False)",
        "np.load(f)",
        "np.load(f, allow_pickle=True)",
        "subprocess.run(c, shell=True)",
        "archive.extractall()",
    ],
)
def test_the_scan_finds_what_it_is_for(line):
    assert len(list(faults(line))) == 1
    assert not list(faults("model.eval()\nnp.load(f, allow_pickle=False)\ntorch.load(f, weights_only=True)"))


def test_every_download_is_compared_with_a_digest():
    for file in SOURCES:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            called = [name_of(node) for node in ast.walk(function) if isinstance(node, ast.Call)]
            assert not any(name.startswith(("urllib", "requests", "http")) for name in called), file
            assert ("pooch.retrieve" in called) == bool({"check_md5", "_check_published"} & set(called)), file


@pytest.mark.skipif(sys.platform != "linux", reason="the package's cache lies elsewhere")
def test_a_training_and_its_gap_write_into_run_and_cache_alone(tmp_path):
    home, work, scratch = (tmp_path / name for name in ("home", "work", "tmp"))
    for folder in (home, work, scratch):
        folder.mkdir()
    kept = ("PATH", "PPL_VAE_DATA", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
    env = {name: os.environ[name] for name in kept if name in os.environ}
    env |= {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"from ppl_vae.cli.main import main; [main(line.split(), standalone_mode=False) for line in {COMMANDS!r}]"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (work / "r" / "gap-test.json").exists()
    written = [path.relative_to(tmp_path).parts for path in tmp_path.rglob("*") if path.is_file()]
    assert {parts[:2] for parts in written} <= {("work", "r"), ("home", ".cache")}
