"""Tells how the numbers of a column are written: decimal mark, thousands, what stands around."""

import re
from collections import Counter
from typing import NamedTuple

from tools.describe.census import Kind

MOST_ODD = 0.05  # share of a column's values that are no numbers, while the others are
MOST_ODD_KINDS = 20
FEWEST = 10  # values, of which one may be odd
LONGEST_UNIT = 12  # letters of a word behind every number
NUMBER = re.compile(
    r"(?P<before>[^09]*?)(?P<sign>[-+]?)(?P<digits>[.,]?[09][09.,'’\s_]*(?:[eE][-+]?9+)?)(?P<after>\D*)"
)
CURRENCIES = frozenset(
    "€ $ £ ¥ ₹ ₽ ₩ zł Kč kr Fr. Rs Rs. R$ US$ USD EUR GBP CHF JPY INR AUD CAD CNY SEK NOK DKK "
    "PLN BRL".split()
)
UNITS = frozenset(
    "% ‰ ° °C °F mm cm dm km kg mg g lb lbs oz l ml cl kW kWh W Wh V A Hz kHz MHz GHz ms s sec min "
    "h hrs hours hour days day d yrs years year m² km² sqft ft in mph km/h kmh mi miles bar hPa Pa "
    "kcal kJ cal dB bpm px MB GB KB TB ppm pts stars x cc hp bhp kmpl mpg rpm Nm persons people "
    "rooms".split()
)
# What multiplies: 5k and 300 in one column are numbers, but not by taking the k away.
FACTORS = {
    "k",
    "K",
    "M",
    "B",
    "bn",
    "Bn",
    "mn",
    "mio",
    "Mio",
    "Mrd",
    "T",
    "m",
    "million",
    "billion",
}
# The order in which readings are preferred that fit as many values: decimal mark, thousands.
READINGS: tuple[tuple[str, str | None], ...] = (
    (".", None), (",", None), (".", ","), (",", "."), (".", "'"), (".", "’"), (".", " "),
    (",", " "), (".", "\u00a0"), (",", "\u00a0"), (".", "\u202f"), (",", "\u202f"), (".", "_"),
)  # fmt: skip


class Numbers(NamedTuple):
    """How a column's numbers are written; `odd` are the values that are none.

    `other` is a second reading that fits as well, and gives other numbers: (decimal, thousands).
    """

    decimal: str
    thousands: str | None
    around: list[str]
    whole: bool
    n_numbers: int
    odd: list[Kind]
    other: tuple[str, str | None] | None = None


def read(shapes: dict[str, Kind], usual: str | None, most_odd: float = MOST_ODD) -> Numbers | None:
    """Return how the values are written as numbers; None where too few of them are numbers.

    `usual` is the decimal mark of the file, which decides where two readings fit; None: unknown.
    """
    total = sum(kind.times for kind in shapes.values())
    parsed = {shape: found for shape in shapes if (found := NUMBER.fullmatch(shape))}
    around = _around(shapes, parsed)
    cores = {
        shape: found["digits"].rstrip()
        for shape, found in parsed.items()
        if set(_words(found)) <= set(around)
    }
    fits: dict[tuple[str, str | None], set[str]] = {
        reading: {shape for shape, core in cores.items() if _fits(core, *reading)}
        for reading in READINGS
    }
    counts = {
        reading: sum(shapes[shape].times for shape in fitting) for reading, fitting in fits.items()
    }
    most = max(counts.values(), default=0)
    if not most:
        return None
    best = [reading for reading in READINGS if counts[reading] == most]
    chosen = min(best, key=lambda way: (bool(usual) and way[0] != usual, way[1] is not None))
    odd = [kind for shape, kind in shapes.items() if shape not in fits[chosen]]
    n_odd = total - most
    few = n_odd <= most_odd * total or (n_odd == 1 and total >= FEWEST)
    if not few or (most_odd == MOST_ODD and len(odd) > MOST_ODD_KINDS):
        return None
    other = _other(best, chosen, [cores[shape] for shape in fits[chosen]])
    decimal, thousands = chosen
    if thousands and not any(thousands in cores[shape] for shape in fits[chosen]):
        thousands = None
    whole = not any(_has_fraction(cores[shape], decimal) for shape in fits[chosen])
    return Numbers(decimal, thousands, around, whole, most, odd, other)


def _words(found: re.Match) -> list[str]:
    """Return what stands before a number and behind it; a sign before a currency is none of it."""
    before, after = found["before"].strip(), found["after"].strip()
    if before.strip("-+ ") in CURRENCIES:
        before = before.strip("-+ ")
    return [word for word in (before, after) if word]


def _around(shapes: dict[str, Kind], parsed: dict[str, re.Match]) -> list[str]:
    """Return the texts around the numbers that are no part of them: one unit, one currency.

    Two units, or a per cent sign beside bare numbers, are two scales: none is taken away. A single
    letter behind a digit (7A) is a unit only where every value has it.
    """
    counts: Counter[str] = Counter()
    places: dict[str, set[str]] = {}
    n_bare = 0
    for shape, found in parsed.items():
        words = _words(found)
        n_bare += 0 if words else shapes[shape].times
        before, behind = found["before"].strip("-+ "), found["after"]
        for word in words:
            counts[word] += shapes[shape].times
            blank = found["digits"][-1:].isspace() or behind[:1].isspace()
            place = "before" if word == before else "apart" if blank else "glued"
            places.setdefault(word, set()).add(place)
    n_values = sum(kind.times for kind in shapes.values())
    money, units = [], []
    for word, count in counts.items():
        everywhere = count >= (1 - MOST_ODD) * n_values
        if word in CURRENCIES:
            money.append(word)
        elif word in FACTORS or "before" in places[word] or (word in "%‰" and n_bare > count):
            continue
        elif word in UNITS and (everywhere or len(word) > 1 or "glued" not in places[word]):
            units.append(word)
        elif everywhere and word.isalpha() and len(word) <= LONGEST_UNIT:
            units.append(word)
    return [word for group in (money, units) if len(group) == 1 for word in group]


def _fits(core: str, decimal: str, thousands: str | None) -> bool:
    mark, exponent = re.escape(decimal), r"([eE][-+]?9+)?"
    if thousands is None:
        return bool(re.fullmatch(rf"((0|9+){mark}?9*|{mark}9+){exponent}", core))
    between = re.escape(thousands)
    return bool(re.fullmatch(rf"9{{1,4}}|(9{{1,3}}({between}9{{3}})+|0|9{{1,3}})({mark}9+)?", core))


def _has_fraction(core: str, decimal: str) -> bool:
    return decimal in core or "e" in core.lower()


def _other(
    best: list[tuple[str, str | None]], chosen: tuple[str, str | None], cores: list[str]
) -> tuple[str, str | None] | None:
    """Return the reading that takes the decimal mark of `chosen` for one between thousands.

    There is none where a number has another form than 1.234 or 234, such as 0.234.
    """
    decimal, thousands = chosen
    if thousands is not None or not any(decimal in core for core in cores) or "9999" in cores:
        return None
    return next((other for other in best if other[1] == decimal), None)
