"""Decimal numbers in text to the nearest double, as Python's float() reads them, to the bit.

Seventeen digits, which generators write, are read in blocks of eight and rounded with one multiplication by a power of
five of 128 bits: D. Lemire, "Number parsing at a gigabyte per second", Softw. Pract. Exp. 51 (2021) 1700, and
N. Mushtak and D. Lemire, "Fast number parsing without fallback", Softw. Pract. Exp. 53 (2023) 1467. Words are unsigned and
do not overflow, so that the same source is right with the JIT off.

Kernels read `text`, an array of bytes with `PADDING` zeros behind its end, and `words`, the eight bytes from each
position on as one number (`words_of`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastsim.jit import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING = 64  # zeros behind the text: no kernel looks farther than this beyond a byte that it has seen
TOO_LARGE = 1 << 62  # stands for integers of more than 18 digits
_NEARLY_TOO_LARGE = TOO_LARGE >> 4
LONGEST = 4000  # characters of a number; what is longer is none

_SMALLEST_POWER, _LARGEST_POWER = -342, 308  # powers of ten beyond which every double is 0 or infinite
_LOW_32 = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
_HIGH_NIBBLES, _ZEROS, _SIXES = (
    np.uint64(0xF0F0F0F0F0F0F0F0),
    np.uint64(0x3030303030303030),
    np.uint64(0x0606060606060606),
)
_NIBBLES, _PAIRS, _QUADS = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
_10, _100, _10000, _1E8 = np.uint64(10), np.uint64(100), np.uint64(10000), np.uint64(10**8)
_8, _16 = np.uint64(8), np.uint64(16)
_2, _18, _22, _24 = np.uint64(2), np.uint64(18), np.uint64(22), np.uint64(24)
_SURELY_SMALL = 38  # powers of ten below that are finite as float32, too
_BYTE, _BLANK, _POINT, _PLUS, _MINUS, _E = (np.uint64(x) for x in (0xFF, 32, 46, 43, 45, 101))
_ROUND_MASK = np.uint64(0x1FF)
_0, _1, _3 = np.uint64(0), np.uint64(1), np.uint64(3)
_HIDDEN = np.uint64(1 << 52)
_FRACTION = np.uint64((1 << 52) - 1)
_INFINITE = np.uint64(0x7FF << 52)


def words_of(text: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """The eight bytes from each position on as a little-endian number; a view, seven shorter than the text."""
    return np.ndarray(len(text) - 7, dtype=np.uint64, buffer=text.data, strides=(1,))


def _powers_of_five() -> NDArray[np.uint64]:
    """The first 128 bits of 5^q for each q, in two words; rounded up for q < 0 (Lemire 2021, section 5)."""
    words = np.zeros((_LARGEST_POWER - _SMALLEST_POWER + 1, 2), dtype=np.uint64)
    for row, q in enumerate(range(_SMALLEST_POWER, _LARGEST_POWER + 1)):
        power = 5 ** abs(q)
        if q < 0:
            n_bits = (power - 1).bit_length()
            value = (1 << (n_bits + 127 if q >= -27 else 2 * n_bits + 128)) // power + 1
        else:
            value = power << 128
        value >>= value.bit_length() - 128
        words[row] = value >> 64, value & 0xFFFFFFFFFFFFFFFF
    return words


_POWERS_OF_FIVE = _powers_of_five()


@kernel
def product_1(a: np.uint64, b: np.uint64) -> tuple[np.uint64, np.uint64]:
    """The product of two 64-bit numbers as its high and low word."""
    a0, a1, b0, b1 = a & _LOW_32, a >> _32, b & _LOW_32, b >> _32
    low = a0 * b0
    middle = a1 * b0 + (low >> _32)
    cross = a0 * b1 + (middle & _LOW_32)
    return a1 * b1 + (middle >> _32) + (cross >> _32), (cross << _32) | (low & _LOW_32)


@kernel
def nearest_1(digits: np.uint64, exponent: int) -> float:
    """The double nearest to digits * 10^exponent, ties to even."""
    if digits == _0 or exponent < _SMALLEST_POWER:
        return 0.0
    if exponent > _LARGEST_POWER:
        return np.inf
    n_bits = np.int64(np.float64(digits).view(np.uint64) >> np.uint64(52)) - 1022
    n_bits -= int(digits >> np.uint64(n_bits - 1) == _0)  # the conversion may have rounded up to the next power of two
    word = digits << np.uint64(64 - n_bits)
    row = exponent - _SMALLEST_POWER
    high, low = product_1(word, _POWERS_OF_FIVE[row, 0])
    if high & _ROUND_MASK == _ROUND_MASK:  # the second word of the power may decide
        more, _ = product_1(word, _POWERS_OF_FIVE[row, 1])
        if low > ~more:  # their sum overflows
            low = low - ~more - _1
            high += _1
        else:
            low += more
    top = np.int64(high >> np.uint64(63))
    mantissa = high >> np.uint64(top + 9)  # 54 bits: one more than a double keeps
    # 217706 / 2^16 is log2(10): the binary exponent, biased by 1023
    power = ((217706 * exponent) >> 16) + 63 + top - (64 - n_bits) + 1023
    if power <= 0:  # subnormal
        if power <= -63:
            return 0.0
        mantissa >>= np.uint64(1 - power)
        mantissa = (mantissa + (mantissa & _1)) >> _1
        return float(np.uint64(mantissa).view(np.float64))  # carries into the exponent by itself
    is_tie = low <= _1 and -4 <= exponent <= 23 and mantissa & _3 == _1 and (mantissa << np.uint64(top + 9)) == high
    if is_tie:
        mantissa -= _1
    mantissa = (mantissa + (mantissa & _1)) >> _1
    bits = (np.uint64(power) << np.uint64(52)) + (mantissa - _HIDDEN)  # a carry goes into the exponent
    return float(np.uint64(min(bits, _INFINITE)).view(np.float64))


@kernel
def exact_1(text: NDArray[np.uint8], begin: int, end: int, exponent: int, low: float) -> float:
    """`low` or the next larger double: which is nearest to all the digits in text[begin:end] times 10^exponent.

    For numbers of more than 19 digits that lie too near to the middle of two doubles: compares large integers, which are
    multiplied up from 32-bit limbs, lowest first. Row 0 of `limbs` is the number, row 1 the middle.
    """
    bits = np.float64(low).view(np.uint64)
    mantissa = bits & _FRACTION
    power = max(int(np.int64(bits >> np.uint64(52))), 1) - 1076  # of the middle, whose integer is 2 * mantissa + 1
    if bits > _FRACTION:
        mantissa |= _HIDDEN
    limbs, size = np.zeros((2, 2048), dtype=np.uint64), np.zeros(2, dtype=np.int64)
    middle = (mantissa << _1) | _1
    limbs[1, 0], limbs[1, 1], size[1] = middle & _LOW_32, middle >> _32, 2
    n_digits = end - begin
    for step in range(n_digits + abs(exponent) + abs(power)):
        row, factor, carry = 0, _10, _0
        if step < n_digits:
            if text[begin + step] == 46:  # the point
                continue
            carry = np.uint64(np.int64(text[begin + step]) - 48)
        elif step < n_digits + abs(exponent):
            row = int(exponent < 0)
        else:
            row, factor = int(power > 0), np.uint64(2)
        for i in range(size[row]):
            carry += limbs[row, i] * factor
            limbs[row, i] = carry & _LOW_32
            carry >>= _32
        if carry > _0:
            limbs[row, size[row]] = carry
            size[row] += 1
    for i in range(max(size[0], size[1]) - 1, -1, -1):
        if limbs[0, i] != limbs[1, i]:
            return float(np.uint64(bits + _1).view(np.float64)) if limbs[0, i] > limbs[1, i] else low
    return float(np.uint64(bits + (mantissa & _1)).view(np.float64))


@kernel
def word_1(text: NDArray[np.uint8], at: int) -> tuple[float, int]:
    """nan, inf or infinity at `at`, in letters of any case: value and end, end -1 if it is none of them."""
    n = 0
    while 97 <= text[at + n] | 32 <= 122:
        n += 1
        if n > 8:
            return 0.0, -1
    a, b, c = text[at] | 32, text[at + 1] | 32, text[at + 2] | 32
    if n == 3 and a == 110 and b == 97 and c == 110:  # nan
        return np.nan, at + 3
    if (n == 3 or n == 8) and a == 105 and b == 110 and c == 102:  # noqa: PLR1714  inf
        rest = (105, 110, 105, 116, 121)
        for i in range(n - 3):
            if text[at + 3 + i] | 32 != rest[i]:
                return 0.0, -1
        return np.inf, at + n
    return 0.0, -1


@kernel
def any_decimal_1(text: NDArray[np.uint8], at: int) -> tuple[float, int]:
    """A number without its sign, however it is written: its value and where it ends, -1 if there is none."""
    i = at
    digits, n_digits, n_kept, exponent = _0, 0, 0, 0
    is_cut, has_point = False, False
    while True:
        digit = np.int64(text[i]) - 48
        if 0 <= digit <= 9:
            n_digits += 1
            if n_kept < 19:  # 19 digits fit into 64 bits
                digits = digits * _10 + np.uint64(digit)
                n_kept += int(digits > _0)
                exponent -= int(has_point)
            else:
                exponent += int(not has_point)
                is_cut |= digit > 0
        elif digit == -2 and not has_point:  # the point
            has_point = True
        else:
            break
        i += 1
    if n_digits == 0:
        if has_point:
            return 0.0, -1
        return word_1(text, at)
    end_of_digits = i
    if text[i] | 32 == 101:  # e
        i += 1
        sign = -1 if text[i] == 45 else 1
        i += int(text[i] == 45 or text[i] == 43)
        if not 48 <= text[i] <= 57:
            return 0.0, -1
        power = 0
        while 48 <= text[i] <= 57:
            if power < 100_000:
                power = 10 * power + np.int64(text[i]) - 48
            i += 1
        exponent += sign * power
    if i - at > LONGEST:
        return 0.0, -1
    value = nearest_1(digits, exponent)
    if is_cut and value != nearest_1(digits + _1, exponent):
        n_significant = 0
        for k in range(at, end_of_digits):
            n_significant += int(text[k] != 46 and (n_significant > 0 or text[k] != 48))
        value = exact_1(text, at, end_of_digits, exponent - (n_significant - 19), value)
    return value, i


@kernel
def numbers_1(
    text: NDArray[np.uint8], words: NDArray[np.uint64], start: int, n_integers: int, n_decimals: int, n_more: int,
    n_kept: int, integers: NDArray[np.int64], values: NDArray[np.float64],
) -> tuple[int, int]:  # fmt: skip
    """Read numbers with blanks before them, from `start` on: integers, then decimals, then more integers.

    Fills `integers`, and `values` with the first `n_kept` decimals: the others need only be numbers. Returns how many there
    were before the first word that is no such number, and where the last one ends. One loop without calls that take arrays:
    those cost as much as reading a number.
    """
    n = 0
    at = np.uint64(start)  # numba would look whether a signed position is negative, at every byte
    while n < n_integers + n_decimals + n_more:
        i = at
        while text[i] == 32 or text[i] == 9:
            i += _1
        if i == at:
            break
        is_negative = text[i] == 45
        i += np.uint64(is_negative or text[i] == 43)
        if n < n_integers or n >= n_integers + n_decimals:
            begin, number = i, 0
            digit = np.int64(text[i]) - 48
            while 0 <= digit <= 9:
                number = 10 * number + digit if number < _NEARLY_TOO_LARGE else number
                i += _1
                digit = np.int64(text[i]) - 48
            n_digits = np.int64(i - begin)
            if n_digits == 0 or text[i] > 32 or n_digits > LONGEST:
                break
            if n_digits > 18:
                number = TOO_LARGE
            integers[n if n < n_integers else n - n_decimals] = -number if is_negative else number
            n += 1
            at = i
            continue
        head, first, second, rest = words[i], words[i + _2], words[i + _10], words[i + _18]
        lead, sign = np.int64(head & _BYTE) - 48, (rest >> _8) & _BYTE
        tens, ones = np.int64((rest >> _16) & _BYTE) - 48, np.int64((rest >> _24) & _BYTE) - 48
        is_usual = (  # one digit, the point, sixteen digits, e, a sign, two digits
            0 <= lead <= 9
            and (head >> _8) & _BYTE == _POINT
            and (first & _HIGH_NIBBLES) == _ZEROS
            and (second & _HIGH_NIBBLES) == _ZEROS
            and ((first + _SIXES) & _HIGH_NIBBLES) == _ZEROS
            and ((second + _SIXES) & _HIGH_NIBBLES) == _ZEROS
            and (rest | _BLANK) & _BYTE == _E
            and (sign == _PLUS or sign == _MINUS)  # noqa: PLR1714, SIM109
            and 0 <= tens <= 9
            and 0 <= ones <= 9
            and (rest >> _32) & _BYTE <= _BLANK
        )
        power = 10 * tens + ones
        if is_usual and n >= n_integers + n_kept and power < _SURELY_SMALL:
            value, i = 0.0, i + _22
        elif is_usual:
            digits = (np.uint64(lead) * _1E8 + eight_1(first)) * _1E8 + eight_1(second)
            value = nearest_1(digits, (power if sign == _PLUS else -power) - 16)
            i += _22
        else:
            value, stop = any_decimal_1(text, np.int64(i))
            if stop < 0 or text[stop] > 32:
                break
            i = np.uint64(stop)
        values[n - n_integers] = -value if is_negative else value
        n += 1
        at = i
    return n, np.int64(at)


@kernel
def eight_1(word: np.uint64) -> np.uint64:
    """Value of eight digits, the first in the lowest byte."""
    word &= _NIBBLES
    word = (word * _10 + (word >> _8)) & _PAIRS
    word = (word * _100 + (word >> _16)) & _QUADS
    return (word * _10000 + (word >> _32)) & _LOW_32
