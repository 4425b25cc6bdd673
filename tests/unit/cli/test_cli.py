"""The command line: every command runs, prints what it should, and ends with the code that batch systems need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import uproot

from fastsim import __version__, cli, resources
from fastsim.run import simulate_files
from tests import hepmc_files as files

APP = typer.main.get_command(cli.app)
PACKAGE = Path(cli.__file__).parent.parent


def walk(command, words=()):
    """(words, command) of a command and all below it."""
    yield words, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*words, name))


COMMANDS = dict(walk(APP))


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("input") / "events.hepmc"
    path.write_bytes(files.sample(5))
    return path


@pytest.fixture(scope="module")
def output(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("output") / "out.root"
    simulate_files([events], "alice3", path)
    return path


# --- help ---


def test_the_commands_are_these():
    leaves = {" ".join(words) for words, command in COMMANDS.items() if not getattr(command, "commands", {})}
    assert leaves == {
        "run",
        "inspect",
        "merge",
        "convert",
        "doctor",
        "warmup",
        "card check",
        "card show",
        "card schema",
        "card import",
        "card new",
        "detector show",
        "detector plot",
        "detector check",
        "detector import",
        "detector import-muon",
        "detector new",
        "detector schema",
        "batch plan",
        "batch run",
        "batch submit",
        "batch resume",
        "batch status",
        "batch verify",
        "batch merge",
        "batch pack",
        "pid plot",
        "pid table",
        "lut build",
        "lut check",
        "lut show",
        "lut plot",
        "lut diff",
        "lut import",
        "lut export",
        "plugins show",
    }


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_and_option_has_help(fastsim, words):
    done = fastsim(*words, "--help")
    assert done.code == 0
    assert "Usage:" in done.out
    command = COMMANDS[words]
    assert len(command.help) > 10
    for parameter in command.params:
        assert parameter.help, parameter.name


def test_help_is_quick_because_it_imports_nothing_heavy():
    """One Python for all: what `fastsim --help`, `fastsim run --help` and `fastsim card check` load."""
    program = """
import sys
from fastsim.cli import main
heavy = {"numba", "uproot", "awkward", "pyhepmc", "onnxruntime", "matplotlib", "scipy", "particle"}
for arguments in (["--help"], ["run", "--help"], ["lut", "plot", "--help"], ["--version"]):
    sys.argv = ["fastsim", *arguments]
    try:
        main()
    except SystemExit as end:
        assert not end.code
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_version(fastsim):
    assert fastsim("--version").out == f"fastsim {__version__}\n"


def test_python_m_fastsim_is_the_command():
    done = subprocess.run([sys.executable, "-m", "fastsim", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("fastsim ")


# --- usage ---


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run"], "Missing argument"),
        (["run", "a.hepmc"], "Missing option '--out'"),
        (["run", "a.hepmc", "--oot", "x"], "No such option"),
        (["fly"], "No such command"),
        (["run", "a", "-o", "b", "--workers", "0"], "--workers"),
        (["run", "a", "-o", "b", "--seed", "-1"], "--seed -1: must be a whole number from 0 to 2^64 - 1, or random"),
        (
            ["run", "a", "-o", "b", "--seed", "18446744073709551616"],
            "must be a whole number from 0 to 2^64 - 1, or random",
        ),
        (["run", "a", "-o", "b", "--seed", "1.5"], "--seed 1.5: must be a whole number"),
        (["run", "a", "-o", "b", "--events", "5"], "--events 5: must read A:B, A: or :B with whole numbers"),
        (["run", "a", "-o", "b", "--events", "-1:5"], "--events -1:5: must read A:B, A: or :B with whole numbers"),
        (["run", "a", "-o", "b", "--events", "5:4"], "--events 5:4: ends before it starts"),
        (
            ["lut", "build", "alice3_v2", "--species", "xi"],
            "--species xi: not a tracked species\nhint: allowed: el, mu, pi, ka, pr",
        ),
        (
            ["lut", "show", "alice3_v2", "--species", "xi"],
            "--species xi: not a tracked species\nhint: allowed: el, mu, pi, ka, pr",
        ),
        (["lut", "build", "alice3_v2", "--pt-range", "5", "1"], "--pt-range 5 1: must increase and be positive"),
    ],
)
def test_wrong_usage_is_told_and_ends_with_2(fastsim, arguments, text):
    done = fastsim(*arguments)
    assert done.code == 2
    assert text in done.err
    assert done.out == ""


def test_no_arguments_is_help(fastsim):
    done = fastsim()
    assert "Usage:" in done.out + done.err


# --- card and detector ---


def test_card_check(fastsim, tmp_path):
    shipped = resources.data_dir("cards") / "alice3.toml"
    done = fastsim("card", "check", "alice3")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"{shipped}: fine (detector alice3_v2)\n"
    (tmp_path / "a.toml").write_text('extends = "alice3"\nsee = 3\n[output]\nevents_per_frame = "many"\n')
    (tmp_path / "b.toml").write_text(
        'extends = "alice3"\nmodules = [{ name = "v", kind = "vertx", level = "parametric" }]\n'
    )
    done = fastsim("card", "check", tmp_path / "a.toml", "alice3", tmp_path / "b.toml")
    assert done.code == 3
    assert done.out == f"{shipped}: fine (detector alice3_v2)\n"
    assert [line.replace(f"{tmp_path}/", "") for line in done.err.splitlines()] == [
        "error: a.toml:4: output.events_per_frame: must be a valid integer (got 'many', a string)",
        "a.toml:2: see: not a known key (did you mean 'seed'?)",
        "b.toml:2: modules[0].kind: 'vertx' is not an installed module kind (did you mean 'vertex'?)",
    ]


def test_card_show_gives_each_value_its_origin(fastsim, tmp_path):
    (tmp_path / "a.toml").write_text('extends = "alice3"\nseed = 4\n')
    done = fastsim("card", "show", tmp_path / "a.toml", "--set", "tracking.grid.n_pt=9")
    origins = {line.partition(" = ")[0]: line.partition("  # ")[2] for line in done.out.splitlines()}
    shipped = resources.data_dir("cards") / "alice3.toml"
    assert done.code == 0
    assert origins["seed"] == f"{tmp_path / 'a.toml'}:2"
    assert origins["tracking.grid.n_pt"] == "--set tracking.grid.n_pt=9"
    assert origins["tracking.grid.n_eta"] == "default"
    line = shipped.read_text().splitlines().index('format = "ao2d"') + 1
    assert origins["output.format"] == f"{shipped}:{line}"


def test_card_show_as_json_is_the_resolved_card_and_detector(fastsim):
    found = json.loads(fastsim("card", "show", "alice3", "--json", "--set", "seed=5").out)
    assert found["card"]["seed"] == 5
    assert found["detector"]["name"] == "alice3_v2"


def test_new_card_is_accepted(fastsim, tmp_path):
    path = tmp_path / "mine.toml"
    done = fastsim("card", "new", path)
    assert done.out == f"{path}: edit it, then `fastsim card check {path}`\n"
    assert fastsim("card", "check", path).code == 0
    done = fastsim("card", "new", path)
    assert (done.code, done.err) == (2, f"error: {path}: exists already\nhint: choose another name\n")
    done = fastsim("card", "new", tmp_path / "no" / "mine.toml")
    assert (done.code, done.err) == (
        2,
        f"error: {tmp_path / 'no'}: no such folder\nhint: make it first\n",
    )
    assert fastsim("card", "new", tmp_path / "other.toml", "--from", "nobody").code == 3


def test_schemas_are_the_committed_files(fastsim):
    assert fastsim("card", "schema").out == (PACKAGE / "cards" / "card.schema.json").read_text()
    assert fastsim("detector", "schema").out == (PACKAGE / "detector" / "detector.schema.json").read_text()


def test_detector_show(fastsim):
    out = fastsim("detector", "show", "alice3_v2").out
    assert "alice3_v2: 2 T" in out
    assert out.count("B0") == 10
    assert "material at normal incidence: 8.48 % of a radiation length" in out  # 8 x 1 + 3 x 0.1 + 0.042 + 0.14
    found = json.loads(fastsim("detector", "show", "alice3_v2", "--json").out)
    assert len(found["layers"]) == 13
    done = fastsim("detector", "show", "alice9")
    shipped = ", ".join(resources.shipped("detectors"))
    assert (done.code, done.err) == (
        3,
        f"error: no such detector: alice9\nhint: shipped: {shipped}; or give the path of a file\n",
    )


# --- tables ---


def test_plugins(fastsim):
    assert "vertex" in fastsim("plugins").out
    (row,) = [row for row in json.loads(fastsim("plugins", "--json").out) if row["kind"] == "vertex"]
    assert row["package"] == "fastsim"
    assert "event.vertex_x" in row["makes"]
    out = fastsim("plugins", "show", "vertex").out
    for option in ("name", "kind", "level", "sigma_x_um", "sigma_y_um", "sigma_z_um"):
        assert f" {option} " in out
    done = fastsim("plugins", "show", "vertx")
    assert (done.code, done.err) == (3, "error: no module kind 'vertx' (did you mean 'vertex'?)\n")


def test_doctor_is_content_or_says_what_is_wrong(fastsim, tmp_path, monkeypatch):
    done = fastsim("doctor")
    assert done.code == 0
    assert "BAD" not in done.out
    for word in (
        "Python",
        "numba",
        "cards: alice3, ",
        "detectors: alice3_v1, ",
        "writable",
        "usable",
        "vertex",
        "tables",
    ):
        assert word in done.out
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTSIM_CACHE_DIR", str(tmp_path / "file"))
    done = fastsim("doctor")
    assert done.code == 1
    assert (
        f"BAD table cache: {tmp_path / 'file' / 'luts'} (NOT writable: set FASTSIM_CACHE_DIR or NUMBA_CACHE_DIR)"
        in done.out
    )


# --- run and inspect ---


def test_run_prints_a_summary(fastsim, events, tmp_path):
    out = tmp_path / "out.root"
    done = fastsim("run", events, "--out", out, "--seed", 42)
    assert done.code == 0
    assert "5 events, 45 particles, seed 42" in done.out
    assert f"look into it with: fastsim inspect {out}" in done.out
    assert "alice3_v2, card" in done.err
    with uproot.open(out) as file:
        assert file["DF_0/O2collision_001"].num_entries == 5


def test_run_as_json_and_quiet(fastsim, events, tmp_path):
    done = fastsim("run", events, "--out", tmp_path / "a.root", "--json", "--set", "seed=0x10")
    found = json.loads(done.out)
    assert done.err == ""
    assert (found["events"], found["particles"], found["seed"]) == (5, 45, 16)
    assert found["output"] == str(tmp_path / "a.root")
    assert sum(found["charged_final_particles"].values()) == 15
    done = fastsim("run", events, "--out", tmp_path / "b.root", "--quiet", "--seed", "random")
    assert done == (0, "", "")


def test_options_may_stand_anywhere(fastsim, events, tmp_path):
    first = fastsim("run", "--seed", 3, events, "-o", tmp_path / "a.root", "--events", "1:4", "--json")
    second = fastsim("run", "--json", "--events=1:4", "-o", tmp_path / "b.root", "--seed=3", events)
    for done in (first, second):
        assert json.loads(done.out)["events"] == 3
    digests = [fastsim("inspect", "--digest", tmp_path / name).out for name in ("a.root", "b.root")]
    assert digests[0] == digests[1]
    assert len(digests[0]) == 65


def test_inspect(fastsim, output, events):
    out = fastsim("inspect", output).out
    for word in ("DF_0/O2track", "fSigned1Pt", "identity", "alice3_v2", f"{events} (5 events)"):
        assert word in out.replace("\n", "")
    found = json.loads(fastsim("inspect", output, "--json").out)
    assert found["trees"]["DF_0/O2collision_001"]["entries"] == 5
    assert found["provenance"]["identity"]["run_seed"] == 1
    done = fastsim("inspect", events)
    assert (done.code, done.err) == (4, f"error: {events}: not a whole ROOT file (ValueError)\n")
    done = fastsim("inspect", events.parent / "no.root")
    assert (done.code, done.err) == (4, f"error: {events.parent / 'no.root'}: no such file\n")


def test_inspect_of_a_file_of_somebody_else(fastsim, tmp_path):
    with uproot.recreate(tmp_path / "other.root") as file:
        file.mktree("tree", {"x": "int32"})
    assert "no provenance: not written by fastsim" in fastsim("inspect", tmp_path / "other.root").out


# --- errors and their codes ---


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["run", "{tmp}/no.hepmc", "-o", "{tmp}/out.root"], 4, "error: {tmp}/no.hepmc: no such file\n"),
        (["run", "{events}", "-o", "{tmp}/no/out.root"], 2, "error: {tmp}/no: no such folder\nhint: make it first\n"),
        (["run", "{events}", "-o", "{tmp}"], 2, "error: {tmp}: is a directory, not a file to write\n"),
        (
            ["run", "{events}", "-o", "{tmp}/out.root", "-c", "alice4"],
            3,
            f"error: no such card: alice4\nhint: shipped: {', '.join(resources.shipped('cards'))}; or give the path of a file\n",
        ),
        (
            ["run", "{events}", "-o", "{tmp}/out.root", "--set", "trackin.luts=1"],
            3,
            "error: --set trackin.luts=1: trackin: not a known key (did you mean 'tracking'?)\n",
        ),
        (
            ["run", "{events}", "-o", "{tmp}/out.root", "--set", "tracking.luts='{tmp}'"],
            3,
            "error: {tmp}: no table of el for this detector",
        ),
    ],
)
def test_errors_of_run(fastsim, events, tmp_path, arguments, code, text):
    done = fastsim(*(a.format(tmp=tmp_path, events=events) for a in arguments), "--quiet")
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(text.format(tmp=tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_not_touched(fastsim, events, tmp_path):
    out = tmp_path / "out.root"
    out.write_text("precious")
    done = fastsim("run", events, "-o", out, "--quiet")
    assert (done.code, done.err) == (
        2,
        f"error: {out}: exists already\nhint: choose another name, or say --overwrite\n",
    )
    assert out.read_text() == "precious"
    assert fastsim("run", events, "-o", out, "--quiet", "--overwrite").code == 0
    assert out.read_bytes().startswith(b"root")
    assert list(tmp_path.iterdir()) == [out]


def test_our_own_fault_is_a_traceback_and_70(tmp_path):
    """What no FastsimError foresees: here the reader of cards is broken on purpose."""
    program = """
import sys, fastsim.cards.load as load
def broken(*_, **__): raise ZeroDivisionError("ours")
load.toml.read = broken
from fastsim.cli import main
sys.argv = ["fastsim", "card", "check", "alice3"]
main()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "Traceback" in done.stderr
    assert "ZeroDivisionError: ours" in done.stderr
    assert done.stderr.endswith("this is a bug in fastsim: please report it with the lines above\n")
    assert done.returncode == 70


def test_reader_of_our_output_may_go_away():
    command = f"{sys.executable} -m fastsim card schema | :"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_warmup_fills_both_caches(fastsim):
    done = fastsim("warmup", "--card", "alice3")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("ready after ")
    assert any(Path(lines[1].removeprefix("kernels: ")).rglob("*.kernel"))
    tables = [Path(line.removeprefix("table:   ")) for line in lines[2:]]
    assert len(tables) == 9
    assert all(table.is_file() for table in tables)


def test_new_card_on_a_full_disk(fastsim, tmp_path, full_disk):
    done = fastsim("card", "new", tmp_path / "c.toml")
    assert (done.code, done.err.splitlines()[0]) == (
        75,
        f"error: {tmp_path / 'c.toml'}: cannot be written (No space left on device)",
    )
    assert list(tmp_path.iterdir()) == []


def test_options_are_no_emoji(fastsim, tmp_path):
    done = fastsim("run", "x", "--out", tmp_path / "a.root", "--events", "a:b:c")
    assert "--events a:b:c: must read" in done.err


def test_a_full_disk_anywhere_is_worth_a_retry(fastsim, monkeypatch):
    """numba and others write caches of their own: their OSError is no fault of ours."""
    import errno

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "/some/cache")

    monkeypatch.setattr("fastsim.cards.load_card", full)
    done = fastsim("card", "check", "alice3")
    assert done.code == 75
    assert done.err.startswith("error: /some/cache: cannot be written (No space left on device)")
