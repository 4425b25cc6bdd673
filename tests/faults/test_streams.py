"""Pipes, servers and compressed files from end to end, whole and broken; and nothing is left open behind them."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import uproot

from fastsim import run, simulate, simulate_files
from fastsim.errors import InputError
from fastsim.io.inspect import digest
from fastsim.io.stream import ByteStream
from tests import every_source
from tests import hepmc_files as files

N = 40
TEXT = files.sample(N)  # 66 kB
STARTS = [found.start() for found in re.finditer(rb"^E ", TEXT, re.MULTILINE)]
NO_FOOTER = "the file ends in the middle of an event listing (no footer): it is truncated"
HINT = "hint: copy or produce the file again, or keep its whole events with --allow-truncated"


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Digest of the events read from an ordinary file; of the first 25 of them too."""
    folder = tmp_path_factory.mktemp("reference")
    (folder / "events.hepmc").write_bytes(TEXT)
    return {n: digest_of(folder / "events.hepmc", folder / f"{n}.root", events=(0, n)) for n in (N, 25)}


def digest_of(name, out, **options):
    simulate_files([name], "alice3", out, overwrite=True, **options)
    return digest(out)


def record_of(out):
    with uproot.open(out) as file:
        return json.loads(str(file["provenance"]))


@pytest.fixture(autouse=True)
def opened(monkeypatch):
    """All streams of a test. Behind it their threads have ended and their files are closed."""
    streams = []
    start = ByteStream.__init__

    def remember(stream, *words, **options):
        start(stream, *words, **options)
        streams.append(stream)

    monkeypatch.setattr(ByteStream, "__init__", remember)
    yield streams
    for stream in streams:
        stream._thread.join(timeout=20)
        assert not stream._thread.is_alive(), stream.name
        let_go(stream)
        assert stream.path == "-" or stream.hashed.raw.closed, stream.name


def let_go(stream):
    """Close a pipe that was left while its thread was in it; its own `close` does not (see below)."""
    if not stream.is_file and not stream._thread.is_alive():
        stream.close()


@pytest.fixture
def pipe(tmp_path, opened):
    """Call with a text for a named pipe, and a thread that writes into it, in steps; `stays`: it ends with the test."""
    path = tmp_path / "pipe"
    may_end = threading.Event()
    writers = []

    def write(text, step, pause, stays):
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as file:
            for begin in range(0, len(text), step):
                file.write(text[begin : begin + step])
                time.sleep(pause)
            if stays:
                may_end.wait(60)

    def call(text, *, step=1 << 20, pause=0.0, stays=False):
        os.mkfifo(path)
        writers.append(threading.Thread(target=write, args=(text, step, pause, stays), daemon=True))
        writers[0].start()
        return path

    yield call
    may_end.set()
    end = time.monotonic() + 20
    while writers[0].is_alive() and time.monotonic() < end:
        writers[0].join(0.05)
        for stream in opened:
            let_go(stream)


@contextlib.contextmanager
def standard_input(text):
    """Text on the standard input of this process, through a pipe."""
    read, write = os.pipe()

    def fill():
        with contextlib.suppress(BrokenPipeError), open(write, "wb") as file:  # noqa: PTH123
            file.write(text)

    writer = threading.Thread(target=fill, daemon=True)
    writer.start()
    try:
        with open(read, encoding="utf-8") as stream, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123
            patch.setattr(sys, "stdin", stream)
            yield
    finally:
        writer.join()


# --- pipes ---


@pytest.mark.parametrize("workers", [1, 2])
def test_a_slow_writer_is_waited_for(tmp_path, reference, workers, pipe):
    path = pipe(TEXT, step=1000, pause=0.005)
    assert digest_of(path, tmp_path / "out.root", workers=workers, batch_size=7) == reference[N]
    (given,) = record_of(tmp_path / "out.root")["identity"]["inputs"]
    assert given["sha256"] == files_hash(TEXT)


def files_hash(text):
    from hashlib import sha256

    return sha256(text).hexdigest()


def test_standard_input(tmp_path, fastsim, reference):
    with standard_input(every_source.COMPRESS["zst"](TEXT)):
        done = fastsim("run", "-", "-o", tmp_path / "out.root", "--quiet")
    assert (done.code, done.err) == (0, "")
    assert digest(tmp_path / "out.root") == reference[N]
    assert record_of(tmp_path / "out.root")["circumstance"]["inputs"] == ["standard input"]


@pytest.mark.parametrize(
    ("end", "n_whole"), [(STARTS[12] + 300, 12), (STARTS[12], 11)], ids=["within an event", "between events"]
)
def test_a_writer_that_dies_is_an_error_that_says_where(tmp_path, fastsim, pipe, end, n_whole):
    """Without the line that would follow it, nobody knows that an event is whole."""
    path = pipe(TEXT[:end])
    done = fastsim("run", path, "-o", tmp_path / "out.root", "--quiet")
    line = TEXT[:end].count(b"\n") + 1
    known = f"the last whole event before it is number {n_whole - 1} (position {n_whole - 1})"
    assert done.code == 4
    assert done.err == f"error: {path}:{line}: {NO_FOOTER}; {known}\n{HINT}\n"
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_standard_input_that_dies_is_an_error(tmp_path, fastsim):
    with standard_input(TEXT[:20_000]):
        done = fastsim("run", "-", "-o", tmp_path / "out.root", "--quiet")
    assert done.code == 4
    assert done.err.startswith("error: standard input:")
    assert NO_FOOTER in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [b"", b"HepMC::Version 3.02.05\n", b"\x1f\x8b"])
def test_a_writer_that_says_next_to_nothing(tmp_path, fastsim, text, pipe):
    path = pipe(text)
    done = fastsim("run", path, "-o", tmp_path / "out.root", "--quiet")
    assert done.code == 4
    assert done.err.startswith(f"error: {path}")
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


def test_an_early_end_does_not_wait_for_the_writer(tmp_path, reference, pipe):
    """The writer never ends: the events that were asked for are there all the same. What it hashes to is not known."""
    path = pipe(TEXT * 200, stays=True)  # blocks of 8 MB, and 5 MB on their way
    assert digest_of(path, tmp_path / "out.root", events=(0, 25)) == reference[25]
    (given,) = record_of(tmp_path / "out.root")["identity"]["inputs"]
    assert (given["sha256"][:8], given["n_events"]) == ("unknown-", 25)


def test_a_bad_event_does_not_wait_for_the_writer(tmp_path, pipe):
    text = TEXT.replace(b"P 3 -1", b"P 3 *1", 1) * 200
    path = pipe(text, stays=True)
    with pytest.raises(InputError, match=r"event 0 \(position 0\): a particle must be"):
        simulate_files([path], "alice3", tmp_path / "out.root")
    assert [p.name for p in tmp_path.iterdir()] == ["pipe"]


@pytest.mark.parametrize(
    "command", ["cat {events} | {fastsim} run - -o {out} -q", "{fastsim} run - -o {out} -q < {events}"]
)
def test_a_generator_pipes_straight_in(tmp_path, reference, command):
    (tmp_path / "events").write_bytes(TEXT)
    words = {"events": tmp_path / "events", "out": tmp_path / "out.root", "fastsim": f"{sys.executable} -m fastsim"}
    done = subprocess.run(["bash", "-c", command.format(**words)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert digest(tmp_path / "out.root") == reference[N]


ENDLESS = """
import sys
header, body, footer = sys.argv[1].encode(), sys.argv[2].encode() * 500, None
sys.stdout.buffer.write(header)
try:
    while True:
        sys.stdout.buffer.write(body)
except BrokenPipeError:
    sys.stderr.write("the reader has gone")
"""


def test_an_endless_generator_is_left(tmp_path):
    """It sees a closed pipe when the run ends, as with `head`."""
    (tmp_path / "endless.py").write_text(ENDLESS)
    header, event = TEXT[: STARTS[0]].decode(), TEXT[STARTS[0] : STARTS[1]].decode()
    words = [sys.executable, tmp_path / "endless.py", header, event]
    out = tmp_path / "out.root"
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as generator:
        done = subprocess.run(
            [sys.executable, "-m", "fastsim", "run", "-", "-o", out, "--events", "5:2000", "--json"],
            stdin=generator.stdout, capture_output=True, text=True, check=False, timeout=100,
        )  # fmt: skip
        generator.stdout.close()
        assert generator.communicate(timeout=20)[1].startswith(b"the reader has gone")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["events"] == 1995


def test_a_pipe_that_is_left_is_closed(pipe):
    """The writer must see that nobody reads any more, as with `head`; in a notebook the process goes on."""
    stream = ByteStream(str(pipe(TEXT * 200)))
    stream.close()
    stream._thread.join(20)
    assert stream.hashed.raw.closed


IDLE = "import pathlib, sys, time\nsys.stdout.buffer.write(pathlib.Path(sys.argv[1]).read_bytes())\ntime.sleep(100)\n"


def test_an_idle_generator_is_left(tmp_path):
    """It has written more than a block, and less than what is read ahead, and thinks."""
    (tmp_path / "events").write_bytes(TEXT * 180)
    words = [sys.executable, "-c", IDLE, tmp_path / "events"]
    out = tmp_path / "out.root"
    with subprocess.Popen(words, stdout=subprocess.PIPE) as generator:
        done = subprocess.run(
            [sys.executable, "-m", "fastsim", "run", "-", "-o", out, "--events", ":10", "--quiet"],
            stdin=generator.stdout, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        generator.kill()
    assert (done.returncode, done.stderr) == (0, "")


def test_closed_standard_input_is_an_error(tmp_path):
    command = f"{sys.executable} -m fastsim run - -o {tmp_path / 'out.root'} --quiet <&-"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "error: standard input: is closed\n")


# --- servers ---


class Server(http.server.ThreadingHTTPServer):
    """Gives one text, and no ranges of it; what its address says: of known length, in chunks, or until it hangs up; or half."""

    def __init__(self, text):
        self.text = text
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, *_):
        """A client may go away."""

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self._answer()

    def do_GET(self):
        if not self._answer():
            return
        text = self.server.text[: len(self.server.text) // 2] if "half" in self.path else self.server.text
        self.close_connection = True
        if "chunks" not in self.path:
            self.wfile.write(text)
            return
        for begin in range(0, len(text), 10_000):
            piece = text[begin : begin + 10_000]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if "half" not in self.path:
            self.wfile.write(b"0\r\n\r\n")

    def _answer(self):
        if "nothing" in self.path:
            self.send_error(404)
            return False
        self.send_response(200)
        if "length" in self.path:
            self.send_header("Content-Length", str(len(self.server.text)))
        elif "chunks" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Connection", "close")
        self.end_headers()
        return True


@contextlib.contextmanager
def server(text):
    pytest.importorskip("aiohttp")
    with Server(text) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["length", "chunks", "until the end"])
@pytest.mark.parametrize("kind", ["", "gz"])
def test_urls(tmp_path, reference, name, kind):
    text = every_source.COMPRESS[kind](TEXT) if kind else TEXT
    with server(text) as there:
        url = there.url(name.replace(" ", "_"))
        assert digest_of(url, tmp_path / "out.root") == reference[N]
    (given,) = record_of(tmp_path / "out.root")["identity"]["inputs"]
    assert given["sha256"] == files_hash(text)


@pytest.mark.parametrize(
    "name",
    [
        "length",
        "chunks",
        "until_the_end",
    ],
)
def test_large_files_from_servers_without_ranges(name):
    with server(TEXT * 200) as there:
        stream = ByteStream(there.url(name))
        try:
            assert sum(map(len, iter(stream.read, b""))) == 200 * len(TEXT)
        finally:
            stream.close()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("half_length", "cannot be read ("),
        ("half_chunks", "cannot be read ("),
        ("half_until_the_end", NO_FOOTER),  # HTTP/1.0: nobody says how much there is, but the listing does
        ("nothing", "cannot be read (FileNotFoundError"),
    ],
)
def test_servers_that_break_off(tmp_path, fastsim, name, what):
    with server(TEXT) as there:
        done = fastsim("run", there.url(name), "-o", tmp_path / "out.root", "--quiet")
    assert done.code == 4
    assert done.err.startswith(f"error: {there.url(name)}")
    assert what in done.err
    assert list(tmp_path.iterdir()) == []


def test_nobody_serves(tmp_path, fastsim):
    pytest.importorskip("aiohttp")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = fastsim("run", f"http://127.0.0.1:{port}/a", "-o", tmp_path / "out.root", "--quiet")
    assert (done.code, list(tmp_path.iterdir())) == (4, [])
    assert f"error: http://127.0.0.1:{port}/a: cannot be read (" in done.err


@pytest.mark.skipif(not shutil.which("xrootd"), reason="needs an xrootd server (Debian: xrootd-server)")
def test_root_protocol(tmp_path, reference):
    pytest.importorskip("XRootD")
    folder = Path("/tmp") / f"fastsim-xrootd-{os.getpid()}"  # noqa: S108  (xrootd refuses long names of sockets)
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)  # it does not run as root
    (folder / "events.hepmc").write_bytes(TEXT)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lines = (f"all.export {folder}", f"all.adminpath {folder}/admin", f"all.pidpath {folder}/admin", "xrd.allow host *")
    (folder / "xrootd.cfg").write_text("\n".join(lines) + "\n")
    words = ["xrootd", "-c", folder / "xrootd.cfg", "-l", folder / "log", "-p", str(port)]
    if os.geteuid() == 0:
        words += ["-R", "nobody"]
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as daemon:
        try:
            deadline = time.monotonic() + 20
            while time.monotonic() < deadline and daemon.poll() is None:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.1)
            url = f"root://127.0.0.1:{port}/{folder}/events.hepmc"
            assert digest_of(url, tmp_path / "out.root") == reference[N]
            with pytest.raises(InputError, match=r"root://.*/nothing: cannot be read \(OSError"):
                simulate_files([url.replace("events.hepmc", "nothing")], "alice3", tmp_path / "nothing.root")
        finally:
            daemon.terminate()
    shutil.rmtree(folder)


# --- compressed files ---


@pytest.mark.parametrize("kind", every_source.COMPRESS)
def test_members_may_be_cut_anywhere(tmp_path, reference, kind):
    pack = every_source.COMPRESS[kind]
    cuts = [0, 5, STARTS[7], STARTS[20] + 33, len(TEXT)]
    path = tmp_path / "events"
    path.write_bytes(b"".join(pack(TEXT[a:b]) for a, b in itertools.pairwise(cuts)))
    assert digest_of(path, tmp_path / "out.root") == reference[N]


@pytest.mark.parametrize("kind", every_source.COMPRESS)
def test_a_compressed_file_that_ends_early(tmp_path, fastsim, kind):
    path, out = tmp_path / "events", tmp_path / "out.root"
    path.write_bytes(every_source.COMPRESS[kind](TEXT)[:-20])
    done = fastsim("run", path, "-o", out, "--quiet")
    assert done.code == 4
    assert f"error: {path}: the compressed data is truncated or damaged (" in done.err
    assert not out.exists()


@pytest.mark.parametrize("kind", every_source.COMPRESS)
def test_a_compressed_file_that_ends_early_keeps_its_events(tmp_path, fastsim, kind):
    pack = every_source.COMPRESS[kind]
    path, out = tmp_path / "events", tmp_path / "out.root"
    path.write_bytes(pack(TEXT[: STARTS[30] + 7]) + pack(TEXT[STARTS[30] + 7 :])[:20])
    done = fastsim("run", path, "-o", out, "--allow-truncated", "--json")
    assert done.code == 0
    assert json.loads(done.out)["notes"] == [f"{path}: truncated; its 30 whole events were kept"]
    assert json.loads(done.out)["events"] == 30


# --- --allow-truncated ---


@pytest.mark.parametrize("workers", [1, 2])
def test_whole_events_of_a_truncated_file_are_kept(tmp_path, fastsim, reference, workers):
    path, out = tmp_path / "events.hepmc", tmp_path / "out.root"
    path.write_bytes(TEXT[: STARTS[25] + 100])
    done = fastsim("run", path, "-o", out, "--allow-truncated", "--workers", workers, "--batch-size", 7)
    assert done.code == 0
    assert f"note {path}: truncated; its 25 whole events were kept" in done.out
    assert digest(out) == reference[25]
    record = record_of(out)
    assert record["summary"]["notes"] == [f"{path}: truncated; its 25 whole events were kept"]
    (given,) = record["identity"]["inputs"]
    assert (given["truncated"], given["n_events"], given["sha256"]) == (True, 25, files_hash(TEXT[: STARTS[25] + 100]))


def test_a_writer_that_dies_may_be_forgiven(tmp_path, fastsim, reference, pipe):
    path = pipe(TEXT[: STARTS[25] + 100])
    done = fastsim("run", path, "-o", tmp_path / "out.root", "--allow-truncated", "--json")
    assert json.loads(done.out)["notes"] == [f"{path}: truncated; its 25 whole events were kept"]
    assert digest(tmp_path / "out.root") == reference[25]


def test_a_server_that_breaks_off_may_be_forgiven(tmp_path, fastsim):
    with server(TEXT) as there:
        url = there.url("half_until_the_end")
        done = fastsim("run", url, "-o", tmp_path / "out.root", "--allow-truncated", "--json")
    n = sum(start < len(TEXT) // 2 for start in STARTS) - 1
    assert json.loads(done.out)["notes"] == [f"{url}: truncated; its {n} whole events were kept"]


def test_a_whole_file_is_not_noted_as_truncated(tmp_path, fastsim, reference):
    (tmp_path / "events.hepmc").write_bytes(TEXT)
    done = fastsim("run", tmp_path / "events.hepmc", "-o", tmp_path / "out.root", "--allow-truncated", "--json")
    assert json.loads(done.out)["notes"] == []
    assert digest(tmp_path / "out.root") == reference[N]
    assert "truncated" not in record_of(tmp_path / "out.root")["identity"]["inputs"][0]


def test_bad_events_are_not_forgiven_with_the_end(tmp_path, fastsim):
    (tmp_path / "a").write_bytes(TEXT[: STARTS[25] + 100].replace(b"P 3 -1", b"P 3 *1", 1))
    done = fastsim("run", tmp_path / "a", "-o", tmp_path / "out.root", "--allow-truncated", "--quiet")
    assert done.code == 4
    assert "event 0 (position 0): a particle must be" in done.err


@pytest.mark.parametrize(("kind", "cut"), [("lhef", 10), ("HepMC3", 200)])
def test_only_hepmc_text_may_be_truncated(tmp_path, fastsim, kind, cut):
    path = every_source.write(kind, tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    done = fastsim("run", path, "-o", tmp_path / "out.root", "--allow-truncated", "--quiet")
    assert done.code == 4
    assert "truncated" in done.err


# --- sizes ---


def test_events_larger_than_a_block(tmp_path, reference, monkeypatch):
    """Blocks of the text of ten particles: every event is larger, and comes on its own."""
    (tmp_path / "events.hepmc").write_bytes(TEXT)
    monkeypatch.setattr(run, "BATCH_PARTICLES", 2)
    assert digest_of(tmp_path / "events.hepmc", tmp_path / "out.root") == reference[N]
    assert all(len(batch) == 1 for batch in simulate(tmp_path / "events.hepmc", events=(0, 3)))


def test_one_large_event_among_small_ones(tmp_path, pipe):
    """24 MB of text, three times a block; through a pipe, so that nobody can look how much there is."""
    pion = (211, 0.5, 0.1, -0.3, 0.75)
    large = files.gun_event(1, *[pion] * 400_000)
    text = files.listing(files.gun_event(0, pion), large, files.gun_event(2, pion))
    path = pipe(text)
    batches, bad, (record,) = files.read(path, max_particles=run.BATCH_PARTICLES)
    assert [batch.n_rows("particle") for batch in batches] == [3, 400_002, 3]
    assert (bad, record.sha256) == ([], files_hash(text))


def test_two_workers_equal_one_for_every_kind(tmp_path):
    """Text, ROOT, LHEF, HEPEVT, a gun and Pythia, one after another."""
    names = [str(every_source.write(kind, tmp_path)) for kind in every_source.KINDS]
    for workers, size in ((1, 1000), (2, 2)):
        summary = simulate_files(names, "alice3", tmp_path / f"{workers}.root", workers=workers, batch_size=size)
        assert summary.n_events == every_source.N_EVENTS * len(names)
    assert digest(tmp_path / "1.root") == digest(tmp_path / "2.root")
    one, two = (record_of(tmp_path / f"{workers}.root")["identity"] for workers in (1, 2))
    assert one == two


MEMORY = """
import sys, fastsim
from pathlib import Path
fastsim.simulate_files([sys.argv[1]], "alice3", sys.argv[2], batch_size=100)
lines = Path("/proc/self/status").read_text().splitlines()
print(next(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["gun", "gz"])
def test_memory_does_not_grow_with_the_input(tmp_path, kind):
    """Eight times the events may cost what they cost, within 10 MB: the larger input alone has 25 MB of columns.

    Of compressed text 12 MB wait for the parser, which the smaller input does not have.
    """
    peaks = []
    for n in (2000, 16_000):
        path = tmp_path / f"{n}{'.toml' if kind == 'gun' else ''}"
        if kind == "gun":
            path.write_text(every_source.gun(n).replace("n = 4", "n = 8"))
        else:
            repeated = TEXT[: STARTS[0]] + TEXT[STARTS[0] : -len(b"HepMC::Asciiv3-END_EVENT_LISTING\n\n")] * (n // N)
            path.write_bytes(every_source.COMPRESS["gz"](repeated + b"HepMC::Asciiv3-END_EVENT_LISTING\n"))
        words = [sys.executable, "-c", MEMORY, path, tmp_path / f"{n}.root"]
        peaks.append(int(subprocess.run(words, check=True, capture_output=True, text=True).stdout) / 1024)
    assert peaks[1] < peaks[0] + (10 if kind == "gun" else 22)
