"""The lines of a text file: unpacked, decoded and hashed as they are read.

Without a named encoding a file is UTF-8, or UTF-16 where its first bytes say so. The first line
that is not UTF-8 decides otherwise, if all before it is ASCII and so reads the same in both.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import IO, Any

from tunesmith.data.sources.reading import Reading
from tunesmith.errors import DataError

BLOCK_BYTES = 1 << 16
BYTE_ORDER_MARKS = {  # the longer ones first: that of UTF-32 begins like that of UTF-16
    b"\xff\xfe\0\0": "utf-32",
    b"\0\0\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
UTF8_MARK = b"\xef\xbb\xbf"
MANY_ZEROS = 0.1
"""Share of zero bytes above which a beginning is no text of one byte a character; where they are
fewer, the rows that have them are refused."""
ENCODINGS = (
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "koi8_r"),
    *("gb18030", "big5", "shift_jis", "euc_jp", "euc_kr"),
)
SIGNS = "“”„‘’‚–—…•€£§°«»®©™·\xa0"  # noqa: RUF001 - typographic on purpose
ALPHABETS = (  # letters that one language writes beside a to z; text is in one language, mostly
    "äöüß",
    "àâæçéèêëîïôœùûüÿ",
    "áéíñóúü¿¡ªº",
    "àáâãçéêíóôõúü",
    "àèéìíîòóù",
    "åäöæøé",
    "áéíóúýðþæö",
    "äëéèïöüó",
)
ONE_ALPHABET = 0.95


class Hashed(io.RawIOBase):
    """A file whose bytes also go into a hash, in the order in which they are read."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.digest = sha256()

    def readable(self) -> bool:
        """As `io.BufferedReader` asks."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer from the file."""
        block = self.file.read(len(buffer))
        self.digest.update(block)
        buffer[: len(block)] = block
        return len(block)


def read_lines(path: Path, reading: Reading) -> Iterator[str]:
    """The lines of a text file with their ends, a byte order mark dropped; .gz is unpacked.

    Raises DataError at the first line that cannot be decoded, and for what is no text.
    """
    with path.open("rb", buffering=0) as raw:
        hashed = Hashed(raw)
        file: io.BufferedReader[Any] = io.BufferedReader(hashed, BLOCK_BYTES)
        if path.suffix.lower() == ".gz":
            file = io.BufferedReader(_Unpacked(path, file), BLOCK_BYTES)
        if not file.peek():
            raise DataError(f"{path}: the file is empty")
        yield from _decoded(path, file, reading)
        while hashed.read(BLOCK_BYTES):  # what stands behind a gzip stream is part of the file
            pass
        reading.hashes[path] = hashed.digest.hexdigest()


class _Unpacked(io.RawIOBase):
    """A gzip file, whose faults are errors that name it."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.file = gzip.GzipFile(fileobj=file)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            block = self.file.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(
                f"{self.path}: cannot be unpacked: {error}", hint="is the file complete?"
            ) from error
        buffer[: len(block)] = block
        return len(block)


def _decoded(path: Path, file: io.BufferedReader[Any], reading: Reading) -> Iterator[str]:
    start = file.peek()[: 1 << 12]
    mark = next((name for bytes_, name in BYTE_ORDER_MARKS.items() if start.startswith(bytes_)), "")
    named = (reading.encoding or "").lower().replace("_", "-")
    if named:
        _check_beginning(path, start, mark, named)
        yield from _in_named(path, file, "utf-8-sig" if named in ("utf-8", "utf8") else named)
    elif wide := mark or _wide(start):
        reading.note(f"{path}: read as {wide}")
        yield from _in_named(path, file, wide)
    else:
        _check_zeros(path, start, "utf-8")
        ends = (line.replace(b"\r", b"\n").splitlines(keepends=True) for line in file)
        old_mac = b"\r" in start and b"\n" not in start
        yield from _found_out(path, chain.from_iterable(ends) if old_mac else file, reading)


def _wide(start: bytes) -> str:
    """UTF-16 without a mark: of text in Latin letters every second byte is zero."""
    half = len(start) // 2
    if half and start[1::2].count(0) > 0.6 * half and start[::2].count(0) < 0.1 * half:
        return "utf-16-le"
    if half and start[::2].count(0) > 0.6 * half and start[1::2].count(0) < 0.1 * half:
        return "utf-16-be"
    return ""


def _found_out(path: Path, lines: Iterator[bytes], reading: Reading) -> Iterator[str]:
    all_ascii = True
    for number, raw in enumerate(lines, start=1):
        try:
            text = (raw.removeprefix(UTF8_MARK) if number == 1 else raw).decode()
        except UnicodeDecodeError as error:
            ahead = [raw, *_some(lines)]
            encoding = guess_encoding(b"".join(ahead)) if all_ascii else None
            if encoding is None:
                raise _undecodable(path, "utf-8", number, error) from error
            reading.note(
                f"{path}: not utf-8, read as {encoding}: "
                f"{_decode(path, raw, encoding, number).strip()[:40]!r} "
                "(data.encoding names another)"
            )
            for later, line in enumerate(chain(ahead, lines), start=number):
                yield _decode(path, line, encoding, later)
            return
        all_ascii = all_ascii and text.isascii()
        yield text


def _decode(path: Path, raw: bytes, encoding: str, number: int) -> str:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        raise _undecodable(path, encoding, number, error) from error


def _some(lines: Iterator[bytes]) -> Iterator[bytes]:
    """The next lines, 64 KB of them: enough to tell an encoding by."""
    size = 0
    for line in lines:
        yield line
        size += len(line)
        if size > BLOCK_BYTES:
            return


def guess_encoding(sample: bytes) -> str | None:
    """The encoding of a text that is not UTF-8, None where nothing fits.

    Windows' Western one where its letters are those of one language: charset-normalizer takes
    German for Polish, whose code page has the same umlauts.
    """
    from charset_normalizer import from_bytes  # noqa: PLC0415 - slow to import, seldom needed

    sample = b"".join(line for line in sample.splitlines(keepends=True) if not line.isascii())
    try:
        text = sample.decode("cp1252")
        beside = [c for c in text.lower() if not c.isascii() and c not in SIGNS]
        most = max(sum(c in alphabet for c in beside) for alphabet in ALPHABETS)
        letters = sum(c.isalpha() for c in text)
        if most >= ONE_ALPHABET * len(beside) and 2 * len(beside) <= letters:
            return "cp1252"
    except UnicodeDecodeError:
        pass
    best = from_bytes(sample, cp_isolation=list(ENCODINGS)).best()
    return None if best is None else best.encoding


def _in_named(path: Path, file: io.BufferedReader[Any], encoding: str) -> Iterator[str]:
    number = 0
    try:
        for line in io.TextIOWrapper(file, encoding=encoding, newline=""):
            number += 1
            yield line
    except UnicodeDecodeError as error:
        shown = "utf-8" if encoding == "utf-8-sig" else encoding
        place = _line_of_bad_bytes(path, shown) or number + 1
        raise _undecodable(path, shown, place, error) from error
    except LookupError as error:
        raise DataError(
            f"{path}: unknown encoding {encoding!r}", hint="for example utf-8, latin-1, utf-16"
        ) from error


def _check_beginning(path: Path, start: bytes, mark: str, encoding: str) -> None:
    """DataError for what no text in this encoding begins with: another's byte order mark, zero
    bytes.
    """
    if encoding.startswith(("utf-16", "utf-32")):
        return
    if mark:
        raise DataError(
            f"{path}:1: the file starts with the byte order mark of {mark}, read as {encoding}",
            hint=f"leave out data.encoding, set it to {mark}, or save the file as UTF-8",
        )
    _check_zeros(path, start, encoding)


def _check_zeros(path: Path, start: bytes, encoding: str) -> None:
    if start.count(0) > MANY_ZEROS * len(start):
        raise DataError(
            f"{path}: zero bytes near the beginning: this is no text in {encoding}",
            hint="a spreadsheet or archive? Export it as csv; "
            "for UTF-16 text set data.encoding=utf-16-le",
        )


def _line_of_bad_bytes(path: Path, encoding: str) -> int | None:
    """The decoder reads ahead in blocks, so the line of the bad bytes has to be looked for."""
    if path.suffix.lower() == ".gz":
        return None
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            try:
                raw.decode(encoding)
            except UnicodeDecodeError:
                return number
    return None


def _undecodable(path: Path, encoding: str, line: int, error: UnicodeDecodeError) -> DataError:
    byte = error.object[error.start]
    return DataError(
        f"{path}:{line}: not {encoding}: byte 0x{byte:02x} cannot be read",
        hint="set data.encoding to the file's encoding (often latin-1 or cp1252), "
        "or save it as UTF-8",
    )
