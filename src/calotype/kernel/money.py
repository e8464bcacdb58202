"""Money: whole micro-USD in plain integers, never a float on the way to the ledger."""

from decimal import Decimal, InvalidOperation

MICRO = 1_000_000
MAX_MICRO = 10**15
"""Largest single amount accepted anywhere (one thousand million USD): a bound, so that sums stay inside BIGINT."""


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide two integers and round up; the denominator is positive."""
    return -(-numerator // denominator)


def with_margin(cost_micro: int, margin_bps: int) -> int:
    """Add a margin in basis points to a cost, rounded up to one micro-USD."""
    return ceil_div(cost_micro * (10_000 + margin_bps), 10_000)


def usd(micro: int) -> str:
    """Write micro-USD for people, without losing a digit: 1_500_000 → `1.50 USD`, 33 → `0.000033 USD`."""
    sign = "-" if micro < 0 else ""
    whole, fraction = divmod(abs(micro), MICRO)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}{whole:,}.{digits} USD"


def parse_usd(text: str) -> int:
    """Read an amount of USD such as `1`, `0.25` or `1.000001` as micro-USD.

    Raises:
        ValueError: not a plain decimal number, finer than one micro-USD, or beyond `MAX_MICRO`.

    """
    try:
        micro = Decimal(text.strip()) * MICRO
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount: write a decimal number of USD such as 1 or 0.25") from None
    if not micro.is_finite() or abs(micro) > MAX_MICRO:
        raise ValueError(f"{text!r} is out of range: at most {usd(MAX_MICRO)}")
    if micro != micro.to_integral_value():
        raise ValueError(f"{text!r} is finer than one micro-USD (six digits after the point)")
    return int(micro)
