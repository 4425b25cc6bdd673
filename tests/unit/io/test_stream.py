"""Bytes of event files: compression is told by content, damage is an error, the hash is that of the file on disk."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import lzma
import os
import threading
from hashlib import sha256

import pytest

from fastsim.errors import InputError
from fastsim.io.stream import ByteStream, zstd

TEXT = b"".join(b"line %d of a text that does not repeat itself: %d\n" % (i, i * i) for i in range(20_000))
COMPRESS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd.compress}


def read_all(path) -> bytes:
    file = ByteStream(str(path))
    try:
        return b"".join(iter(file.read, b""))
    finally:
        file.close()


@pytest.mark.parametrize("kind", COMPRESS)
def test_without_a_thread_it_is_the_same(tmp_path, kind):
    """Contents, what came before damage, and the hash of all, however much was read."""
    path = tmp_path / "events"
    whole = COMPRESS[kind](TEXT)
    for data in (whole, whole[: len(whole) // 2]):
        path.write_bytes(data)
        assert _all_of(path, read_ahead=False) == _all_of(path, read_ahead=True)
    path.write_bytes(whole)
    file = ByteStream(str(path), read_ahead=False)
    assert file.finish() == sha256(whole).hexdigest()
    file.close()


def _all_of(path, *, read_ahead):
    """Contents up to the damage, what was said of that, and the hash."""
    pieces = []
    try:
        file = ByteStream(str(path), read_ahead=read_ahead)
    except InputError as damage:
        return pieces, str(damage), ""
    try:
        pieces.extend(iter(file.read, b""))
    except InputError as damage:
        return b"".join(pieces), str(damage), file.finish()
    finally:
        file.close()
    return b"".join(pieces), "", file.finish()


@pytest.mark.parametrize("kind", COMPRESS)
def test_compression_is_told_by_content_not_by_name(tmp_path, kind):
    path = tmp_path / "events.hepmc"
    path.write_bytes(COMPRESS[kind](TEXT))
    assert read_all(path) == TEXT


@pytest.mark.parametrize("kind", COMPRESS)
def test_plain_text_with_the_name_of_a_compressed_file_is_plain_text(tmp_path, kind):
    path = tmp_path / f"events.hepmc.{kind}"
    path.write_bytes(TEXT)
    assert read_all(path) == TEXT


@pytest.mark.parametrize("kind", COMPRESS)
def test_all_members_of_a_file_are_read(tmp_path, kind):
    path = tmp_path / "events"
    path.write_bytes(COMPRESS[kind](TEXT[:11]) + COMPRESS[kind](TEXT[11:777_777]) + COMPRESS[kind](TEXT[777_777:]))
    assert read_all(path) == TEXT


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99, 0.9999])
def test_truncated_compressed_file_is_an_error_that_names_it(tmp_path, kind, share):
    path = tmp_path / "events"
    whole = COMPRESS[kind](TEXT)
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match="the compressed data is truncated or damaged") as caught:
        read_all(path)
    assert caught.value.where == str(path)
    assert caught.value.hint == "copy or produce the file again"


@pytest.mark.parametrize("kind", COMPRESS)
def test_damaged_compressed_file_is_an_error(tmp_path, kind):
    whole = bytearray(COMPRESS[kind](TEXT) if kind != "zst" else zstd.compress(TEXT, options={201: 1}))  # 201: checksum
    for at in range(len(whole) // 3, len(whole) // 3 + 40):
        whole[at] ^= 0x55
    path = tmp_path / "events"
    path.write_bytes(whole)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_all(path)


def test_bytes_behind_a_compressed_file_that_are_not_one_are_an_error(tmp_path):
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(TEXT) + b"more")
    with pytest.raises(InputError, match="truncated or damaged"):
        read_all(path)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file") as caught:
        ByteStream(str(tmp_path / "nothing.hepmc"))
    assert str(caught.value) == f"{tmp_path / 'nothing.hepmc'}: no such file"


def test_folder_in_place_of_a_file(tmp_path):
    with pytest.raises(InputError) as caught:
        ByteStream(str(tmp_path))
    assert str(caught.value) == f"{tmp_path}: cannot be read (Is a directory)"


@pytest.mark.parametrize("pieces", [0, 1])
def test_finish_gives_the_hash_of_the_whole_file_however_much_was_read(tmp_path, pieces):
    path = tmp_path / "events.gz"
    path.write_bytes(gzip.compress(TEXT * 3))
    file = ByteStream(str(path))
    for _ in range(pieces):
        file.read()
    assert file.finish() == sha256(path.read_bytes()).hexdigest()
    file.close()


def test_bytes_read_are_counted_as_they_lie_on_disk(tmp_path):
    path = tmp_path / "events.xz"
    path.write_bytes(lzma.compress(TEXT))
    file = ByteStream(str(path))
    while file.read():
        pass
    assert file.hashed.n_bytes == path.stat().st_size
    file.close()


@pytest.mark.parametrize("kind", COMPRESS)
@pytest.mark.parametrize(
    "behind", [b"HepMC::Version", b"\xff" * 3_000_000, COMPRESS["gz"](b"x")[:9]], ids=["text", "long", "cut"]
)
def test_what_stands_behind_compressed_data_is_not_passed_over(tmp_path, kind, behind):
    path = tmp_path / "events"
    path.write_bytes(COMPRESS[kind](TEXT) + behind)
    with pytest.raises(InputError, match="truncated or damaged"):
        read_all(path)


@pytest.mark.parametrize("kind", COMPRESS)
def test_zeros_behind_compressed_data_are_padding(tmp_path, kind):
    path = tmp_path / "events"
    path.write_bytes(COMPRESS[kind](TEXT[:999]) + bytes(100_000) + COMPRESS[kind](TEXT[999:]) + bytes(8))
    assert read_all(path) == TEXT


@pytest.mark.parametrize("kind", COMPRESS)
def test_what_came_before_the_damage_is_delivered(tmp_path, kind):
    path = tmp_path / "events"
    path.write_bytes(COMPRESS[kind](TEXT) + COMPRESS[kind](TEXT)[:20])
    stream = ByteStream(str(path))
    pieces = []
    with pytest.raises(InputError):
        pieces.extend(iter(stream.read, b""))
    assert b"".join(pieces) == TEXT
    assert stream.finish() == sha256(path.read_bytes()).hexdigest()
    stream.close()


def test_a_pipe_that_is_left_early_has_no_hash(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    def write():
        with contextlib.suppress(BrokenPipeError):
            pipe.write_bytes(TEXT * 20)

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    stream = ByteStream(str(pipe))
    assert stream.finish().startswith("unknown-")
    stream.close()
    writer.join(10)
    assert not writer.is_alive()
