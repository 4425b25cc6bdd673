"""The addressed random numbers: published vectors, distributions, and that no two addresses are related."""

import math

import numpy as np
import pytest
from scipy import stats

from fastsim.rng import EVENT_LEVEL, Streams, normals_1, philox_1, uniforms_1
from tests.oracles import JIT_IS_OFF

N = 5_000 if JIT_IS_OFF else 100_000  # addresses per test; every tolerance is computed from the sample size
SIGMAS = 4.5
KEY = Streams(1).key("test")

# "kat_vectors" of Random123 (J. K. Salmon et al., SC'11, D. E. Shaw Research): counter, key, expected words.
KNOWN_ANSWERS = [
    (
        (0x00000000, 0x00000000, 0x00000000, 0x00000000),
        (0x00000000, 0x00000000),
        (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8),
    ),
    (
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF),
        (0xFFFFFFFF, 0xFFFFFFFF),
        (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
    ),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox_in_plain_integers(counter, key):
    """The algorithm of the paper (section 3.3) in Python's unbounded integers."""
    x, k = list(counter), list(key)
    for _ in range(10):
        high0, low0 = divmod(0xD2511F53 * x[0], 2**32)
        high1, low1 = divmod(0xCD9E8D57 * x[2], 2**32)
        x = [high1 ^ x[1] ^ k[0], low1, high0 ^ x[3] ^ k[1], low0]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return tuple(x)


def words(counter, key):
    return tuple(int(w) for w in philox_1(*(np.uint64(v) for v in counter), *(np.uint64(v) for v in key)))


def draw_uniforms(addresses, key=KEY):
    """(n, 2) uniforms for an iterable of (draw, particle_index, event_id)."""
    return np.array([uniforms_1(d, p, e, key.k0, key.k1) for d, p, e in addresses])


def draw_normals(addresses, key=KEY):
    return np.array([normals_1(d, p, e, key.k0, key.k1) for d, p, e in addresses])


def addresses(n=N, *, event_id=0, draw=0):
    """n addresses: 100 particles in each of n / 100 events."""
    return [(draw, i % 100, event_id + i // 100) for i in range(n)]


@pytest.fixture(scope="module")
def uniforms():
    return draw_uniforms(addresses())


@pytest.fixture(scope="module")
def normals():
    return draw_normals(addresses())


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(counter, key, expected):
    """Random123 1.14, file tests/kat_vectors, lines "philox4x32 10"."""
    assert words(counter, key) == expected
    assert philox_in_plain_integers(counter, key) == expected


def test_philox_equals_the_paper_s_algorithm_in_unbounded_integers():
    """Masked uint64 arithmetic loses no carry: 200 random counters and keys."""
    generator = np.random.default_rng(3)
    for row in generator.integers(0, 2**32, size=(200, 6), dtype=np.uint64):
        numbers = [int(v) for v in row]
        assert words(numbers[:4], numbers[4:]) == philox_in_plain_integers(numbers[:4], numbers[4:])


def test_uniforms_use_53_bits_of_the_right_words():
    """u = (27 high bits of one word, 26 high bits of the next) / 2^53, counter = (draw, particle, event low, high)."""
    event = 5 * 2**32 + 7
    w = philox_in_plain_integers((11, 13, 7, 5), (int(KEY.k0), int(KEY.k1)))
    expected = [((w[i] >> 5) * 2**26 + (w[i + 1] >> 6)) / 2**53 for i in (0, 2)]
    assert list(uniforms_1(11, 13, event, KEY.k0, KEY.k1)) == expected


def test_uniforms_are_in_the_half_open_interval_and_all_53_bits_are_alive(uniforms):
    assert uniforms.min() >= 0.0
    assert uniforms.max() < 1.0
    integers = uniforms.ravel() * 2.0**53
    assert np.array_equal(integers, np.floor(integers))
    integers = integers.astype(np.uint64)
    for bit in range(53):
        ones = ((integers >> np.uint64(bit)) & np.uint64(1)).mean()
        assert abs(ones - 0.5) < SIGMAS * 0.5 / math.sqrt(integers.size), bit


def test_uniforms_pass_kolmogorov_and_smirnov(uniforms):
    for column in uniforms.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4


def test_normals_pass_kolmogorov_and_smirnov(normals):
    for column in normals.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4


def test_normals_have_the_moments_of_a_standard_normal(normals):
    """Mean 0, variance 1, <x^4> = 3; errors 1/sqrt(n), sqrt(2/n), sqrt((105 - 9)/n) from the normal's own moments."""
    x = normals.ravel()
    n = x.size
    assert abs(x.mean()) < SIGMAS / math.sqrt(n)
    assert abs((x**2).mean() - 1.0) < SIGMAS * math.sqrt(2.0 / n)
    assert abs((x**3).mean()) < SIGMAS * math.sqrt(15.0 / n)
    assert abs((x**4).mean() - 3.0) < SIGMAS * math.sqrt(96.0 / n)


def test_the_two_normals_of_one_draw_are_independent(normals):
    """Correlation of the pair and of their squares vanishes: each has error 1/sqrt(n)."""
    for power in (1, 2):
        r = np.corrcoef((normals**power).T)[0, 1]
        assert abs(r) < SIGMAS / math.sqrt(len(normals))


@pytest.mark.parametrize("neighbour", ["draw", "particle", "event", "event_high_word", "seed", "stream"])
def test_neighbouring_addresses_are_uncorrelated(neighbour, normals):
    """Normals of adjacent draws, particles, events, seeds and streams: |r| < 4.5/sqrt(n), also for their squares."""
    shifted = {
        "draw": [(d + 1, p, e) for d, p, e in addresses()],
        "particle": [(d, p + 1, e) for d, p, e in addresses()],
        "event": [(d, p, e + 1) for d, p, e in addresses()],
        "event_high_word": [(d, p, e + 2**32) for d, p, e in addresses()],
    }.get(neighbour, addresses())
    key = {"seed": Streams(2).key("test"), "stream": Streams(1).key("tesu")}.get(neighbour, KEY)
    other = draw_normals(shifted, key)
    for power in (1, 2):
        for i in range(2):
            for j in range(2):
                r = np.corrcoef(normals[:, i] ** power, other[:, j] ** power)[0, 1]
                assert abs(r) < SIGMAS / math.sqrt(len(normals))


def test_a_draw_is_a_pure_function_of_its_address():
    """Order of calls and what was drawn between them change nothing, to the last bit."""
    some = addresses(300, event_id=17, draw=3)
    forwards = draw_normals(some)
    backwards = draw_normals(some[::-1])[::-1]
    alone = np.array([draw_normals([address])[0] for address in some[::7]])
    assert np.array_equal(forwards, backwards)
    assert np.array_equal(forwards[::7], alone)


def test_events_beyond_32_bits_have_their_own_numbers():
    """event_id = 2^32 + k must not repeat event k (64-bit identifiers from the generator)."""
    ids = [0, 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**40, 2**62]
    drawn = {uniforms_1(0, 0, event_id, KEY.k0, KEY.k1) for event_id in ids}
    assert len(drawn) == len(ids)


def test_event_level_draws_do_not_collide_with_particles():
    event_level = uniforms_1(0, EVENT_LEVEL, 9, KEY.k0, KEY.k1)
    w = philox_in_plain_integers((0, 2**32 - 1, 9, 0), (int(KEY.k0), int(KEY.k1)))
    assert event_level[0] == ((w[0] >> 5) * 2**26 + (w[1] >> 6)) / 2**53
    assert event_level not in {uniforms_1(0, particle, 9, KEY.k0, KEY.k1) for particle in range(1000)}


def test_keys_differ_between_seeds_and_streams_and_are_stable():
    """Two 32-bit words, all different for seeds 0..99 times ten names; the same again for the same run."""
    keys = [
        Streams(seed).key(name)
        for seed in range(100)
        for name in ("a", "b", "c", "aa", "ab", "a/b", "b/a", "a|b", "1", "1|a")
    ]
    assert len(set(keys)) == len(keys)
    assert all(0 <= int(word) < 2**32 for key in keys for word in key)
    assert Streams(0).key("tracking/smearing") == Streams(0).key("tracking/smearing")
    assert Streams(0).key("tracking/smearing") != Streams(1).key("tracking/smearing")
    assert Streams(0).key("tracking/smearing") != Streams(0).key("tracking/efficiency")


def test_key_words_are_uniform():
    """Hashed keys fill 32 bits: Kolmogorov and Smirnov over 2000 consecutive seeds, for both words."""
    keys = np.array([[int(word) for word in Streams(seed).key("s")] for seed in range(2000)]) / 2.0**32
    for column in keys.T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
