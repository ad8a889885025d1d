"""What is wrong with single texts, counted over every example that is kept: text decoded with the
wrong encoding and, where `data.scan` asks for it, secrets and personal data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from tunesmith.errors import RecipeError
from tunesmith.packages import installed
from tunesmith.records import Example, Finding

MIN_ROWS, MIN_SHARE = 3, 0.001  # rows with mojibake that are a finding
MAX_SHOWN = 3

# UTF-8 that was read as cp1252 or latin-1: a character from U+0080 on became two or three. Its
# first byte is read as one of these letters, the others as signs, which never follow such a letter
# in a word but for closing quotes and dots.
_SIGNS = (
    "\u00a1-\u00bf\u0080-\u009f"
    "\u20ac\u201a\u0192\u02c6\u2030\u0160\u0152\u017d\u02dc\u2122\u0161\u0153\u017e\u0178"
)
_MOJIBAKE = re.compile(
    f"[\u00c3\u00c2\u00c4\u00c5][{_SIGNS}]"
    "|\u00e2\u0080[\u0080-\u00bf]"
    "|\u00e2\u20ac[\u0098-\u009d\u02dc\u2122\u0153\u201c\u201d\u00a6\u00a2\u00af]"
    f"|(?:[\u00d0\u00d1][{_SIGNS}\u00a0]){{2}}"  # Cyrillic
    "|\ufffd"  # what a decoder writes for bytes that it cannot read
)


def mojibake(text: str) -> str:
    """The first part of a text that was decoded with the wrong encoding; "" where there is none."""
    if text.isascii():
        return ""
    found = _MOJIBAKE.search(text)
    return text[max(0, found.start() - 15) : found.end() + 15] if found else ""


@dataclass
class _Seen:
    rows: int = 0
    shown: list[tuple[str, str]] = field(default_factory=list)  # file:line, what

    def add(self, source: str, what: str) -> None:
        self.rows += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append((source, what))


class TextScan:
    """Counts what is wrong in the texts of the examples it is given."""

    def __init__(self, scan: Sequence[str]) -> None:
        checks: dict[str, Callable[[str], str]] = {"mojibake": mojibake}
        checks |= {name: SCANS[name] for name in scan}
        self._checks, self._examples = checks, 0
        self._seen = {name: _Seen() for name in checks}

    def count(self, example: Example) -> None:
        """One example that is kept."""
        self._examples += 1
        text = f"{example.prompt}\n{example.completion}"
        for name, check in self._checks.items():
            found = check(text)
            if found:
                self._seen[name].add(example.source, found)

    def findings(self) -> list[Finding]:
        """At most one of each kind."""
        return [self._finding(name, seen) for name, seen in self._seen.items() if self._says(name)]

    def _says(self, name: str) -> bool:
        rows = self._seen[name].rows
        return rows >= max(MIN_ROWS, MIN_SHARE * self._examples) if name == "mojibake" else rows > 0

    def _finding(self, name: str, seen: _Seen) -> Finding:
        listed = ", ".join(f"{source} {what!r}" for source, what in seen.shown)
        return Finding(
            name,
            "warning",
            f"{seen.rows:,} of {self._examples:,} examples have {ABOUT[name][0]}: {listed}",
            tuple(source for source, _ in seen.shown),
            ABOUT[name][1],
        )


ABOUT = {
    "mojibake": (
        "text that was decoded with the wrong encoding",
        "read the file with the encoding it has (data.encoding), or repair it where it was made "
        "(ftfy does)",
    ),
    "secrets": (
        "what looks like a key or password",
        "take it out: a model can repeat what it was trained on",
    ),
    "personal_data": (
        "what looks like personal data",
        "take it out or replace it: a model can repeat what it was trained on",
    ),
}

# ---- scans that are asked for, each by kept libraries

# entropy is left out: it takes ids and base64 in any table for passwords
_SECRETS = (
    "AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector",
    "CloudantDetector", "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector",
    "IbmCloudIamDetector", "JwtTokenDetector", "MailchimpDetector", "NpmDetector",
    "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector",
    "TwilioKeyDetector",
)  # fmt: skip
_EMAIL = re.compile(r"\b[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
PACKAGES = {"secrets": ("detect_secrets",), "personal_data": ("stdnum", "phonenumbers")}


def check_scan(scan: Iterable[str]) -> None:
    """RecipeError where a scan is asked for whose library is not installed."""
    for name in scan:
        missing = [package for package in PACKAGES[name] if not installed(package)]
        if missing:
            raise RecipeError(
                f"data.scan: {name} needs {missing[0]}, which is not installed",
                hint="pip install 'tunesmith[scan]'",
            )


def secrets(text: str) -> str:
    """The kind of the first secret in a text, by detect-secrets; "" where there is none. The secret
    itself is not repeated.
    """
    # extras, which only these scans need
    from detect_secrets.core.scan import scan_line  # noqa: PLC0415
    from detect_secrets.settings import transient_settings  # noqa: PLC0415

    with transient_settings({"plugins_used": [{"name": name} for name in _SECRETS]}):
        for line in text.splitlines():
            for found in scan_line(line):
                return str(found.type)
    return ""


def personal_data(text: str) -> str:
    """The kind of the first address or number of a person in a text; "" where there is none.

    E-mail addresses; card numbers, IBANs and international telephone numbers that their own check
    (digits by python-stdnum, phonenumbers) finds valid.
    """
    if _EMAIL.search(text):
        return "e-mail address"
    from stdnum import iban, luhn  # noqa: PLC0415 - an extra

    if any(iban.is_valid(found[0]) for found in _IBAN.finditer(text)):
        return "IBAN"
    cards = (re.sub(r"[ -]", "", found[0]) for found in _CARD.finditer(text))
    if any(number[0] in "3456" and luhn.is_valid(number) for number in cards):
        return "card number"
    if "+" in text:
        from phonenumbers import PhoneNumberMatcher  # noqa: PLC0415 - an extra

        if any(True for _ in PhoneNumberMatcher(text, None)):
            return "telephone number"
    return ""


SCANS: dict[str, Callable[[str], str]] = {"secrets": secrets, "personal_data": personal_data}
