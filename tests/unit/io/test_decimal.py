"""Numbers in text: to the bit what Python's float() and int() read, with the JIT on and off."""

from __future__ import annotations

import math
import random
import struct
from decimal import Decimal, getcontext

import numba
import numpy as np
import pytest

from fastsim.io.decimal import LONGEST, PADDING, TOO_LARGE, exact_1, nearest_1, numbers_1, product_1, words_of

N = 200 if numba.config.DISABLE_JIT else 20_000


def read(words, *, n_integers=0, n_more=0, n_kept=None):
    """What the kernel reads of words in a line: how many, integers, decimals."""
    text = (" " + " ".join(words) + "\n").encode()
    data = np.zeros(len(text) + PADDING, dtype=np.uint8)
    data[: len(text)] = np.frombuffer(text, dtype=np.uint8)
    n_decimals = len(words) - n_integers - n_more
    integers, values = np.zeros(len(words), dtype=np.int64), np.full(len(words), -7.0)
    n_kept = n_decimals if n_kept is None else n_kept
    n, at = numbers_1(data, words_of(data), 0, n_integers, n_decimals, n_more, n_kept, integers, values)
    if n == len(words):
        assert at == len(text) - 1
    return n, integers[: n_integers + n_more].tolist(), values[:n_decimals].tolist()


def check(words):
    n, _, values = read(words)
    assert n == len(words)
    for word, value in zip(words, values, strict=True):
        assert struct.pack("<d", value) == struct.pack("<d", float(word)), word


@pytest.mark.parametrize("form", ["{!r}", "{:.16e}", "{:.17g}", "{:.20e}", "{:.8e}", "{:.30e}", "{:.16E}"])
def test_random_doubles(form):
    draw = random.Random(form)  # noqa: S311
    values = (struct.unpack("<d", struct.pack("<Q", draw.getrandbits(64)))[0] for _ in range(N))
    check([form.format(value) for value in values if math.isfinite(value)])


def test_random_digits():
    draw = random.Random(1)  # noqa: S311
    words = []
    for _ in range(N):
        digits = "".join(draw.choice("0123456789") for _ in range(draw.randint(1, 40)))
        point = draw.randint(0, len(digits))
        words.append(f"{digits[:point]}.{digits[point:]}" + draw.choice(["", f"e{draw.randint(-340, 320)}"]))
    check(words)


def test_numbers_in_the_middle_of_two_doubles_and_next_to_it():
    """Their hundreds of digits all count: only the exact comparison of large integers can tell."""
    getcontext().prec = 1200
    draw = random.Random(2)  # noqa: S311
    words = []
    for _ in range(N // 50):
        low = struct.unpack("<d", struct.pack("<Q", draw.getrandbits(62)))[0]
        middle = (Decimal(low) + Decimal(float(np.nextafter(low, math.inf)))) / 2
        words += [format(middle * (1 + k * Decimal(10) ** -900), "e") for k in (-1, 0, 1)]
    check(words)


@pytest.mark.parametrize(
    "word",
    [
        "0", "-0.0", "0e999", "1", ".5", "5.", "+1.5", "1e5", "1E+05", "1e-5", "00012.50", "9007199254740993",
        "9007199254740992.9999999999999999999999", "2.2250738585072011e-308", "2.2250738585072014e-308",
        "4.9406564584124654e-324", "2.4703282292062327208e-324", "2.4703282292062328e-324", "1e-400",
        "1.7976931348623157e308", "1.7976931348623158e308", "1.7976931348623159e308", "1e400", "-1e400", "inf", "-Infinity",
        "0." + "0" * 400 + "1e401", "1" + "0" * 400 + "e-400", "1" * (LONGEST - 1),
    ],
)  # fmt: skip
def test_special_numbers(word):
    check([word])


def test_not_a_number_is_one():
    for word in ("nan", "NaN", "-nan"):
        n, _, (value,) = read([word])
        assert n == 1
        assert math.isnan(value)


@pytest.mark.parametrize(
    "word",
    [
        "", ".", "-", "+-1", "e5", "1e", "1e+", "1.2.3", "1_0", "0x10", "1,5", "1d5", "nano", "in", "infinit", "infinityy", "1 .",
        "--1", "1.0000000000000000e+0x", "1.00000000000000/0e+00", "1.0000000000000000e+00x", "\N{ARABIC-INDIC DIGIT ONE}",
        "1" * (LONGEST + 1), "1\x01", "1.0000000000000000e*05",
    ],
)  # fmt: skip
def test_what_is_no_number(word):
    assert read([word, "2"])[0] < 2


def test_integers_before_and_behind():
    n, integers, values = read(["12", "-7", "1.5", "2e3", "+99"], n_integers=2, n_more=1)
    assert (n, integers, values) == (5, [12, -7, 99], [1.5, 2000.0])
    assert read(["123456789012345678", "-1234567890123456789"], n_integers=2)[1] == [123456789012345678, -TOO_LARGE]
    assert read(["1.5"], n_integers=1)[0] == 0
    assert read(["9" * (LONGEST + 1)], n_integers=1)[0] == 0


def test_decimals_that_nobody_keeps_must_be_numbers_all_the_same():
    """Their value is not asked for; but one that float32 cannot hold is converted, so that it can be refused."""
    kept, passed, large = "1.0000000000000000e+00", "2.0000000000000000e+00", "3.0000000000000000e+60"
    assert read([kept, passed, large], n_kept=1) == (3, [], [1.0, 0.0, 3e60])
    assert read([kept, "2.0000000000000000x+00"], n_kept=1)[0] == 1


def test_product_of_words():
    draw = random.Random(3)  # noqa: S311
    for _ in range(200):
        a, b = draw.getrandbits(64), draw.getrandbits(64)
        high, low = product_1(np.uint64(a), np.uint64(b))
        assert (int(high) << 64) + int(low) == a * b


def test_nearest_beyond_the_ends():
    assert nearest_1(np.uint64(10**19 - 1), 308) == math.inf
    assert nearest_1(np.uint64(10**19 - 1), 309) == math.inf
    assert nearest_1(np.uint64(1), -343) == 0.0
    assert nearest_1(np.uint64(0), 300) == 0.0


def test_exact_comparison_takes_the_even_one_in_the_middle():
    for text, low, expected in (("9007199254740993", 2.0**53, 2.0**53), ("9007199254740995", 2.0**53 + 2, 2.0**53 + 4)):
        data = np.frombuffer(text.encode(), dtype=np.uint8)
        assert exact_1(data, 0, len(data), 0, low) == expected
