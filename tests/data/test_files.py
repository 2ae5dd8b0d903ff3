"""Files are written whole or not at all, and nothing is left of those that were not."""

import errno
import os
import pickle
import platform
import subprocess
import sys
import zlib

import pytest

from ppl_vae.data.files import NotWrittenError, atomic_write, remove_strays, scratch_name


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_a_full_disk_keeps_the_last_good_file(tmp_path, monkeypatch, call):
    path = tmp_path / "summary.json"
    atomic_write(path, b"old")
    real = getattr(os, call)

    def full(first, *args):
        if call == "open" and args[0] == os.O_RDONLY:
            return real(first, *args)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(
            NotWrittenError, match="cannot write .*summary.json: No space left on device; its last good"
        ) as told:
            atomic_write(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
    assert str(pickle.loads(pickle.dumps(told.value))) == str(told.value)  # as workers send it


def test_a_short_write_is_continued_and_the_users_mask_holds(tmp_path, monkeypatch):
    path, write = tmp_path / "a" / "x", os.write
    monkeypatch.setattr(os, "write", lambda handle, content: write(handle, content[:3]))
    mask = os.umask(0o027)
    try:
        atomic_write(path, b"one two", memoryview(b" three"))
    finally:
        os.umask(mask)
    assert path.read_bytes() == b"one two three"
    assert path.stat().st_mode & 0o777 == 0o640


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    host = f"{zlib.crc32(platform.node().encode()):08x}"
    names = {
        "stray": f".ppl-vae-{ended.pid}-{host}-0a1b2c3d",
        "at work": scratch_name(),
        "of a host that may be at work": f".ppl-vae-{ended.pid}-00000000-0a1b2c3d",
        "of a host long ago": f".ppl-vae-{ended.pid}-00000001-0a1b2c3d",
        "the user's": "notes.txt",
    }
    below = tmp_path / "checkpoints"
    below.mkdir()
    for name in names.values():
        (below / name).write_text("")
    os.utime(below / names["of a host long ago"], (1e9, 1e9))
    remove_strays(tmp_path)
    kept = {"at work", "of a host that may be at work", "the user's"}
    assert {path.name for path in below.iterdir()} == {names[name] for name in kept}
    (below / names["stray"]).mkdir()  # of a download
    (below / names["stray"] / "part").write_text("")
    atomic_write(below / "x", b"")
    assert not (below / names["stray"]).exists()
