"""Files of a sender who means harm: what runs is what the digest is of, and nothing else that lies beside it."""

import hashlib
import importlib
import importlib.util
import os
import py_compile
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from ppl_vae.plugins.neighbours import Sources
from ppl_vae.plugins.user_files import digest, load_file, modules_beside, run_afresh

EVIL = "open('was-run', 'w').close()\nSCALE = 'evil'\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a model in two files, a package and a folder without __init__.py."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if Path(p).resolve() != tmp_path])
    write("vae.py", "import helpers_x\nfrom . import helpers_x as again\nimport pack_x.deep\nimport bare_x.inner\n")
    write("helpers_x.py", "SCALE = 'good'\n")
    write("pack_x/__init__.py", "")
    write("pack_x/deep.py", "SCALE = 'good'\n")
    write("bare_x/inner.py", "SCALE = 'good'\n")
    yield tmp_path
    assert not Path("was-run").exists()


def write(name, text):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text)


def plant(source, target=None):
    """Compiles what is evil to where Python looks for the compiled form of a source, with its time and size."""
    text, stat = Path(source).read_text(), os.stat(source)
    evil = EVIL.ljust(stat.st_size, "#")
    text = text.ljust(len(evil), "#")
    Path(source).write_text(evil)
    os.utime(source, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    py_compile.compile(source, cfile=target, doraise=True)
    Path(source).write_text(text)
    os.utime(source, ns=(stat.st_mtime_ns, stat.st_mtime_ns))


def scales(module):
    return [m.SCALE for m in (module.helpers_x, module.again, module.pack_x.deep, module.bare_x.inner)]


def test_compiled_files_in_pycache_are_not_run(folder):
    for source in ("vae.py", "helpers_x.py", "pack_x/deep.py", "pack_x/__init__.py", "bare_x/inner.py"):
        plant(source)
    spec = importlib.util.spec_from_file_location("victim", "helpers_x.py")
    victim = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(victim)
    assert victim.SCALE == "evil"  # Python itself is taken in
    Path("was-run").unlink()
    assert scales(load_file(Path("vae.py"))) == ["good"] * 4


@pytest.mark.parametrize("suffix", [".pyc", *EXTENSION_SUFFIXES, "/__init__.pyc"])
@pytest.mark.parametrize("statement", ["import fast_x", "from . import fast_x", "from pack_x import fast_x"])
def test_a_compiled_neighbour_is_refused_by_name(folder, statement, suffix):
    place = "pack_x/fast_x" if "pack_x" in statement else "fast_x"
    write("evil.py", EVIL)
    write(place + suffix, "")
    py_compile.compile("evil.py", cfile=place + suffix)
    write("vae.py", statement)
    with pytest.raises(ValueError, match=rf"{place}{suffix} lies beside vae.py and is not run: only Python sources"):
        load_file(Path("vae.py"))


def test_what_no_statement_names_is_not_run_though_other_code_asks_for_it(folder):
    write("faiss_x.py", EVIL)
    write("pack_x/hidden.py", EVIL)
    load_file(Path("vae.py"))
    for name in ("faiss_x", "hidden"):  # as a library does that can do without it
        assert importlib.util.find_spec(name) is None
    assert importlib.util.find_spec("helpers_x") is not None
    assert str(folder) not in map(str, map(Path, sys.path))
    write("vae.py", "import importlib\nimportlib.import_module('faiss_x')")
    with pytest.raises(ValueError, match="faiss_x.py lies beside vae.py and is not run: no import statement names it"):
        load_file(Path("vae.py"))
    write("vae.py", "import pack_x, importlib\nimportlib.import_module('pack_x.hidden')")
    with pytest.raises(ValueError, match="hidden.py lies beside"):
        load_file(Path("vae.py"))
    write("bare_x/sub/hidden.py", EVIL)
    write("vae.py", "import bare_x.inner, importlib\nimportlib.import_module('bare_x.sub.hidden')")
    with pytest.raises(ValueError, match=r"No module named 'bare_x.sub'"):
        load_file(Path("vae.py"))


def test_the_bytes_that_were_hashed_run_though_the_files_change_at_once(folder, monkeypatch):
    read = Sources.read.__func__

    def read_and_swapped(cls, file):
        sources = read(cls, file)
        for name in sources.contents:
            Path(file).resolve().parent.joinpath(name).write_text(EVIL)
        return sources

    expected = digest(Path("vae.py"))
    monkeypatch.setattr(Sources, "read", classmethod(read_and_swapped))
    module = load_file(Path("vae.py"), expected)
    assert scales(module) == scales(run_afresh(module)) == ["good"] * 4
    with pytest.raises(ValueError, match="has changed since the run began"):
        load_file(Path("vae.py"), expected)


def test_imports_inside_functions_run_what_was_read_with_the_file(folder):
    write("vae.py", "def late():\n    import helpers_x\n    from .pack_x import deep\n    return helpers_x, deep")
    write("guide.py", "from . import helpers_x\n")
    module = load_file(Path("vae.py"))
    load_file(Path("guide.py"))  # its neighbours are others
    for name in ("helpers_x.py", "pack_x/deep.py"):
        write(name, EVIL)
    assert [each.SCALE for each in module.late()] == ["good", "good"]
    assert {each.__name__.rpartition(".")[2] for each in modules_beside(module)} >= {"pack_x", "deep"}


@pytest.mark.parametrize("name", ["json", "os", "ppl_vae", "sys", "site"])
def test_a_neighbour_called_like_a_module_of_python_or_of_this_package_is_not_run(folder, name):
    write(f"{name}.py", EVIL)
    write(f"{name}/__init__.py", EVIL)
    write("vae.py", f"import {name}")
    load_file(Path("vae.py"))
    assert Sources.read(Path("vae.py")).beside == []


def test_links_out_of_the_folder_are_read_once_like_files(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "real.py"
    outside.write_text("SCALE = 'linked'")
    Path("helpers_x.py").unlink()
    Path("helpers_x.py").symlink_to(outside)
    before = digest(Path("vae.py"))
    assert load_file(Path("vae.py")).helpers_x.SCALE == "linked"
    outside.write_text("SCALE = 'other'")
    assert digest(Path("vae.py")) != before


def test_the_digest_of_a_file_alone_is_that_of_its_bytes_and_of_several_tells_names_and_borders(folder):
    write("alone.py", "x = 1\n")
    assert digest(Path("alone.py")) == hashlib.sha256(b"x = 1\n").hexdigest()

    def of(**files):
        write("d/vae.py", "from . import a, b")
        for name in ("a", "b"):
            Path(f"d/{name}.py").unlink(missing_ok=True)
        for name, text in files.items():
            write(f"d/{name}.py", text)
        return digest(Path("d/vae.py"))

    digests = [of(a="x = 1", b="y = 2"), of(a="y = 2", b="x = 1"), of(a="x = 1"), of(b="x = 1"), of(a="", b="x = 1")]
    assert len(set(digests)) == len(digests)
