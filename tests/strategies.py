"""Hypothesis strategies: odd but legal HepMC files as text, in both formats.

They draw numbers as their text, so that huge exponents, subnormals and forty digits come as a file would have them.
With `plain` they keep to what pyhepmc reads without harm: one blank between words, no empty lines, no header lines but
those that belong, no vertex without incoming and outgoing particles or with weights, everything downstream of what comes before.
"""

from __future__ import annotations

from hypothesis import strategies as st

VERSION = "HepMC::Version 3.02.05"
NAMES = {3: "Asciiv3", 2: "IO_GenEvent"}
CODES = st.sampled_from([11, -11, 13, 22, 111, 211, -211, 310, 2112, 2212, 1000822080, 2**31 - 1, 1 - 2**31, 0])
STATUSES = st.sampled_from([1, 1, 1, 2, 4, 62, -7, 2**31 - 1])
ODD_NUMBERS = st.sampled_from(
    [
        "0", "-0", "+0.0", "-0.e5", ".5", "5.", "1e-400", "-4.9406564584124654e-324", "2.2250738585072011e-308", "1E+10",
        "1e00000000000000000001", "0e999999999999", "3.4e37", "-1.0000000000000000000000000000000000000001",
        "9007199254740993", "0.1000000000000000055511151231257827021181583404541015625", "123456789012345678901234567890",
    ]
)  # fmt: skip
FLOATS = st.floats(-1e30, 1e30).flatmap(lambda x: st.sampled_from([repr(x), f"{x:.16e}", f"{x:.5f}", f"{x:+.20E}"]))
NUMBERS = ODD_NUMBERS | FLOATS | st.integers(-50, 50).map(str)
BLANKS = st.sampled_from([" ", " ", " ", " ", "  ", "\t", " \t "])
WEIGHTS = NUMBERS | st.sampled_from(["nan", "-inf", "1e999", "Infinity", "-NaN"])  # all of them allowed here
PLAIN_WEIGHTS = st.floats(-1e30, 1e30).map(repr)
HEAVY_IONS = st.sampled_from(
    ["v0 1 2 3 4 5 6 7 8 9 7.5 0.25 1 2 3 4 5 6 7 8 0 0", "v1 9 8 7 6 5 4 3 2.5 1.5 1 2 3 4 5 6 7 0 0"]
)
USUAL_ATTRIBUTES = (
    HEAVY_IONS.map(lambda text: f"0 GenHeavyIon {text}"),
    st.tuples(NUMBERS, NUMBERS).map(lambda xs: f"0 GenCrossSection {xs[0]} {xs[1]} 5 7"),
    st.just("0 GenPdfInfo 21 -3 1.0e-01 2.0e-01 9.1e+01 3.0e-01 4.0e-01 7 8"),
)
PLAIN_ATTRIBUTES = st.lists(st.one_of(*USUAL_ATTRIBUTES), unique_by=lambda text: text.split()[1], max_size=3)
ATTRIBUTES = st.lists(
    st.one_of(
        *USUAL_ATTRIBUTES,
        st.sampled_from(
            ["0 GenHeavyIon", "0 GenCrossSection x", "0 GenPdfInfo 1 2 3", "1 flow1 501", "-1 GenHeavyIon v0 1"]
        ),
        st.sampled_from(["0 signal_process_id 7", "0 text E P V \\| \\\\ HepMC::", "0"]),
    ),
    unique_by=lambda text: tuple(text.split()[1:2]),
    max_size=4,
)


@st.composite
def graphs(draw, plain=False, n_most=7):
    """(end, production) vertex of each particle, -1 for none, and the number of vertices; ancestors have lower numbers."""
    n_vertices = draw(st.integers(0, 4))
    n_particles = draw(st.integers(0, n_most))
    label = list(range(n_vertices)) if plain else draw(st.permutations(range(n_vertices)))
    end, production = [], []
    for _ in range(n_particles):
        a, b = (draw(st.integers(-1, n_vertices - 1)) for _ in range(2))
        a, b = (a, b) if a < b or b < 0 else (b, a) if b < a else (-1, b)
        production.append(label[a] if a >= 0 else -1)
        end.append(label[b] if b >= 0 else -1)
    if plain:
        unfed, barren = (sorted(set(range(n_vertices)) - set(links)) for links in (end, production))
        end, production = end + unfed + [-1] * len(barren), production + [-1] * len(unfed) + barren
        order = sorted(range(len(end)), key=production.__getitem__)
        end, production = [end[i] for i in order], [production[i] for i in order]
    return end, production, n_vertices


@st.composite
def lines_joined(draw, lines, plain):
    """Lines of words as text: blanks of any kind between the words and at the ends, empty lines in between."""
    if plain:
        return "".join(f"{line}\n" for line in lines)
    text = ""
    for line in lines:
        words = line.split(" ")
        text += words[0] + " " if words[0] == "E" else words[0] + draw(BLANKS) if len(words) > 1 else words[0]
        text += draw(BLANKS).join(words[1:]) + draw(st.sampled_from(["", "", "", " ", "\t "])) + "\n"
        if line[0] not in "EHNTW" and draw(st.integers(0, 9)) == 0:
            text += draw(st.sampled_from(["\n", "  \n"]))
    return text


def _point(draw, may_be_zero=True):
    if may_be_zero and draw(st.integers(0, 2)) == 0:
        return "0 0 -0.0 0e5"
    return " ".join([str(draw(st.integers(1, 9))), *(draw(NUMBERS) for _ in range(3))])


def _momentum(draw):
    return " ".join(draw(NUMBERS) for _ in range(5))


def _units(draw):
    return draw(st.sampled_from([[], ["U GEV MM"], ["U MEV CM"], ["U GEV CM"], ["U MEV MM"]]))


@st.composite
def events3(draw, n_names=0, plain=False):
    """One HepMC3 event: lines of particles and vertices in any order, vertices with one line or (shorthand) none."""
    end, production, n_vertices = draw(graphs(plain))
    incoming = [[i + 1 for i, e in enumerate(end) if e == v] for v in range(n_vertices)]
    feeds = set(production)
    is_short = [len(i) == 1 and v in feeds and draw(st.booleans()) for v, i in enumerate(incoming)]
    number = draw(st.integers(0, 99) if plain else st.integers(1 - 10**18, 10**18 - 1) | st.integers(0, 99))
    at = f" @ {_point(draw)}" if draw(st.booleans()) else ""
    particles = [
        f"P {i + 1} {0 if p < 0 else incoming[p][0] if is_short[p] else -_label(is_short, p, plain)} "
        f"{draw(CODES)} {_momentum(draw)} {draw(STATUSES)}"
        for i, p in enumerate(production)
    ]
    shuffled = st.just if plain else st.permutations
    vertices = {
        v: f"V {-_label(is_short, v, plain)} {draw(STATUSES)} [{','.join(map(str, draw(shuffled(incoming[v]))))}]"
        + (f" @ {_point(draw)}" if draw(st.booleans()) else "")
        for v in range(n_vertices)
        if not is_short[v]
    }
    body = [*particles, *vertices.values()]
    if plain:
        first = {v: particles[production.index(v)] for v in vertices}
        body = [line for p in particles for line in (*(vertices[v] for v in vertices if first[v] is p), p)]
    elif draw(st.booleans()):
        body = draw(st.permutations(body))
    n_weights = n_names or draw(st.integers(1 if plain else 0, 3))
    weights = (
        [" ".join(["W", *(draw(PLAIN_WEIGHTS if plain or k == 0 else WEIGHTS) for k in range(n_weights))])]
        if n_weights or draw(st.booleans())
        else []
    )
    head = [*_units(draw), *weights, *(f"A {text}" for text in draw(PLAIN_ATTRIBUTES if plain else ATTRIBUTES))]
    return draw(lines_joined([f"E {number} {n_vertices} {len(end)}{at}", *head, *body], plain))


def _label(is_short, vertex, plain):
    """1, 2, ... in order, as HepMC3 writes them; else those without a line get what the others, backwards, leave."""
    if plain:
        return vertex + 1
    with_line = [v for v, short in enumerate(is_short) if not short]
    return len(with_line) - with_line.index(vertex)


@st.composite
def events2(draw, plain=False):
    """One HepMC2 event. Each particle is produced by a vertex or an orphan of one."""
    end, production, n_vertices = draw(graphs(plain))
    barcode = [-10 * (v + 1) + draw(st.integers(0, 9)) for v in range(n_vertices)]
    kept = [i for i in range(len(end)) if end[i] >= 0 or production[i] >= 0]
    codes = {i: 10000 + n for n, i in enumerate(draw(st.permutations(kept)))}

    def particle(i):
        flow = draw(st.sampled_from(["0", "1 1 501", "2 1 502 2 -503"]))
        angles = f"{draw(NUMBERS)} {draw(NUMBERS)}"
        target = barcode[end[i]] if end[i] >= 0 else 0
        return f"P {codes[i]} {draw(CODES)} {_momentum(draw)} {draw(STATUSES)} {angles} {target} {flow}"

    lines = []
    for v in range(n_vertices):
        orphans = [i for i in kept if end[i] == v and production[i] < 0]
        out = [i for i in kept if production[i] == v]
        extra = "0" if plain else draw(st.sampled_from(["0", "1 0.5", "2 1e3 nan"]))
        lines.append(f"V {barcode[v]} 0 {_point(draw, not plain)} {len(orphans)} {len(out)} {extra}")
        lines += [particle(i) for i in (*orphans, *out)]
    beam = draw(st.sampled_from([0, *codes.values()]))
    random = draw(st.lists(st.integers(0, 2**80).map(str), max_size=2))
    weights = draw(st.lists(PLAIN_WEIGHTS, min_size=int(plain), max_size=1))  # the first must be finite
    weights += draw(st.lists(PLAIN_WEIGHTS if plain else WEIGHTS, max_size=2 * len(weights)))
    head = " ".join(
        [
            f"E {draw(st.integers(0, 99))} -1 {draw(NUMBERS)} {draw(NUMBERS)} {draw(NUMBERS)} 0 0 {n_vertices} {beam} 0",
            *(str(len(random)), *random, str(len(weights)), *weights),
        ]
    )
    optional = [
        " ".join([f"N {len(weights)}", *('"0"', '"1"', '"2"')[: len(weights)]]) if plain else 'N 9 "a b" "HepMC::',
        f"C {draw(NUMBERS)} {draw(NUMBERS)}",
        "H 1 2 3 4 5 6 7 8 9 7.5 0.25 -1.0 -1.0",
        "F 21 -3 .1 .2 91 .3 .4 7 8" if plain or draw(st.booleans()) else "F 21 -3 .1 .2 91 .3 .4",
    ]
    return draw(lines_joined([head, *_units(draw), *(line for line in optional if draw(st.booleans())), *lines], plain))


@st.composite
def listings(draw, kinds=(2, 3), plain=False):
    """One listing of a few events, with or without a header."""
    kind = draw(st.sampled_from(kinds))
    names = draw(st.sampled_from([[], [], ["Default"], ["a", r"b\\c", "d=1"]])) if kind == 3 else []
    header = ["W " + r"\|".join(names)] if names else []
    header += (
        []
        if plain
        else draw(st.sampled_from([[], ["T Pythia8\\|8.3\\|", "A generator something", "N 1", "", "H", "C x"]]))
    )
    events = draw(st.lists(events3(len(names), plain) if kind == 3 else events2(plain), max_size=3))
    lines = [VERSION, f"HepMC::{NAMES[kind]}-START_EVENT_LISTING", *header]
    return "".join([*(f"{line}\n" for line in lines), *events, f"HepMC::{NAMES[kind]}-END_EVENT_LISTING\n"])


@st.composite
def files(draw, kinds=(2, 3)):
    """A whole file as bytes: one listing or several, of formats that may differ, with either kind of line ends."""
    text = draw(st.sampled_from(["", "", "\n \n"]))
    for listing in draw(st.lists(listings(kinds), min_size=1, max_size=3)):
        text += draw(st.sampled_from(["", f"{VERSION}\n"])) + listing + draw(st.sampled_from(["", "\n", "\n\n"]))
    text = text.replace("\n", "\r\n") if draw(st.booleans()) else text
    return text.encode()
