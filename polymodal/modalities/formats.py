"""Number formats of columns of texts: learned from their cells, and used to write predicted numbers.

A format is a short pattern that can be stored in a file:

- `0.00` writes two decimals, and `0.0##` one to three, without trailing zeros. `000` writes at least three digits, and
  `+0.0` a plus before positive numbers. `.00` writes no zero before the decimal point.
- `0.0#@3` drops decimals beyond three significant digits, but keeps the minimum number of decimals. A number that would
  be rounded to 0 gets as many decimals as three significant digits need.
- `0.0#e-00` is scientific notation with at least two digits in the exponent; `0.0#E+0` has a capital E and a plus
  before positive exponents. `0.0##|0.0#e-00<-5>16` uses scientific notation for numbers whose power of ten is at most
  -5 or at least 16.
- `=0.0` at the end gives the text for 0.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["NUMBER", "NumberFormat"]

NUMBER = re.compile(r"([+-]?)(?=\.?\d)(\d*)(\.?)(\d*)(?:([eE])([+-]?)(\d+))?")
PLAIN = (-4, 16)
"""Range of the powers of ten, without its end, that Python writes without an exponent.

It is the default where the column's cells leave the limits open.
"""
EXACT = 17
"""Number of significant digits that distinguish any two floats."""
MOST = 400
"""Maximum length of a pattern. Floats have no more than 324 decimals before their first significant digit."""


class Decimals(NamedTuple):
    """Format of the digits before and after the decimal point."""

    plus: bool
    """Whether positive numbers have a plus sign."""
    width: int
    """Minimum number of digits before the point; 0 if numbers below 1 have none."""
    point: bool
    """Whether integers end with a point."""
    least: int
    """Minimum number of decimals."""
    most: int
    """Maximum number of decimals; trailing zeros are removed down to `least`."""

    def __str__(self) -> str:
        point = "." if self.most or self.point else ""
        return f"{'+' * self.plus}{'0' * self.width}{point}{'0' * self.least}{'#' * (self.most - self.least)}"

    def write(self, digits: str) -> str:
        """Adjusts the leading and trailing zeros of a number without a sign, such as "12.3400"."""
        whole, _, decimals = digits.partition(".")
        decimals = decimals[: self.least] + decimals[self.least :].rstrip("0")
        whole = whole.zfill(self.width) if self.width else whole.lstrip("0")
        return f"{whole}{'.' if decimals or self.point else ''}{decimals}" or "0"


class Exponent(NamedTuple):
    """Format of the exponent in scientific notation.

    If `NumberFormat.fixed` is None, all numbers use scientific notation and both limits are None.
    """

    letter: str
    """Letter before the exponent: e or E."""
    plus: bool
    """Whether positive exponents have a plus sign."""
    width: int
    """Minimum number of digits."""
    below: int | None = None
    """Largest power of ten of small numbers in scientific notation; None if small numbers never use it."""
    above: int | None = None
    """Smallest power of ten of large numbers in scientific notation; None if large numbers never use it."""

    def __str__(self) -> str:
        below = "" if self.below is None else f"<{self.below}"
        above = "" if self.above is None else f">{self.above}"
        return f"{self.letter}{'+' if self.plus else '-'}{'0' * self.width}{below}{above}"

    def write(self, power: int) -> str:
        """Writes the exponent of a number."""
        sign = "-" if power < 0 else "+" if self.plus else ""
        return f"{self.letter}{sign}{abs(power):0{self.width}}"


class NumberFormat(NamedTuple):
    """The format in which a column writes numbers.

    Example:
        >>> NumberFormat.learn(["4.63e-08", "1.76e-06", "1.5e-07"]).write(4.1234e-7)
        '4.12e-07'
        >>> NumberFormat.learn(["007", "010", "120"]).write(9.7), NumberFormat.learn(["5.25", "8.10"]).write(7.3)
        ('010', '7.30')
        >>> str(NumberFormat.learn(["5.25", "8.1", "20"])), NumberFormat.parse("0.##").write(7.301)
        ('0.##', '7.3')
    """

    fixed: Decimals | None
    """Format of numbers without an exponent; None if all numbers are in scientific notation."""
    mantissa: Decimals | None = None
    """Format of the mantissa in scientific notation."""
    exponent: Exponent | None = None
    """Format of the exponent in scientific notation."""
    digits: int | None = None
    """Maximum number of significant digits of small numbers without an exponent; None if it is not limited."""
    zero: str = ""
    """Text for 0, if it is not written like other numbers."""

    def __str__(self) -> str:
        scientific = "" if self.exponent is None else f"{self.mantissa}{self.exponent}"
        digits = "" if self.digits is None else f"@{self.digits}"
        parts = [str(self.fixed)] * (self.fixed is not None) + [scientific] * (self.exponent is not None)
        return "|".join(parts) + digits + (f"={self.zero}" if self.zero else "")

    @classmethod
    def parse(cls, pattern: str) -> NumberFormat:
        """Parses the pattern of a format.

        Raises:
            ValueError: The pattern is not valid.
        """
        decimals = r"(\+?)(0*)(\.?)(0*)(#*)"
        scientific = rf"{decimals}([eE])([+-])(0+)(?:<(-?\d{{1,3}}))?(?:>(-?\d{{1,3}}))?"
        rest = r"(?:@(\d{1,3}))?(?:=([-+.\deE]{1,20}))?"
        for shape in (rf"{decimals}()(){rest}", rf"(){scientific}{rest}", rf"{decimals}\|{scientific}{rest}"):
            if len(pattern) <= MOST and (match := re.fullmatch(shape, pattern)):
                break
        else:
            raise ValueError(f"a number's format must be a pattern such as 0.00, 000 or 0.0#e-00; got {pattern[:40]!r}")
        parts = list(match.groups())
        zero, digits = parts.pop() or "", parts.pop()
        many = None if digits is None else max(1, int(digits))
        if len(parts) == 7:
            return cls(_decimals(parts[:5]), digits=many, zero=zero)
        fixed = None if len(parts) == 11 else _decimals(parts[:5])
        letter, plus, width, below, above = parts[-5:]
        exponent = Exponent(letter, plus == "+", len(width), *(None if x is None else int(x) for x in (below, above)))
        return cls(fixed, _decimals(parts[-10:-5]), exponent, many, zero)

    @classmethod
    def learn(cls, texts: Iterable[str]) -> NumberFormat | None:
        """Learns the format from those of a column's cells that are numbers; returns None if there are none."""
        found = [match.groups("") for text in texts if (match := NUMBER.fullmatch(text.strip()))]
        numbers = [parts for parts in found if (parts[1] + parts[3]).strip("0")]
        zeros = Counter("".join(parts) for parts in found if not (parts[1] + parts[3]).strip("0"))
        plain = [parts for parts in numbers if not parts[4]]
        scientific = [parts for parts in numbers if parts[4]]
        if not (plain or scientific):
            if not zeros:
                return None
            plain, zeros = found, Counter()
        elif plain and not scientific:  # zeros are written like the other numbers
            plain, zeros = [parts for parts in found if not parts[4]], Counter()
        digits = max((len((parts[1] + parts[3]).strip("0")) for parts in numbers), default=1)
        fixed = _learn_decimals(plain) if plain else None
        small = fixed is not None and fixed.least < fixed.most and (digits < fixed.most or bool(scientific))
        if fixed is not None and small:
            fixed = fixed._replace(least=min(1, fixed.least))
        kept = digits if small else None
        if not scientific:
            return cls(fixed, digits=kept)
        exponent = _learn_exponent(scientific, [*map(_power, plain)])
        zero = max(zeros, key=lambda text: zeros[text]) if zeros else ""
        return cls(fixed, _learn_decimals(scientific), exponent, kept, zero)

    def write(self, number: float) -> str:
        """Writes a number in this format."""
        if number == 0 and self.zero:
            return self.zero
        size = abs(number)
        power = int(f"{size:e}".partition("e")[2])
        shape = self.mantissa if self._scientific(power) else self.fixed
        if shape is self.mantissa and self.mantissa is not None and self.exponent is not None:
            mantissa, _, exponent = f"{size:.{self.mantissa.most}e}".partition("e")
            text = self.mantissa.write(mantissa) + self.exponent.write(int(exponent))
        else:
            assert self.fixed is not None
            shape, text = self.fixed, self.fixed.write(f"{size:.{self._places(size, power)}f}")
        negative = number < 0 and text.strip("0.") != ""
        return f"{'-' if negative else '+' if shape is not None and shape.plus else ''}{text}"

    def covers(self, other: NumberFormat) -> bool:
        """Checks whether the other format may have been learned from a few cells of a column of this format."""
        pairs = [(self.fixed, other.fixed), (self.mantissa, other.mantissa)]
        return other.exponent in (None, self.exponent) and all(
            theirs is None
            or (
                ours is not None
                and (ours.plus, ours.width) == (theirs.plus, theirs.width)
                and ours.least <= theirs.least <= theirs.most <= ours.most
            )
            for ours, theirs in pairs
        )

    def _scientific(self, power: int) -> bool:
        if self.exponent is None or self.fixed is None:
            return self.fixed is None
        below, above = self.exponent.below, self.exponent.above
        return (below is not None and power <= below) or (above is not None and power >= above)

    def _places(self, size: float, power: int) -> int:
        """Returns the number of decimals to which a number is rounded."""
        assert self.fixed is not None
        if not size:
            return self.fixed.most
        if self.digits is None:
            return max(self.fixed.least, min(self.fixed.most, EXACT - 1 - power))
        places = min(self.fixed.most, max(self.fixed.least, self.digits - 1 - power))
        return places if float(f"{size:.{places}f}") else self.digits - 1 - power


def _decimals(parts: list[str]) -> Decimals:
    plus, whole, point, least, more = parts
    return Decimals(bool(plus), len(whole), bool(point and not (least or more)), len(least), len(least + more))


def _learn_decimals(numbers: list[tuple[str, ...]]) -> Decimals:
    """Learns the digit format of numbers that are split into sign, digits, point and decimals."""
    decimals = [parts[3] for parts in numbers]
    least, most = min(map(len, decimals)), max(map(len, decimals))
    if any(len(text) > least and text.endswith("0") for text in decimals):
        least = most
    led = [len(parts[1]) for parts in numbers if len(parts[1]) > 1 and parts[1].startswith("0")]
    small = [parts[1] for parts in numbers if not parts[1].strip("0") and parts[3]]
    width = max(led) if led else 0 if small and not any(small) else 1
    point = most == 0 and all(parts[2] for parts in numbers)
    return Decimals(any(parts[0] == "+" for parts in numbers), width, point, least, most)


def _learn_exponent(numbers: list[tuple[str, ...]], plain: list[int]) -> Exponent:
    """Learns the exponent format, and its limits if numbers with the powers of ten in `plain` have no exponent."""
    letter = Counter(parts[4] for parts in numbers).most_common(1)[0][0]
    positive = [parts for parts in numbers if parts[5] != "-"]
    plus = any(parts[5] for parts in positive) if positive else True
    width = min(len(parts[6]) for parts in numbers)
    if not plain:
        return Exponent(letter, plus, width)
    powers = [*map(_power, numbers)]
    below = max((power for power in powers if power < 0), default=None)
    above = min((power for power in powers if power >= 0), default=None)
    below = below if below is None else min(max(below, PLAIN[0] - 1), min(plain) - 1)
    above = above if above is None else max(min(above, PLAIN[1]), max(plain) + 1)
    return Exponent(letter, plus, width, below, above)


def _power(parts: tuple[str, ...]) -> int:
    """Returns the power of ten of a number in scientific notation."""
    return int(f"{float(''.join(parts)):e}".partition("e")[2])
