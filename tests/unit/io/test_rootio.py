"""ROOT files appear whole or not at all, hold TTrees, and read back as what was written."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
import uproot

from fastsim.errors import FastsimError, InputError, UsageError
from fastsim.io import inspect, rootio
from fastsim.io.rootio import RootFile, refuse_existing

TYPES = {"x": np.dtype("float32"), "v": np.dtype(("int32", (2,))), "l": "var * int32"}


def rows(first, n):
    """Rows first..first+n: a number, a pair and a list of `i % 3` numbers each."""
    i = np.arange(first, first + n)
    counts = i % 3
    return {
        "x": i.astype("float32"),
        "v": np.column_stack([i, -i]).astype("int32"),
        "l": (counts, np.repeat(i, counts).astype("int32")),
    }


def write(path, sizes=(5, 0, 7), level=1):
    with RootFile(path, compression_level=level) as file:
        file.add_tree("DF_0/tree", TYPES)
        first = 0
        for n in sizes:
            file.extend("DF_0/tree", rows(first, n))
            first += n
        file.close({"provenance": '{"a": 1}'})


@pytest.mark.parametrize("level", [0, 1, 9])
def test_round_trip(tmp_path, level):
    write(tmp_path / "out.root", level=level)
    with uproot.open(tmp_path / "out.root") as file:
        assert file.classnames(cycle=False) == {"DF_0": "TDirectory", "DF_0/tree": "TTree", "provenance": "TObjString"}
        tree = file["DF_0/tree"].arrays(library="ak")
        assert tree["x"].tolist() == list(range(12))
        assert tree["v"].tolist() == [[i, -i] for i in range(12)]
        assert tree["l"].tolist() == [[i] * (i % 3) for i in range(12)]
        assert str(file["provenance"]) == '{"a": 1}'
    assert inspect.trees(uproot.open(tmp_path / "out.root")) == ["DF_0/tree"]


def test_size_of_the_pieces_changes_no_column(tmp_path, monkeypatch):
    write(tmp_path / "large.root")
    monkeypatch.setattr(rootio, "FLUSH_BYTES", 0)
    write(tmp_path / "small.root", sizes=(1,) * 12)
    assert inspect.digest(tmp_path / "small.root") == inspect.digest(tmp_path / "large.root")
    write(tmp_path / "other.root", sizes=(11,))
    assert inspect.digest(tmp_path / "other.root") != inspect.digest(tmp_path / "large.root")


def test_nothing_is_there_until_all_is_there(tmp_path):
    with RootFile(tmp_path / "out.root", compression_level=1) as file:
        file.add_tree("tree", TYPES)
        file.extend("tree", rows(0, 5))
        file.flush()
        (part,) = tmp_path.iterdir()
        assert part.name.startswith(".out.root.")
        assert part.name.endswith(".part")
        file.close({})
        assert [path.name for path in tmp_path.iterdir()] == ["out.root"]


def test_error_on_the_way_leaves_nothing_and_an_old_file_as_it_was(tmp_path):
    (tmp_path / "out.root").write_text("old")

    def fail():
        with RootFile(tmp_path / "out.root", compression_level=1) as file:
            file.add_tree("tree", TYPES)
            file.extend("tree", rows(0, 5))
            raise RuntimeError("on the way")

    with pytest.raises(RuntimeError, match="on the way"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.root"]
    assert (tmp_path / "out.root").read_text() == "old"


@pytest.mark.parametrize(
    ("number", "what", "hint", "code"),
    [
        (errno.ENOSPC, "No space left on device", "the disk is full: free some space or write elsewhere", 75),
        (errno.EFBIG, "File too large", "a file-size limit is set (ulimit -f)", 75),
        (errno.EDQUOT, "Disk quota exceeded", "your disk quota is used up", 75),
        (errno.EIO, "Input/output error", "the disk or the network fails", 75),
        (errno.EACCES, "Permission denied", "nothing is left under the final name", 2),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "extend", "mktree", "recreate"])
def test_device_that_refuses(tmp_path, monkeypatch, call, number, what, hint, code):
    def refuse(*_args, **_options):
        raise OSError(number, what)

    target = {"fsync": "fastsim.io.rootio.os", "extend": "uproot.WritableTree", "mktree": "uproot.WritableDirectory"}
    monkeypatch.setattr(f"{target.get(call, 'uproot')}.{call}", refuse)
    with pytest.raises(FastsimError) as caught:
        write(tmp_path / "out.root")
    assert str(caught.value) == f"{tmp_path / 'out.root'}: cannot be written ({what})\nhint: {hint}"
    assert caught.value.exit_code == code
    assert list(tmp_path.iterdir()) == []


def refusal(path, **options) -> str:
    with pytest.raises(UsageError) as caught:
        refuse_existing(path, **{"overwrite": True, **options})
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_output_that_cannot_be(tmp_path):
    old = tmp_path / "old.root"
    old.touch()
    assert refusal(tmp_path) == f"{tmp_path}: is a directory, not a file to write"
    assert refusal(old, overwrite=False) == f"{old}: exists already\nhint: choose another name, or say --overwrite"
    assert refusal(tmp_path / "no" / "out.root") == f"{tmp_path / 'no'}: no such folder\nhint: make it first"
    refuse_existing(old, overwrite=True)
    refuse_existing(tmp_path / "new.root", overwrite=False)


def test_output_into_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert refusal(tmp_path / "pipe") == (
        f"{tmp_path / 'pipe'}: is not an ordinary file\nhint: files appear whole, which pipes and devices cannot"
    )


def test_output_over_an_input(tmp_path):
    (tmp_path / "events.hepmc").touch()
    (tmp_path / "link").symlink_to(tmp_path / "events.hepmc")
    inputs = [tmp_path / "missing", tmp_path / "events.hepmc"]
    for name in ("events.hepmc", "link"):
        assert refusal(tmp_path / name, inputs=inputs) == (
            f"{tmp_path / name}: is an input of this very run\nhint: choose another name for the output"
        )


def test_link_keeps_pointing_to_where_its_file_is(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "link.root").symlink_to(tmp_path / "far" / "out.root")
    write(tmp_path / "link.root")
    assert (tmp_path / "link.root").is_symlink()
    assert [path.name for path in (tmp_path / "far").iterdir()] == ["out.root"]


# --- looking into files ---


def test_looking_into_a_file_that_is_missing_or_not_root(tmp_path):
    with pytest.raises(InputError, match="no such file") as caught:
        inspect.open_file(tmp_path / "no.root")
    assert caught.value.where == str(tmp_path / "no.root")
    (tmp_path / "text.root").write_text("not a ROOT file at all")
    with pytest.raises(InputError, match=r"not a whole ROOT file \(\w+\)"):
        inspect.open_file(tmp_path / "text.root")


def test_truncated_root_file(tmp_path):
    write(tmp_path / "out.root")
    whole = (tmp_path / "out.root").read_bytes()
    (tmp_path / "out.root").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"not a whole ROOT file \({len(whole) // 2} of {len(whole)} bytes\)"):
        inspect.digest(tmp_path / "out.root")


@pytest.mark.parametrize("text", ["not json", None])
def test_file_without_provenance(tmp_path, text):
    with uproot.recreate(tmp_path / "a.root") as file:
        file["other"] = "x"
        if text:
            file["provenance"] = text
    with inspect.open_file(tmp_path / "a.root") as file:
        assert inspect.provenance(file) is None
