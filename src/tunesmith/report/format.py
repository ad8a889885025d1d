"""Numbers and names as people read them: the same everywhere a report is shown."""

from __future__ import annotations

import math
from typing import Any

from tunesmith.evaluate.metrics import find_metric, is_metric
from tunesmith.evaluate.system_table import SYSTEMS
from tunesmith.records import Estimate

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"


def system_name(system: str) -> str:
    """The title of a system; of an unknown one, its name in words."""
    return SYSTEMS[system].title if system in SYSTEMS else system.replace("_", " ")


def metric_name(metric: str) -> str:
    """The title of a metric; of an unknown one, its name in words."""
    if is_metric(metric):
        return find_metric(metric).title
    plain = metric.replace("_", " ")
    return plain[:1].upper() + plain[1:]


def lower_is_better(metric: str) -> bool:
    """As the metric itself says; what is no metric of answers is better when higher."""
    return is_metric(metric) and not find_metric(metric).higher_is_better


def is_auxiliary(metric: str) -> bool:
    """Whether a metric is shown in the second table, apart from those of the task."""
    return is_metric(metric) and find_metric(metric).auxiliary


def in_sentence(name: str) -> str:
    """A title inside a sentence: `base model`, but `ROUGE-L`, `F1` and `Pearson r`."""
    stays = not name[1:2].islower() or name.startswith(("Pearson", "Spearman", "Matthews"))
    return name if stays else name[0].lower() + name[1:]


def number(value: float | None, decimals: int = 3) -> str:
    """`0.812`, from 10 on one decimal, from 1,000 on none; a dash where there is no number."""
    if value is None or not math.isfinite(value):
        return DASH
    size = abs(value)
    decimals = 0 if size >= 1000 else min(decimals, 1) if size >= 10 else decimals
    text = f"{value:,.{decimals}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def signed(value: float | None, decimals: int = 3) -> str:
    """A difference: `+0.041`, `−0.041`; zero has no sign."""
    text = number(value, decimals)
    return text if text in (DASH, number(0, decimals)) or text.startswith(MINUS) else f"+{text}"


def interval(ci: tuple[float, float], plus: bool = False) -> str:
    """`[0.77, 0.85]`, with as many decimals as tell its two ends apart."""
    low, high = ci
    decimals = 2 if high - low >= 0.03 or low == high else 3 if high - low >= 0.003 else 4
    show = signed if plus else number
    return f"[{show(low, decimals)}, {show(high, decimals)}]"


def estimate(value: Estimate) -> str:
    """`0.812 [0.77, 0.85]`."""
    return f"{number(value.mean)} {interval(value.ci)}"


def p_value(p: float) -> str:
    """`< 0.001`, `0.0075`, `0.039`, `0.40`: two significant digits or more."""
    if not math.isfinite(p):
        return DASH
    if p < 0.001:
        return "< 0.001"
    return f"{p:.4f}" if p < 0.01 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def percent(share: float) -> str:
    """A share of 1 in percent, three significant digits: `95 %`."""
    return f"{100 * share:.3g} %"


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


def fact(key: str, value: Any) -> tuple[str, str]:
    """A fact's name and value: `seconds` as a duration, `..._bytes` as MB or GB, else as it is."""
    name = key.replace("_", " ")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if key == "seconds":
            return "time", duration(value)
        if key.endswith("_bytes"):
            return name.removesuffix(" bytes"), size(value)
    return name, plain_value(value)


def size(num_bytes: float) -> str:
    """`340 MB`, `1.24 GB`; powers of ten."""
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def plain_value(value: Any) -> str:
    """One value of the training facts or the versions; lists on one line."""
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
