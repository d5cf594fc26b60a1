"""Reading a word as a number, in every script that the published numeric match reads.

A *numeric word* holds nothing but characters that Unicode calls numeric, and dots. It is read
twice over: the plain reading takes a leading decimal number, one vulgar fraction and a
superscript exponent; where it fails, the wide reading takes Chinese numerals, digits such as
circled ones, and single characters such as roman numerals. Both give the value twice, as the
float that the published code makes and as an exact fraction.

Source: docs/protocol.md, "Numeric match, published"; golden rows of gsm8k and aime2025.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction

_PLAIN_FRACTIONS = frozenset("½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅐⅛⅜⅝⅞⅑⅒")
_SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
_TO_ASCII = str.maketrans(_SUPERSCRIPTS, "0123456789")
_LEADING_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_TRAILING_EXPONENT = re.compile(rf"(?<=.)[{_SUPERSCRIPTS}]+\Z", re.DOTALL)

_LONGEST_EXACT = 400
"""Characters of a number, and bits of a power's exponent times base, that are kept exactly."""

_CHINESE_DIGITS = {
    **{"零": 0, "〇": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7},
    **{"八": 8, "九": 9, "壹": 1, "贰": 2, "貳": 2, "叁": 3, "參": 3, "肆": 4, "伍": 5},
    **{"陆": 6, "陸": 6, "柒": 7, "捌": 8, "玖": 9, "两": 2, "兩": 2, "幺": 1},
}
_CHINESE_TENS = {"廿": 20, "卅": 30, "卌": 40}
_CHINESE_UNITS = {"十": 10, "拾": 10, "百": 100, "佰": 100, "千": 1000, "仟": 1000}
_CHINESE_MYRIADS = {"万": 10**4, "萬": 10**4, "亿": 10**8, "億": 10**8, "兆": 10**12}
_CHINESE_WITH_UNITS = {*_CHINESE_TENS, *_CHINESE_UNITS, *_CHINESE_MYRIADS}
_CHINESE = {*_CHINESE_DIGITS, *_CHINESE_WITH_UNITS}


class UnreadableNumberError(ValueError):
    """A numeric word that cannot be read; the published scorer dies of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that was read from a word.

    Attributes:
        value: As a float, in the way the published code computes it; may be infinite.
        exact: As an exact fraction, or None when that is too long to be kept.
    """

    value: float
    exact: Fraction | None


def is_numeric_word(word: str) -> bool:
    """Return True when the word is numeric by Unicode once its dots are taken away."""
    return word.replace(".", "").isnumeric()


def read_number(word: str) -> Number:
    """Return the number that a numeric word stands for.

    Raises:
        UnreadableNumberError: If neither reading makes sense of it, or a power is too large.
    """
    try:
        number, exponent = _plain_reading(word)
    except UnreadableNumberError:
        number, exponent = _wide_reading(word)
    return number if exponent is None else _power(number, exponent)


def _plain_reading(word: str) -> tuple[Number, int | None]:
    """Read ``leading number, vulgar fraction, superscript exponent``, all of them optional."""
    start = next((i for i, char in enumerate(word) if char in _SUPERSCRIPTS), len(word))
    head, tail = word[:start], word[start:]
    fractions = [char for char in head if char in _PLAIN_FRACTIONS]
    if len(fractions) > 1:
        raise UnreadableNumberError(f"more than one fraction in {word!r}")
    base = "".join(char for char in head if char not in _PLAIN_FRACTIONS)
    number = _leading_number(base) if base else None
    if fractions:
        number = _plus(number, unicodedata.numeric(fractions[0]))
    # A word that starts with its exponent is a power of one.
    number = number or Number(value=1.0, exact=Fraction(1))
    return number, _integer(tail.translate(_TO_ASCII)) if tail else None


def _leading_number(text: str) -> Number:
    match = _LEADING_NUMBER.match(text)
    if match is None:
        raise UnreadableNumberError(f"{text!r} does not start with a number")
    return _decimal(match.group())


def _decimal(digits: str) -> Number:
    """Read decimal digits of any script with at most one dot."""
    exact = Fraction(digits) if len(digits) <= _LONGEST_EXACT else None
    return Number(value=float(digits), exact=exact)


def _plus(number: Number | None, fraction: float) -> Number:
    exact_fraction = Fraction(fraction).limit_denominator(1000)
    if number is None:
        return Number(value=fraction, exact=exact_fraction)
    exact = None if number.exact is None else number.exact + exact_fraction
    return Number(value=number.value + fraction, exact=exact)


def _power(number: Number, exponent: int) -> Number:
    try:
        value = number.value**exponent
    except OverflowError as error:
        raise UnreadableNumberError("a power that no float can hold") from error
    exact = None
    if number.exact is not None and exponent * _bits(number.exact) <= 8 * _LONGEST_EXACT:
        exact = number.exact**exponent
    return Number(value=value, exact=exact)


def _bits(fraction: Fraction) -> int:
    return max(fraction.numerator.bit_length(), fraction.denominator.bit_length())


def _integer(digits: str) -> int:
    try:
        return int(digits)
    except ValueError as error:
        raise UnreadableNumberError(f"{digits[:20]!r} is no whole number") from error


def _wide_reading(word: str) -> tuple[Number, int | None]:
    """Read single characters, Chinese numerals and digits of every kind."""
    if len(word) == 1:
        return _plus(None, unicodedata.numeric(word)), None
    exponent = _TRAILING_EXPONENT.search(word)
    base = word if exponent is None else word[: exponent.start()]
    power = None if exponent is None else _integer(exponent.group().translate(_TO_ASCII))
    fractions = [i for i, char in enumerate(base) if 0 < unicodedata.numeric(char, 0.0) < 1]
    if not fractions:
        return _wide_whole(base), power
    if fractions != [len(base) - 1]:
        raise UnreadableNumberError(f"a fraction inside {word!r}")
    head = _wide_whole(base[:-1]) if len(base) > 1 else None
    return _plus(head, unicodedata.numeric(base[-1])), power


def _wide_whole(text: str) -> Number:
    if any(char in _CHINESE for char in text):
        number = _chinese_number(text)
        if number is not None:
            return number
    digits = _ascii_digits(text, also=".")
    if digits is not None and digits.count(".") <= 1 and digits != ".":
        return _decimal(digits)
    if len(text) == 1 and text.isnumeric():
        return _plus(None, unicodedata.numeric(text))
    raise UnreadableNumberError(f"{text!r} is no number")


def _chinese_number(text: str) -> Number | None:
    whole_text, _, decimals_text = text.partition(".")
    decimals = _ascii_digits(decimals_text)
    whole = _chinese_whole(whole_text)
    if whole is None or decimals is None:
        return None
    try:
        value = float(whole) + _summed_decimals(decimals)
    except OverflowError as error:
        raise UnreadableNumberError("a number that no float can hold") from error
    if len(text) > _LONGEST_EXACT:
        return Number(value=value, exact=None)
    return Number(value=value, exact=Fraction(whole) + Fraction(f"0.{decimals or 0}"))


def _summed_decimals(digits: str) -> float:
    """Add decimals one by one, as the published code does, rounding errors included."""
    total, place = 0.0, 0.1
    for digit in digits:
        total += int(digit) * place
        place /= 10.0
    return total


def _chinese_whole(text: str) -> int | None:
    if any(char in _CHINESE_WITH_UNITS for char in text):
        return _chinese_sum(text)
    digits = _ascii_digits(text)
    return None if digits is None else _integer(digits or "0")


def _chinese_sum(text: str) -> int | None:
    """Add up a numeral that is written with units: digit, ten, hundred, thousand, myriad."""
    total = section = digit = 0
    for char in text:
        if char in _CHINESE_TENS:
            section += _CHINESE_TENS[char]
        elif char in _CHINESE_UNITS:
            section += (digit or 1) * _CHINESE_UNITS[char]
            digit = 0
        elif char in _CHINESE_MYRIADS:
            total += (section + digit) * _CHINESE_MYRIADS[char]
            section = digit = 0
        elif char not in "零〇":
            read = _ascii_digits(char)
            if read is None:
                return None
            digit = int(read)
    return total + section + digit


def _ascii_digits(text: str, also: str = "") -> str | None:
    """Write digits of every kind in ASCII; None when a character is neither digit nor in also."""
    written = [char if char in also else _ascii_digit(char) for char in text]
    return None if None in written else "".join(char for char in written if char is not None)


def _ascii_digit(char: str) -> str | None:
    digit = unicodedata.digit(char, None)
    if digit is None:
        digit = _CHINESE_DIGITS.get(char)
    return None if digit is None else str(digit)
