"""How columns of texts write numbers: learned from their cells, and used for numbers that a model predicts.

A format is a short pattern that a file can hold:

- `0.00` writes two decimals, `0.0##` one to four, without zeros at the end; `000` writes three digits at least, and
  `+0.0` a plus before positive numbers. `.00` writes no zero before the point.
- `0.0#@3` writes three significant digits at most, of a number that would otherwise be 0 as many decimals as it needs.
- `0.0#e-00` is scientific notation with two digits of the exponent at least, `0.0#E+0` with a capital and a plus before
  positive exponents. `0.0##|0.0#e-00<-5>16` writes numbers so whose power of ten is at most -5 or at least 16.
- `=0.0` at the end is how 0 is written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["NUMBER", "NumberFormat"]

NUMBER = re.compile(r"([+-]?)(?=\.?\d)(\d*)(\.?)(\d*)(?:([eE])([+-]?)(\d+))?")
PLAIN = (-4, 16)
"""Powers of ten from which, and below which, Python writes numbers plainly: where a column leaves it open."""
EXACT = 17
"""Significant digits that tell any two floats apart."""
MOST = 400
"""Digits that a format may ask for: a float has no more than 324 decimals before its first digit."""


class Decimals(NamedTuple):
    """Digits around the point."""

    plus: bool
    """Whether positive numbers have a plus."""
    width: int
    """Digits before the point, at least; 0 where a number below 1 has none."""
    point: bool
    """Whether a point stands behind whole numbers."""
    least: int
    """Decimals, at least."""
    most: int
    """Decimals, at most; zeros at the end are left out down to the least."""

    def __str__(self) -> str:
        point = "." if self.most or self.point else ""
        return f"{'+' * self.plus}{'0' * self.width}{point}{'0' * self.least}{'#' * (self.most - self.least)}"

    def write(self, digits: str) -> str:
        """Digits without a sign, such as "12.3400", with zeros at the end and at the beginning as they should be."""
        whole, _, decimals = digits.partition(".")
        decimals = decimals[: self.least] + decimals[self.least :].rstrip("0")
        whole = whole.zfill(self.width) if self.width else whole.lstrip("0")
        return f"{whole}{'.' if decimals or self.point else ''}{decimals}" or "0"


class Exponent(NamedTuple):
    """Behind the mantissa of scientific notation."""

    letter: str
    """e or E."""
    plus: bool
    """Whether positive exponents have a plus."""
    width: int
    """Digits, at least."""
    below: int | None = None
    """Numbers of at most this power of ten are written so; of all powers where both are None."""
    above: int | None = None
    """Numbers of at least this power of ten are written so."""

    def __str__(self) -> str:
        below = "" if self.below is None else f"<{self.below}"
        above = "" if self.above is None else f">{self.above}"
        return f"{self.letter}{'+' if self.plus else '-'}{'0' * self.width}{below}{above}"

    def write(self, power: int) -> str:
        """The exponent of a number."""
        sign = "-" if power < 0 else "+" if self.plus else ""
        return f"{self.letter}{sign}{abs(power):0{self.width}}"


class NumberFormat(NamedTuple):
    """How a column writes numbers.

    Example:
        >>> NumberFormat.learn(["4.63e-08", "1.76e-06", "1.5e-07"]).write(4.1234e-7)
        '4.12e-07'
        >>> NumberFormat.learn(["007", "010", "120"]).write(9.7), NumberFormat.learn(["5.25", "8.10"]).write(7.3)
        ('010', '7.30')
        >>> str(NumberFormat.learn(["5.25", "8.1", "20"])), NumberFormat.parse("0.##").write(7.301)
        ('0.##', '7.3')
    """

    fixed: Decimals | None
    """None where all numbers are in scientific notation."""
    mantissa: Decimals | None = None
    exponent: Exponent | None = None
    digits: int | None = None
    """Significant digits of small numbers, at most."""
    zero: str = ""
    """How 0 is written, where not as other numbers are."""

    def __str__(self) -> str:
        scientific = "" if self.exponent is None else f"{self.mantissa}{self.exponent}"
        digits = "" if self.digits is None else f"@{self.digits}"
        parts = [str(self.fixed)] * (self.fixed is not None) + [scientific] * (self.exponent is not None)
        return "|".join(parts) + digits + (f"={self.zero}" if self.zero else "")

    @classmethod
    def parse(cls, pattern: str) -> NumberFormat:
        """The format of a pattern.

        Raises:
            ValueError: It is none.
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
        """The format of a column's cells; None where none of them is a number, and other texts are not looked at."""
        found = [match.groups("") for text in texts if (match := NUMBER.fullmatch(text.strip()))]
        numbers = [parts for parts in found if (parts[1] + parts[3]).strip("0")]
        zeros = Counter("".join(parts) for parts in found if not (parts[1] + parts[3]).strip("0"))
        plain = [parts for parts in numbers if not parts[4]]
        scientific = [parts for parts in numbers if parts[4]]
        if not (plain or scientific):
            if not zeros:
                return None
            plain, zeros = found, Counter()
        elif plain and not scientific:  # a 0 among them is written as they are
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
        """A number as the column writes it."""
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
        """Whether a column of the other format could be one of this format, of which fewer cells are known."""
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
        """Decimals to which a number is rounded."""
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
    """The digits of numbers in parts: sign, digits, point, decimals."""
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
    """The exponent of numbers in parts; where other numbers of these powers of ten are plain, also of which it is."""
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
    """The power of ten of a number in scientific notation."""
    return int(f"{float(''.join(parts)):e}".partition("e")[2])
