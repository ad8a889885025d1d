"""Wrong encodings, secrets and personal data in the texts."""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from tunesmith.data.lint.texts import TextScan, check_scan, mojibake, personal_data, secrets
from tunesmith.errors import RecipeError
from tunesmith.records import Example, Finding

GOOD = (
    "plain", "caf\u00e9", "na\u00efve", "\u201cquoted\u201d \u2013 it\u2019s", "NÃO, SÃO PAULO",
    "CAFÉ\u2026", "„Ä“ und “Ü”", "Âge, château", "MAÇÃ\u201d", "Привет, мир", "НЕТ\u00a0ДА",
    "Ñandú, AÑO", "5 °C, 3 µm, £4, €5", "Ângela Ö.", "naïve Ångström", "日本語", "😀 ok",
)  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_text_in_many_languages_is_no_mojibake(text: str) -> None:
    assert mojibake(text) == ""


@pytest.mark.parametrize(
    "text", ["caf\u00e9", "na\u00efve", "it\u2019s", "\u201cso\u201d", "5 \u00b0C", "Привет", "für"]
)
@pytest.mark.parametrize("encoding", ["cp1252", "latin-1"])
def test_text_that_was_decoded_with_the_wrong_encoding_is(text: str, encoding: str) -> None:
    assert mojibake(text.encode().decode(encoding, "replace")) != ""


def test_what_a_decoder_could_not_read_is() -> None:
    assert mojibake("caf\u00e9".encode("cp1252").decode("utf-8", "replace")) == "caf\ufffd"


def scanned(*texts: str, scan: tuple[str, ...] = ()) -> list[Finding]:
    found = TextScan(scan)
    for i, text in enumerate(texts):
        found.count(Example(f"{i}", f"{i}", "", text, "yes", source=f"a.csv:{i + 2}"))
    return found.findings()


def test_three_rows_of_it_are_a_finding_that_shows_them() -> None:
    assert scanned("caf\u00c3\u00a9", "tea", "na\u00c3\u00afve") == []
    assert scanned("caf\u00c3\u00a9", "tea", "na\u00c3\u00afve", "it\u00e2\u20ac\u2122s") == [
        Finding(
            "mojibake",
            "warning",
            "3 of 4 examples have text that was decoded with the wrong encoding: "
            "a.csv:2 'caf\u00c3\u00a9\\nyes', a.csv:4 'na\u00c3\u00afve\\nyes', "
            "a.csv:5 'it\u00e2\u20ac\u2122s\\nyes'",
            ("a.csv:2", "a.csv:4", "a.csv:5"),
            "read the file with the encoding it has (data.encoding), or repair it where it was "
            "made (ftfy does)",
        )
    ]


def test_a_scan_without_its_library_is_an_error_before_any_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "detect_secrets", None)
    with pytest.raises(RecipeError) as caught:
        check_scan(["secrets"])
    assert str(caught.value) == (
        "data.scan: secrets needs detect_secrets, which is not installed\n"
        "hint: pip install 'tunesmith[scan]'"
    )
    check_scan([])


@pytest.mark.skipif(find_spec("detect_secrets") is None, reason="needs detect-secrets")
def test_keys_are_found_and_not_repeated() -> None:
    key = "AKIA" + "Z7Q4LMN2PRST6UVW"
    (finding,) = scanned(f"use {key} here", "nothing", scan=("secrets",))
    assert finding.message == (
        "1 of 2 examples have what looks like a key or password: a.csv:2 'AWS Access Key'"
    )
    assert secrets("-----BEGIN RSA PRIVATE KEY-----") == "Private Key"
    assert secrets("the password is in the drawer, id 4f3a9c81e2b7d6f0a1") == ""


@pytest.mark.skipif(
    find_spec("stdnum") is None or find_spec("phonenumbers") is None,
    reason="needs python-stdnum and phonenumbers",
)
@pytest.mark.parametrize(
    "text, kind",
    [
        ("write to ann.lee@mail.example.org today", "e-mail address"),
        ("to GB82 WEST 1234 5698 7654 32 please", "IBAN"),
        ("card 4111 1111 1111 1111", "card number"),
        ("call +41 44 668 18 00", "telephone number"),
        ("card 4111 1111 1111 1112", ""),
        ("order 1234567890123, 3 + 4 = 7, me@home", ""),
    ],
)
def test_addresses_and_numbers_are_personal_where_their_digits_check(text: str, kind: str) -> None:
    assert personal_data(text) == kind
