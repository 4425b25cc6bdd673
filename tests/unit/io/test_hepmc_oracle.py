"""The reader of HepMC text against two others: pyhepmc, and the strict parser in plain Python that shares no line with it.

pyhepmc is asked only for what it reads without harm: see `plain` in tests/strategies.py.
"""

from __future__ import annotations

import bz2
import collections
import decimal
import gzip
import io
import itertools
import lzma
import math
import random
import sys
from pathlib import Path

import numpy as np
import pyhepmc
import pytest
from hypothesis import HealthCheck, given, settings

from fastsim import columns as c
from fastsim.errors import InputError
from fastsim.source import Limits
from fastsim.units import MeV, cm, cm_over_c, mm, mm_over_c
from tests import hepmc_files as files
from tests import strategies
from tests.strict_hepmc import Fast, difference, parse, read_fast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

REAL = Path(__file__).resolve().parents[3].parent / "shared" / "data"  # not everywhere
KINDS = {3: "hepmc3", 2: "hepmc2"}
quietly = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
drawn = settings(quietly, max_examples=150)


# --- the strict parser against pyhepmc ---


def as_seen(number, weights, vertices, particles, end, production):
    """What two readers must agree on, whatever the order of particles: sorted, and without the sign of zero.

    A vertex is its position and how many particles go in and out, for want of a name that both readers use.
    """
    n_in, n_out = collections.Counter(end), collections.Counter(production)

    def vertex(i):
        return () if i < 0 else tuple(x + 0.0 for x in (*vertices[i], n_in[i], n_out[i]))

    rows = [
        (tuple(x + 0.0 for x in particle), vertex(p), vertex(e))
        for particle, p, e in zip(particles, production, end, strict=True)
    ]
    return number, [*weights], sorted(map(vertex, range(len(vertices)))), sorted(rows)


def ask_pyhepmc(data: bytes, kind: int):
    """Events of a listing as pyhepmc sees them, in our units."""
    pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False
    reader = {3: pyhepmc.io.ReaderAscii, 2: pyhepmc.io.ReaderAsciiHepMC2}[kind]
    stream = pyhepmc.io.pyiostream(io.BytesIO(data))  # must outlive the reader
    found = []
    with reader(stream) as source:
        while source.read_event(event := pyhepmc.GenEvent()) and not source.failed():
            gev = MeV if event.momentum_unit == pyhepmc.Units.MomentumUnit.MEV else 1.0
            length, time = (mm, mm_over_c) if event.length_unit == pyhepmc.Units.LengthUnit.MM else (cm, cm_over_c)
            points = [vertex.position for vertex in event.vertices]
            momenta = [(*p.momentum, p.generated_mass) for p in event.particles]
            found.append(
                as_seen(
                    event.event_number,
                    event.weights,
                    [(x.x * length, x.y * length, x.z * length, x.t * time) for x in points],
                    [(p.pid, p.status, *(x * gev for x in m)) for p, m in zip(event.particles, momenta, strict=True)],
                    [-p.end_vertex.id - 1 if p.end_vertex else -1 for p in event.particles],
                    [-p.production_vertex.id - 1 if p.production_vertex else -1 for p in event.particles],
                )
            )
    return found


def ask_strict(data: bytes):
    strict = parse(data)
    assert (strict.bad, strict.error) == ([], None)
    return [
        as_seen(
            event.number,
            event.weights,
            event.vertices,
            list(zip(event.pdg, event.status, *zip(*event.momenta, strict=True), strict=True)),
            event.end,
            event.production,
        )
        if event.pdg
        else as_seen(event.number, event.weights, event.vertices, [], [], [])
        for _, event in strict.events
    ]


@pytest.mark.parametrize("kind", [2, 3])
def test_strict_parser_equals_pyhepmc_on_plain_listings(kind):
    @settings(drawn, max_examples=300)
    @given(strategies.listings((kind,), plain=True))
    def check(text):
        assert ask_strict(text.encode()) == ask_pyhepmc(text.encode(), kind)

    check()


@pytest.mark.parametrize("version", KINDS.values())
def test_strict_parser_equals_pyhepmc_on_its_own_files(version):
    for options in (
        {"weights": (1.5, -2.5)},
        {"momentum_unit": "MEV"},
        {"length_unit": "CM"},
        {"vertex": (0.0, 0.0, 0.0, 0.0)},
    ):
        text = files.sample(3, version, **options)
        (kind,) = (kind for kind, name in KINDS.items() if name == version)
        strict = ask_strict(text)
        found = ask_pyhepmc(text, kind)
        if "weights" not in options:  # none in the file: pyhepmc says none, we say 1
            found = [(number, [1.0], *rest) for number, _, *rest in found]
        assert strict == found


def with_all_attributes(number):
    event = files.with_ions(
        files.make_event(number, weights=(0.5, -2.0)), impact_parameter=3.25, event_plane_angle=-1.5
    )
    ions = event.heavy_ion
    ions.Ncoll_hard, ions.Npart_proj, ions.Npart_targ, ions.Ncoll = 11, 12, 13, 14
    event.cross_section = pyhepmc.GenCrossSection()
    event.cross_section.set_cross_section(1234.5, 0.75, 10, 20)
    partons = pyhepmc.GenPdfInfo()
    partons.parton_id1, partons.parton_id2, partons.x1, partons.x2 = 21, -3, 0.125, 0.25
    partons.scale, partons.xf1, partons.xf2 = 91.5, 1.5, 2.5
    event.pdf_info = partons
    return event


@pytest.mark.parametrize("version", KINDS.values())
def test_attributes_are_what_pyhepmc_was_told(tmp_path, version):
    data = files.as_text([with_all_attributes(i) for i in range(2)], version)
    strict = parse(data)
    for _, event in strict.events:
        assert event.weights == (0.5, -2.0)
        assert event.heavy_ion == (11, 12, 13, 14, 3.25, -1.5)
        assert event.cross_section == (1234.5, 0.75)
        assert event.partons == (21, -3, 0.125, 0.25, 91.5, 1.5, 2.5)
    assert difference(read_fast(data, tmp_path / "attributes.hepmc"), strict) == ""


# --- the reader against both ---


@drawn
@given(data=strategies.files())
def test_reader_equals_strict_parser_on_odd_files(tmp_path, data):
    strict = parse(data)
    assert (strict.bad, strict.error) == ([], None)
    assert difference(read_fast(data, tmp_path / "odd.hepmc"), strict) == ""


@settings(drawn, max_examples=40)
@given(data=strategies.files())
def test_blocks_of_any_size_hold_the_same(tmp_path, data):
    strict = parse(data)
    for limits in (Limits(1, 1), Limits(2, 50_000), Limits(1000, 9)):
        assert difference(read_fast(data, tmp_path / "odd.hepmc", limits=limits), strict) == ""


COMPRESSIONS = {
    "none": lambda data: data,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}


@pytest.fixture(scope="module")
def mixed() -> bytes:
    """Several listings of both formats."""
    return files.sample(3) + files.sample(2, "hepmc2") + files.sample(30, weights=(1.0, 2.0)) + files.empty()


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_files_hold_the_same(tmp_path, mixed, name):
    """One stream of compressed data, and several after one another that begin in the middle of a line."""
    compress = COMPRESSIONS[name]
    strict = parse(mixed)
    assert difference(read_fast(compress(mixed), tmp_path / "whole"), strict) == ""
    cuts = [0, 1, 500, 501, 7000, len(mixed)]
    members = [compress(mixed[a:b]) for a, b in itertools.pairwise(cuts)]
    assert difference(read_fast(b"".join(members), tmp_path / "members"), strict) == ""


def decompressed(path) -> bytes:
    with zstd.open(path) as stream:
        return stream.read()


def check_against_pyhepmc(fast: Fast, data: bytes, kind: int):
    """Column by column, in pyhepmc's order (which is the file's, where vertices follow their ancestors)."""
    momenta = np.column_stack([fast.columns[column] for column in (*c.MOMENTUM, c.ENERGY, c.MASS)])
    points = np.column_stack([fast.columns[column] for column in c.VERTEX_POSITION])
    at = np.cumsum([0, *fast.n_particles])
    vertex_at = np.cumsum([0, *fast.n_vertices])
    seen = [
        as_seen(
            number,
            fast.columns[c.WEIGHT_VALUE][i : i + 1],
            points[v:w].tolist(),
            [
                (pdg, status, *momentum)
                for pdg, status, momentum in zip(
                    fast.columns[c.PDG][a:b].tolist(),
                    fast.columns[c.STATUS][a:b].tolist(),
                    momenta[a:b].tolist(),
                    strict=True,
                )
            ],
            fast.columns[c.END_VERTEX][a:b].tolist(),
            fast.columns[c.PRODUCTION_VERTEX][a:b].tolist(),
        )
        for i, (number, a, b, v, w) in enumerate(
            zip(fast.columns[c.EVENT_NUMBER].tolist(), at, at[1:], vertex_at, vertex_at[1:], strict=False)
        )
    ]
    # without weights pyhepmc says none, where we say one weight of 1
    assert seen == [(number, weights or [1.0], *rest) for number, weights, *rest in ask_pyhepmc(data, kind)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("sample", ["ttbar", "lead"])
def test_samples_equal_pyhepmc_and_strict_parser(tmp_path, request, sample, kind):
    data = decompressed(request.getfixturevalue(sample))
    if kind == 2:
        pyhepmc.Setup.print_warnings = False
        with pyhepmc.open(io.BytesIO(data)) as source:
            data = files.as_text([event for _, event in zip(range(4), source, strict=False)], "hepmc2")
    fast = read_fast(data, tmp_path / "sample.hepmc")
    assert difference(fast, parse(data)) == ""
    check_against_pyhepmc(fast, data, kind)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(REAL.glob("*.hepmc.zst")), ids=lambda path: path.name)
def test_shared_samples_equal_strict_parser(tmp_path, path):
    data = decompressed(path)
    assert difference(read_fast(data, tmp_path / "sample.hepmc"), parse(data)) == ""


# --- numbers ---

# V. Paxson, "A Program for Testing IEEE Decimal-Binary Conversion" (1991), tables 3 and 4: the hardest of n digits; and
# famous ones: the ends of the range and of the subnormals, halves of the smallest, numbers that made others hang.
HARD = """
5e125 69e267 999e-026 7861e-034 75569e-254 928609e-261 9210917e080 84863171e114 653777767e273 5232604057e-298
27235667517e-109 653532977297e-123 3142213164987e-294 46202199371337e-072 231010996856685e-073 9324754620109615e212
78459735791271921e049 272104041512242479e200 6802601037806061975e198 20505426358836677347e-221
836168422905420598437e-234 4891559871276714924261e222
9e-265 85e-037 623e100 3571e263 81661e153 920657e-023 4603285e-024 87575437e-309 245540327e122 6138508175e120
83356057653e193 619534293513e124 2335141086879e218 36167929443327e-159 609610927149051e-255 3743626360493413e-165
94080055902682397e-242 899810892172646163e283 7120190517612959703e120 25188282901709339043e-252
308984926168550152811e-052 6372891218502368041059e064
9007199254740991 9007199254740992 9007199254740993 9007199254740995 9007199254740993.0000000000000000000000000000001
18014398509481986 18446744073709551615 18446744073709551616 36893488147419103233 1.7976931348623157e308
1.7976931348623158e308 1.7976931348623159e308 1.797693134862315807e308 1.797693134862315808e308 1e309 -1e309 1e400
2.2250738585072011e-308 2.2250738585072012e-308 2.2250738585072014e-308 4.9406564584124654e-324 5e-324 3e-324
2.4703282292062327e-324 2.4703282292062328e-324 2.5e-324 1e-323 1e-400 0.000001e-320 1e23 8.5e22 5e-20
0e999999999999 -0e-999999999999 0.0000000000000000000000000000000000000000001e43 1e00000000000000000000000308
1e9223372036854775807 1e9223372036854775808 1e-9223372036854775809 1e18446744073709551617 .5 5. +.5e+0 -5.E-0
nan NaN -NAN +nan inf -Inf +INF infinity -Infinity 6.0221409e+23 3.4e38 3.4028234663852886e38 3.4028235e38
""".split()  # noqa: SIM905
WRONG = [
    word.encode().decode("unicode_escape")
    for word in r"""
    . + - e5 .e5 1e 1e+ 1e- 1.5e 1..2 1.2.3 1e5.0 1_0 0x10 1d5 1f 1,5 --1 +-1 1- nan1 nanx in infin infinityy nan(1)
    1\x00 \xb2 1\x0b 1\x0c2 1\r2 @ # "1" (1) 1e1_0 1e0x1 1e5e5
    """.split()  # noqa: SIM905
]


def values_of(words: list[str], tmp_path):
    """What the reader makes of numbers: as weights, of which an event may have any."""
    lines = "".join(f"E {i} 0 0\nW 1 {' '.join(words[i : i + 500])}\n" for i in range(0, len(words), 500))
    fast = read_fast(files.listing(lines.encode()), tmp_path / "numbers.hepmc")
    assert (fast.bad, fast.error) == ([], None)
    return np.delete(fast.columns[c.WEIGHT_VALUE], np.s_[::501])  # but the 1 that each event begins with


def check_numbers(words, tmp_path):
    expected = np.array([float(word) for word in words])
    found = values_of(words, tmp_path)
    wrong = np.flatnonzero(
        (found.view(np.uint64) != expected.view(np.uint64)) & ~(np.isnan(found) & np.isnan(expected))
    )
    assert [(words[i], found[i], expected[i]) for i in wrong[:5]] == []


def random_doubles(n: int, seed: int) -> list[float]:
    """Finite doubles of random bits: all exponents alike, one in two thousand subnormal."""
    found = np.random.default_rng(seed).integers(0, 2**64, n, dtype=np.uint64).view(np.float64)
    return found[np.isfinite(found)].tolist()


def test_hard_numbers(tmp_path):
    check_numbers([*HARD, *(f"-{word}" for word in HARD if word[0] not in "+-")], tmp_path)


@pytest.mark.parametrize("form", ["{!r}", "{:.16e}", "{:.17g}", "{:.20e}"])
def test_random_doubles_as_programs_print_them(tmp_path, form):
    check_numbers([form.format(value) for value in random_doubles(100_000, seed=1)], tmp_path)


def test_random_digits(tmp_path):
    """1 to 40 digits, the point anywhere, exponents beyond both ends of the range."""
    rng = random.Random(2)  # noqa: S311

    def word():
        digits = "".join(rng.choices("0123456789", k=rng.randint(1, 40)))
        point = rng.randint(0, len(digits))
        exponent = rng.choice(["", "", f"e{rng.randint(-20, 20)}", f"E{rng.randint(-380, 330):+d}"])
        return f"{rng.choice(['', '-', '+'])}{digits[:point]}{rng.choice(['.', '.', ''])}{digits[point:]}{exponent}"

    check_numbers([word() for _ in range(100_000)], tmp_path)


def test_halves_between_doubles_and_what_is_next_to_them(tmp_path):
    """Exact middles have up to 767 digits; the last digit decides."""
    exact = decimal.Context(prec=1200)
    values = [*map(abs, random_doubles(400, seed=3)), *(k * 5e-324 for k in range(20)), 2.0**-1022, sys.float_info.max]
    words = []
    for value in values:
        middle = f"{exact.add(decimal.Decimal(value), exact.divide(decimal.Decimal(math.ulp(value)), 2)):.1100e}"
        mantissa, exponent = middle.split("e")
        short = mantissa.rstrip("0")
        below = short[:-1] + str(int(short[-1]) - 1) + "9" * 30
        words += [f"{m}e{exponent}" for m in (short, mantissa, short + "0" * 50 + "1", below)]
    check_numbers(words, tmp_path)


def test_numbers_of_thousands_of_digits(tmp_path):
    digits = "".join(random.Random(4).choices("0123456789", k=3990))  # noqa: S311
    words = [f"{digits[:n]}e-{n}" for n in (19, 20, 21, 308, 309, 767, 768, 769, 800, 801, 1000, 3990)]
    words += [f"0.{'0' * n}{digits[:30]}" for n in (300, 324, 340, 3900)]
    words += [f"1{'0' * n}.5" for n in (20, 300, 308, 309, 3900)] + ["0" * 4000, "0" * 3999 + "7", "9" * 4000]
    check_numbers(words, tmp_path)


def test_words_that_are_no_numbers(tmp_path):
    """Each makes its event bad, and only that; so does one of more than 4000 characters."""
    words = [*WRONG, "1" * 4001]
    lines = b"".join(f"E {i} 0 0\nW 1 {word} 2\nE {i} 0 0\n".encode("latin1") for i, word in enumerate(words))
    fast = read_fast(files.listing(lines), tmp_path / "numbers.hepmc")
    assert fast.error is None
    good = fast.columns[c.EVENT_ID].astype(int).tolist()
    accepted = [words[i // 2] for i in good if i % 2 == 0]
    assert accepted == []
    assert [position for position, _ in fast.bad] == list(range(0, 2 * len(words), 2))
    assert good == list(range(1, 2 * len(words), 2))


def test_no_byte_passes_for_another(tmp_path):
    """Every byte in every kind of place of a number."""
    places = ("1%5", "%15", "15%", "1.%5", "1.5%e1", "1.5e%1", "1e1%", "n%n", "12345678%", "-%", "in%inity")
    others = [bytes([byte]) for byte in range(256) if bytes([byte]) not in b" \t\n"]
    words = [place.encode().replace(b"%", byte) for place in places for byte in others]
    lines = b"".join(b"E %d 0 0\nW 1 %b 2\n" % (i, word) for i, word in enumerate(words))
    data = files.listing(lines)
    assert difference(read_fast(data, tmp_path / "numbers.hepmc"), parse(data)) == ""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unit", ["GEV MM", "MEV CM"])
def test_momenta_and_positions_are_converted_once(tmp_path, kind, unit):
    """Each number of particles and vertices is float(word) times one factor, to the bit."""
    rng = random.Random(5)  # noqa: S311
    usual = [value for value in random_doubles(3000, seed=6) if 1e-290 < abs(value) < 1e30]
    momenta = [rng.sample(usual, 5) for _ in range(50)]
    point = [f"{value:.16e}" for value in rng.sample(usual, 4)]
    text = [[repr(value) for value in momentum] for momentum in momenta]
    if kind == 3:
        lines = ["E 0 1 51", f"U {unit}", "P 1 0 11 0 0 0 0 0 4", f"V -1 0 [1] @ {' '.join(point)}"]
        lines += [f"P {i + 2} -1 11 {' '.join(words)} 1" for i, words in enumerate(text)]
    else:
        lines = ["E 0 0 0 0 0 0 0 1 0 0 0 0", f"U {unit}", f"V -1 0 {' '.join(point)} 1 50 0"]
        lines += ["P 1 11 0 0 0 0 0 4 0 0 -1 0", *(f"P {i + 2} 11 {' '.join(w)} 1 0 0 0 0" for i, w in enumerate(text))]
    name = strategies.NAMES[kind]
    head, foot = (f"HepMC::{name}-{word}_EVENT_LISTING" for word in ("START", "END"))
    data = "\n".join([strategies.VERSION, head, *lines, foot, ""]).encode()
    fast = read_fast(data, tmp_path / "units.hepmc")
    assert (fast.bad, fast.error) == ([], None)
    gev, length, time = (1.0, mm, mm_over_c) if unit == "GEV MM" else (MeV, cm, cm_over_c)
    for i, column in enumerate((*c.MOMENTUM, c.ENERGY, c.MASS)):
        assert fast.columns[column][1:].tolist() == [momentum[i] * gev for momentum in momenta]
    for i, factor in enumerate((length, length, length, time)):
        assert fast.columns[c.VERTEX_POSITION[i]].tolist() == [float(point[i]) * factor]
        assert fast.columns[c.VERTEX_TRUE[i]].tolist() == [float(point[i]) * factor]


# --- bad events ---


def test_bad_events_are_named_with_file_line_and_position(tmp_path):
    """The line is one of the event's own."""
    event = files.gun_event(7, (211, 1, 0, 0, 1))
    bad = event.replace(b"P 3 -1", b"P 3 *1")
    fast = read_fast(files.listing(event, bad, event, bad), tmp_path / "bad.hepmc")
    assert fast.columns[c.EVENT_ID].tolist() == [0, 2]
    n = event.count(b"\n")
    for (position, error), expected in zip(fast.bad, (1, 3), strict=True):
        assert position == expected
        assert isinstance(error, InputError)
        path, _, line = error.where.rpartition(":")
        assert path == str(tmp_path / "bad.hepmc")
        assert 3 + expected * n <= int(line) < 3 + (expected + 1) * n
        assert f"position {expected}" in str(error)


# --- what the fuzz has found ---

E3 = b"E 0 0 0\n"
HEAD2 = b"HepMC::Version 2\nHepMC::IO_GenEvent-START_EVENT_LISTING\n"
FOOT2 = b"HepMC::IO_GenEvent-END_EVENT_LISTING\n"
VERTEX2 = b"V -1 0 0 0 0 0 0 1 0\nP 1 11 0 0 0 0 0 1 0 0 0 0\n"
NUMBER = b"E %d 0 0\n"
FOUND = {
    "an event after the last footer": files.listing(E3).rstrip() + b"\nE 1 0 1\n",
    "an event after the last footer, cut": files.listing(E3).rstrip() + b"\nE 1 0 1",
    "the largest event number": files.listing(NUMBER % (2**63 - 1), NUMBER % (1 - 2**63), NUMBER % 2**62),
    "too large an event number": files.listing(NUMBER % 2**63),
    "much too large an event number": files.listing(E3, NUMBER % 10**40),
    "the lowest event number but one": files.listing(NUMBER % -(2**63)),
    "an empty line of carriage returns": files.listing(E3 + b"\r\r\n"),
    "tabs in an attribute": files.listing(E3 + b"A 0\tGenCrossSection\t1\t2\n"),
    "a tab after the letter of an attribute": files.listing(E3 + b"A\t0 GenCrossSection 1 2\n"),
    "an attribute of id +0": files.listing(E3 + b"A +0 GenCrossSection 1 2\n"),
    "an attribute with a form feed": files.listing(E3 + b"A 0 GenCrossSection 1.5 0.2\x0c 3\n"),
    "an attribute with a carriage return": files.listing(E3 + b"A 0 GenCrossSection 1.5\r0.2 3\n"),
    "a control byte within a number of an attribute": HEAD2
    + b"E 6 0 0 0 0 0 0 0 0 0 0 0\nH 1 2 3 4 5 6 7 8 9 7.5 2\x0e5 -1 -1\n"
    + FOOT2,
    "a heavy ion of version 18": files.listing(E3 + b"A 0 GenHeavyIon v18 9 8 7 6 5 4 3 2.5 1.5 1 2 3 4 5 6 7\n"),
    "a line between a vertex and its particles": HEAD2
    + b"E 6 0 0 0 0 0 0 1 0 0 0 0\n"
    + VERTEX2.replace(b"\nP", b"\nA 1\nP")
    + FOOT2,
    "a header line that begins with a blank": files.listing(b" P 1\n", E3),
    "an event whose line begins with a carriage return": files.listing(b"\r" + E3, E3),
    "a footer with two carriage returns": files.listing(E3).replace(b"END_EVENT_LISTING", b"END_EVENT_LISTING\r\r"),
    "a name of a weight with a carriage return": files.listing(b"W a\\|b\rT c\\|d\n", E3 + b"W 1 2\n"),
    "an empty name of a weight": files.listing(b"W a\\|\n", E3 + b"W 1\n", E3 + b"W 1 2\n"),
    "two lines of names": files.listing(b"W a\n", b"W b\n", E3 + b"W 1\n", E3 + b"W 1 2\n"),
    "a header line that begins like names": files.listing(b"Wa\\|b\n", E3 + b"W 1\n"),
    "an attribute that is no letter alone": files.listing(E3 + b"Ax 0 GenCrossSection 1 2\n"),
    "a HepMC2 attribute with two carriage returns": HEAD2 + b"E 6 0 0 0 0 0 0 0 0 0 0 0\nC 1 2\r\r\n" + FOOT2,
    "a vertical tab before the file": b"\x0b" + files.listing(E3),
    "a carriage return before the file": b"\r" + files.listing(E3),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_the_fuzz_has_found(tmp_path, name):
    assert difference(read_fast(FOUND[name], tmp_path / "found.hepmc"), parse(FOUND[name])) == ""
