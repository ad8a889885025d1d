"""Numbers and names as people read them, the same wherever a report is shown."""

from __future__ import annotations

import math

from tunesmith.evaluate.metrics import find_metric, is_metric
from tunesmith.evaluate.system_table import SYSTEMS
from tunesmith.records import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def system_name(system: str) -> str:
    """The title of a system; an unknown one keeps its name, with spaces for underscores."""
    return SYSTEMS[system].title if system in SYSTEMS else system.replace("_", " ")


def metric_name(metric: str) -> str:
    """The title of a metric; an unknown one is its name, capitalized."""
    if is_metric(metric):
        return find_metric(metric).title
    plain = metric.replace("_", " ")
    return plain[:1].upper() + plain[1:]


def lower_is_better(metric: str) -> bool:
    """Whether a lower value is better, as the metric declares; False for unknown metrics."""
    return is_metric(metric) and not find_metric(metric).higher_is_better


def is_auxiliary(metric: str) -> bool:
    """Whether a metric is shown in the second table, apart from those of the task."""
    return is_metric(metric) and find_metric(metric).auxiliary


def in_sentence(name: str) -> str:
    """The title within a sentence: `base model`, but `ROUGE-L`, `F1` and `Pearson r`."""
    stays = not name[1:2].islower() or name.startswith(("Pearson", "Spearman", "Matthews"))
    return name if stays else name[0].lower() + name[1:]


def number(value: float | None, decimals: int = 3) -> str:
    """`0.812`; at most one decimal from 10, none from 1,000; a dash if missing or not finite."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    decimals = 0 if size >= 1000 else min(decimals, 1) if size >= 10 else decimals
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float | None, decimals: int = 3) -> str:
    """Like `number`, with a plus sign for positive values: `+0.244`; zero has no sign."""
    text = number(value, decimals)
    return text if text in (DASH, number(0, decimals)) or text.startswith(MINUS) else f"+{text}"


def interval(ci: tuple[float, float], plus: bool = False, note: str = "") -> str:
    """`[0.77, 0.85]`, with enough decimals to tell its two ends apart; `(no interval: only 5
    groups)` where there is none, with the note that says why.
    """
    low, high = ci
    if math.isnan(low) or math.isnan(high):
        return f"(no interval: {note})" if note else "(no interval)"
    decimals = 2 if high - low >= 0.03 or low == high else 3 if high - low >= 0.003 else 4
    show = signed if plus else number
    return f"[{show(low, decimals)}, {show(high, decimals)}]"


def estimate(value: Estimate) -> str:
    """`0.812 [0.77, 0.85]`, or `0.812 (no interval: only 5 groups)`."""
    return f"{number(value.mean)} {interval(value.ci, note=value.note)}"


def p_value(p: float) -> str:
    """`0.43`, `0.043`, `0.0043` or `< 0.001`."""
    if not math.isfinite(p):
        return DASH
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def percent(share: float) -> str:
    """A share from 0 to 1 with three significant digits: `95 %`."""
    return f"{100 * share:.3g} %"


def share(value: Estimate) -> str:
    """A share as a percentage with its interval: `3.4 % [1.7, 6.6]`."""
    low, high = value.ci
    ends = "(no interval)" if math.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * value.mean:.1f} % {ends}"


def duration(seconds: float) -> str:
    """`0.4 s`, `48 s`, `2 min 5 s`, `3 h 20 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def fact(key: str, value: object) -> tuple[str, str]:
    """A fact's name and value: `seconds` as a duration, `..._bytes` as MB or GB."""
    name = key.replace("_", " ")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key == "seconds":
            return "time", duration(value)
        if key.endswith("_bytes"):
            return name.removesuffix(" bytes"), size(value)
    return name, plain_value(value)


def size(num_bytes: float) -> str:
    """`710 MB`, or `1.20 GB` from 10^9 bytes."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def plain_value(value: object) -> str:
    """One value of the training facts or the versions; a list on one line."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", MINUS)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (list, tuple)):
        return "; ".join(map(plain_value, value)) or "none"
    return str(value)
