"""A hundred thousand damaged files: the reader must say of each exactly what the strict parser says, and never hang.

Each mutant has a number, from which alone it follows: `mutant(4711)` makes it again. Mutants that are whole files are
read many at once, one after another in one file (which is legal); those that are not are read alone, and some others too.
"""

from __future__ import annotations

import faulthandler
import itertools
import random
import re

import pytest

from tests import hepmc_files as files
from tests.strict_hepmc import Listing, difference, parse, read_fast

N_MUTANTS = 100_000
N_TOGETHER = 200
HANGS_AFTER = 120.0  # seconds for a group of files that takes a fraction of one; the file is left in tmp_path

SMALL3 = rb"""HepMC::Version 3.02.05
HepMC::Asciiv3-START_EVENT_LISTING
W a\|b
T Tool\|1.0\|
E 1 2 5 @ 1 2 3 4
U MEV CM
W 0.5 -2e3
A 0 GenCrossSection 1.5 0.25 10 10
A 0 GenPdfInfo 21 -3 0.1 0.2 91 0.3 0.4 7 8
A 0 other 12
P 1 0 2212 0 0 65 65 .9 4
P 2 0 2212 0 0 -65 65 .9 4
V -1 0 [1,2] @ 1 -2 3.5 .5
P 3 -1 211 1e-3 2 3 4.5 .14 2
P 4 3 13 1 2 3 4 .1 1
P 5 3 -14 .5 0 0 .5 0 1
E 2 0 0
W 1 2
E 3 3 4
W 7 8
P 2 -3 11 1 2 3 4 5 1
P 4 1 22 1 0 0 1 0 2
V -3 0 [4]
P 1 0 23 0 0 0 91 91 62
P 3 1 12 3 2 1 4 0 1
V -1 0 []
HepMC::Asciiv3-END_EVENT_LISTING
"""
SMALL2 = rb"""HepMC::Version 2.06.09
HepMC::IO_GenEvent-START_EVENT_LISTING
E 5 -1 91.2 .12 .0078 20 -1 3 11 12 2 12345678901234567890 7 2 .5 1.5
N 2 "a" "b c"
U MEV CM
C 1.5 .25
H 1 2 3 4 5 6 7 8 9 7.5 .25 -1 -1
F 21 -3 .1 .2 91 .3 .4
V -1 0 1 2 3 4 2 2 1 .5
P 11 2212 0 0 65 65 .9 3 0 0 -1 1 1 501
P 12 2212 0 0 -65 65 .9 3 0 0 -1 0
P 13 211 1 2 3 4 .1 1 0 0 -5 0
P 14 310 1 2 3 4 .5 2 .1 .2 -7 0
V -7 0 0 0 0 0 0 1 0
P 15 22 1 1 1 2 0 1 0 0 0 2 1 501 2 502
V -5 7 9 9 9 9 0 0 0
E 6 0 0 0 0 0 0 0 0 0 0 0
HepMC::IO_GenEvent-END_EVENT_LISTING
"""
IONS3 = rb"""HepMC::Version 3.02.05
HepMC::Asciiv3-START_EVENT_LISTING
E 0 1 2
U GEV MM
A 0 GenHeavyIon v0 1 2 3 4 5 6 7 8 9 7.5 0.25 1 2 3 4 5 6 7 8 0 0
P 1 0 1000822080 0 0 5 6 1 4
V -1 0 [1] @ 0 0 0 0
P 2 -1 2112 0 0 5 6 1 1
E 1 0 1
A 0 GenHeavyIon v1 9 8 7 6 5 4 3 2.5 1.5 1 2 3 4 5 6 7 0 0
P 1 0 11 1 2 3 4 5 1
HepMC::Asciiv3-END_EVENT_LISTING
"""
SEEDS = (
    SMALL3,
    SMALL2,
    IONS3,
    SMALL3.replace(b"\n", b"\r\n"),
    SMALL2.replace(b"\n", b"\r\n"),
    SMALL3 + b"\n" + SMALL2 + b"HepMC::Version x\n" + files.empty() + IONS3,
    SMALL2 + files.empty("hepmc2") + b"\n \n" + SMALL3.rstrip(),
    files.sample(1),
    files.sample(2, "hepmc2", weights=(1.0, 2.0)),
    files.as_text([files.with_ions(files.make_event(3, weights=(1.5,)))]),
    files.as_text([files.with_ions(files.make_event(4, momentum_unit="MEV", length_unit="CM"))], "hepmc2"),
    files.listing(b"E 0 0 0\n", b"E 1 0 1\nP 1 0 11 1 2 3 4 5 1\n", b"E 2 1 0\nV -1 0 [] @ 1 2 3 4\n"),
    files.sample(14),
    files.sample(12, "hepmc2"),
)
SHORT, LONG = SEEDS[:12], SEEDS[12:]

NUMBER = re.compile(rb"(?<![\w.+-])[+-]?\.?[0-9][0-9.eE+-]*")
DIGIT = re.compile(rb"[0-9]")
WORD = re.compile(rb"[^ \t\r\n]+")
BYTES = b" \t\r\n\0-+.eExX_0123456789PVEUWANTHFC@[],:\\|\x0b\x0c\x80\xff"
NUMBERS = (
    b"nan", b"inf", b"-Infinity", b"1e999", b"-1e-999", b"1_0", b"0x10", b"", b"0", b"-0", b"+1", b"-1", b"2", b"3", b"-2",
    b"-3", b"4", b"1e", b".", b".5", b"5.", b"1.0", b"1e5", b"3.5e38", b"3.4e38", b"2147483647", b"-2147483647", b"2147483648",
    b"-2147483648", b"4294967297", b"9223372036854775807", b"9223372036854775808", b"-9223372036854775808", b"00000000001",
    b"18446744073709551617", b"1" * 40, b"0." + b"0" * 400 + b"1", b"1e-9223372036854775809", b"[1]", b"@", b"1,2",
)  # fmt: skip
LINES = (
    b"E 7 0 0\n", b"E\n", b"E \n", b"E\t1 0 0\n", b"\n", b" \r\n", b"\r\r\n", b"\t\n", b"T\n", b"A\n", b"W\n",
    b"W 1 2\n", b"U GEV MM\n",
    b"U MEV CM\n", b"X 1\n", b"N 1 x\n", b"H 1\n", b"F 1\n", b"C 1\n", b"C 1 2\n", b"P\n", b"V\n", b"#\n", b" P 1\n",
    b"A 0 GenCrossSection 7 8\n", b"V -2 0 [1]\n", b"V -2 0 [] @ 0 0 0 0\n", b"P 3 1 11 1 2 3 4 5 1\n", b"HepMC::\n",
    b"HepMC::Version 9\n", b"HepMC:\n", b"HepMC::Asciiv3-START_EVENT_LISTING\n", b"HepMC::IO_GenEvent-END_EVENT_LISTING\n",
    b"HepMC::Asciiv3-END_EVENT_LISTING \n", b"HepMC::Asciiv4-START_EVENT_LISTING\n",
)  # fmt: skip


def flip_byte(text: bytes, rng: random.Random) -> bytes:
    i = rng.randrange(len(text))
    new = text[i] ^ (1 << rng.randrange(8)) if rng.random() < 0.5 else rng.choice(BYTES)
    return text[:i] + bytes([new]) + text[i + 1 :]


def delete_bytes(text: bytes, rng: random.Random) -> bytes:
    i = rng.randrange(len(text))
    return text[:i] + text[i + rng.choice((1, 1, 1, 2, 5, 30)) :]


def insert_bytes(text: bytes, rng: random.Random) -> bytes:
    i = rng.randrange(len(text) + 1)
    return text[:i] + bytes(rng.choices(BYTES, k=rng.choice((1, 1, 1, 2, 5)))) + text[i:]


def cut(text: bytes, rng: random.Random) -> bytes:
    return text[: rng.randrange(len(text))]


def change_lines(text: bytes, rng: random.Random) -> bytes:
    """Lines doubled, swapped, left out, moved, or put in."""
    lines = text.splitlines(keepends=True)
    i, j = (rng.randrange(len(lines)) for _ in range(2))
    what = rng.randrange(5)
    if what == 0:
        lines.insert(i, lines[i])
    elif what == 1:
        lines[i], lines[j] = lines[j], lines[i]
    elif what == 2:
        del lines[i]
    elif what == 3:
        lines.insert(j, lines.pop(i))
    else:
        lines.insert(i, rng.choice(LINES))
    return b"".join(lines)


def change_blocks(text: bytes, rng: random.Random) -> bytes:
    """The same with some lines together, or with whole events."""
    lines = text.splitlines(keepends=True)
    i, j = sorted(rng.randrange(len(lines) + 1) for _ in range(2))
    starts = [n for n, line in enumerate(lines) if line.startswith((b"E ", b"HepMC::"))]
    if starts and rng.random() < 0.5:
        i, j = sorted(rng.choice(starts) for _ in range(2))
    before, block, after = lines[:i], lines[i:j], lines[j:]
    pieces = rng.choice(
        ((before, block, block, after), (before, after), (block, before, after), (before, after, block))
    )
    return b"".join(itertools.chain(*pieces))[:20_000]


def replace(pattern: re.Pattern[bytes], text: bytes, rng: random.Random, choose) -> bytes:
    """One of the places where `pattern` fits gets what `choose` makes of it."""
    places = [match.span() for match in pattern.finditer(text)]
    if not places:
        return text
    a, b = rng.choice(places)
    return text[:a] + choose(text[a:b]) + text[b:]


def edit_digit(text: bytes, rng: random.Random) -> bytes:
    return replace(DIGIT, text, rng, lambda _: b"%d" % rng.randrange(10))


def edit_sign(text: bytes, rng: random.Random) -> bytes:
    return replace(NUMBER, text, rng, lambda n: n[1:] if n[:1] in (b"-", b"+") else rng.choice((b"-", b"+")) + n)


def replace_number(text: bytes, rng: random.Random) -> bytes:
    return replace(NUMBER, text, rng, lambda _: rng.choice(NUMBERS))


def copy_word(text: bytes, rng: random.Random) -> bytes:
    word = rng.choice(WORD.findall(text) or [b""])
    return replace(WORD, text, rng, lambda _: word)


def change_blanks(text: bytes, rng: random.Random) -> bytes:
    blanks = (b"  ", b"\t", b" \t ", b"", b"\r", b"\n", b"\x0b")
    return replace(re.compile(rb" "), text, rng, lambda _: rng.choice(blanks))


def change_line_end(text: bytes, rng: random.Random) -> bytes:
    ends = (b"\r\n", b"\n", b"", b"\r", b"\n\n", b" \n", b"\r\r\n", b"\n\r", b"\n \r\n", b" \r\n", b"\r \n", b"\0\n")
    return replace(re.compile(rb"\r?\n"), text, rng, lambda _: rng.choice(ends))


CHANGES = (
    flip_byte, delete_bytes, insert_bytes, cut, change_lines, change_lines, change_blocks, edit_digit, edit_digit, edit_sign,
    replace_number, replace_number, copy_word, change_blanks, change_line_end,
)  # fmt: skip


def mutant(index: int) -> bytes:
    """The damaged file of this number: one change, or a few."""
    rng = random.Random(index)  # noqa: S311  (files, not secrets)
    text = rng.choice(LONG if rng.random() < 0.03 else SHORT)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        text = rng.choice(CHANGES)(text, rng) or text
    return text


@pytest.fixture
def no_hanging():
    """The process ends, and says where it was, if one comparison takes for ever."""
    yield lambda: faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
    faulthandler.cancel_dump_traceback_later()


def joined(listings: list[Listing]) -> Listing:
    """What a file of whole files, one after another, holds."""
    found = Listing()
    shift = 0
    for listing in listings:
        found.events += [(position + shift, event) for position, event in listing.events]
        found.bad += [(position + shift, bad) for position, bad in listing.bad]
        shift += len(listing.events) + len(listing.bad)
    return found


def check(mutants: list[tuple[int, bytes, Listing]], path) -> list[str]:
    """The first of some mutants, whole files, that the reader and the strict parser do not agree on."""
    together = b"".join(text + b"\n" for _, text, _ in mutants)
    if difference(read_fast(together, path), joined([strict for *_, strict in mutants])):
        for index, text, strict in mutants:
            if found := difference(read_fast(text, path), strict):
                return [f"mutant {index}: {found}"]
        return [f"mutants {mutants[0][0]} to {mutants[-1][0]}: only together"]
    return []


def test_seeds_are_whole_files(tmp_path):
    for seed in SEEDS:
        strict = parse(seed)
        assert (strict.bad, strict.error) == ([], None)
        assert difference(read_fast(seed, tmp_path / "seed.hepmc"), strict) == ""


@pytest.mark.parametrize("part", range(10))
def test_mutants_are_read_as_the_strict_parser_reads_them(tmp_path, no_hanging, part):
    path = tmp_path / "mutant.hepmc"
    wrong: list[str] = []
    whole: list[tuple[int, bytes, Listing]] = []
    for index in range(part, N_MUTANTS, 10):
        if index // 10 % 100 == 0:
            no_hanging()
        text = mutant(index)
        strict = parse(text)
        if (strict.error or index % 97 == 0) and (found := difference(read_fast(text, path), strict)):
            wrong.append(f"mutant {index}: {found}")
        if not strict.error:
            whole.append((index, text, strict))
        if len(whole) == N_TOGETHER:
            wrong += check(whole, path)
            whole = []
        if len(wrong) >= 5:
            break
    wrong += check(whole, path) if whole else []
    assert wrong == []


@pytest.mark.parametrize("seed", [SMALL3, SMALL2, SEEDS[5], SEEDS[8]], ids=["hepmc3", "hepmc2", "listings", "pyhepmc"])
def test_truncated_files_keep_their_whole_events(tmp_path, no_hanging, seed):
    """Cut at every byte, with --allow-truncated: what is whole is kept, nothing is bad."""
    no_hanging()
    first = seed.index(b"START_EVENT_LISTING") + 20
    for end in range(first, len(seed) + 1):
        strict = parse(seed[:end], allow_truncated=True)
        assert (strict.bad, strict.error) == ([], None)
        fast = read_fast(seed[:end], tmp_path / "cut.hepmc", allow_truncated=True)
        assert difference(fast, strict) == "", end


@pytest.mark.parametrize("seed", [SMALL3, SMALL2, SEEDS[5]], ids=["hepmc3", "hepmc2", "listings"])
def test_truncated_files_are_errors_otherwise(tmp_path, no_hanging, seed):
    no_hanging()
    for end in range(len(seed)):
        assert difference(read_fast(seed[:end], tmp_path / "cut.hepmc"), parse(seed[:end])) == "", end
