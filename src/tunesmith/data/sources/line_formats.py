"""Text files without a table's separator: CoNLL's columns, fastText's lines, a label before a text.

Which of them a file is, its first lines tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tunesmith.data.sources.delimited import Lines, find_separator, rows_of_lines
from tunesmith.data.sources.header import looks_like_labels
from tunesmith.data.sources.reading import Placed, Reading
from tunesmith.data.sources.text_lines import read_lines
from tunesmith.errors import DataError

LABEL_MARK = "__label__"
DOCUMENT_MARK = "-DOCSTART-"
CONLLU_COLUMNS = 10
FEW_LINES = 20
"""Different lines that a rule about first words needs; prose can look so by chance in fewer."""
CONSISTENT = 0.95


def read_text(path: Path, reading: Reading) -> Iterator[Placed]:
    """The rows of a text file of one of these forms, or of a table with a separator.

    Raises DataError where its first lines are of none of them.
    """
    lines = Lines(read_lines(path, reading))
    sample = [line.rstrip("\r\n") for line in lines.sample()]
    filled = [line for line in sample if line.strip()]
    if not filled:
        return
    if all(line.startswith(LABEL_MARK) for line in filled):
        yield from _fasttext(path, lines, filled, reading)
    elif is_conll(sample):
        yield from _conll(path, lines, sample, reading)
    elif separator := _separator(filled):
        yield from rows_of_lines(path, lines, reading, separator)
    elif _begin_with_labels(filled):
        reading.note(f"{path}: the first word of each line is its label, the rest its text")
        yield from _label_first(path, lines, reading)
    else:
        raise DataError(
            f"{path}: a text file without rows that could be recognised",
            hint="known are tables with a separator, CoNLL's columns, fastText's __label__ lines "
            "and a label before each text; another way is a csv or jsonl file",
        )


def _separator(lines: Sequence[str]) -> str:
    """That of a table in which nearly all lines have as many cells as the first; else ''."""
    separator = find_separator(lines, "\t")
    width = len(lines[0].split(separator))
    alike = sum(len(line.split(separator)) == width for line in lines)
    if separator == "," and ", " in lines[0]:  # punctuation
        return ""
    return separator if width > 1 and alike >= CONSISTENT * len(lines) else ""


# ---- fastText


def _fasttext(
    path: Path, lines: Lines, sample: Sequence[str], reading: Reading
) -> Iterator[Placed]:
    several = any(len(_marks(line)[0]) > 1 for line in sample)
    name = "labels" if several else "label"
    reading.note(f"{path}: fastText's lines, read as text and {name}")
    for line in lines:
        if not line.strip():
            continue
        labels, text = _marks(line)
        where = f"{path}:{lines.number}"
        if not labels:
            reading.refuse(where, f"no {LABEL_MARK} at its beginning", "__label__good A text.")
        elif several:
            yield {"text": text, "labels": labels}, where
        elif len(labels) > 1:
            problem = f"{len(labels)} labels, the first lines have one each"
            reading.refuse(where, problem, "several labels a row are multi_label_classify")
        else:
            yield {"text": text, "label": labels[0]}, where


def _marks(line: str) -> tuple[list[str], str]:
    labels, text = list[str](), line.strip()
    while text.startswith(LABEL_MARK):
        mark, _, text = text.partition(" ") if " " in text else text.partition("\t")
        labels.append(mark.removeprefix(LABEL_MARK))
        text = text.strip()
    return labels, text


# ---- a label before each text


def _begin_with_labels(lines: Sequence[str]) -> bool:
    """Few different first words, each in several lines, before longer texts."""
    parts = [line.split(None, 1) for line in dict.fromkeys(lines)]
    labels = [part[0] for part in parts]
    counts = Counter(labels)
    return (
        len(parts) >= FEW_LINES
        and all(len(part) == 2 for part in parts)
        and len(counts) > 1
        and looks_like_labels(labels)
        and len(counts) <= len(parts) / 4
        and sum(len(part[1].split()) > 1 for part in parts) > len(parts) / 2
    )


def _label_first(path: Path, lines: Lines, reading: Reading) -> Iterator[Placed]:
    for line in lines:
        parts = line.strip().split(None, 1)
        if len(parts) == 2:
            yield {"text": parts[1], "label": parts[0]}, f"{path}:{lines.number}"
        elif parts:
            reading.refuse(f"{path}:{lines.number}", "a label without a text", "good A text.")


# ---- CoNLL


def is_conll(sample: Sequence[str]) -> bool:
    """Whether lines are words in columns: blocks between blank lines, the same number of fields in
    each line, more than one, of which the last is a tag.
    """
    filled = [line for line in sample if line.strip() and not _is_mark(line)]
    blank = any(not line.strip() for line in sample[:-1])
    widths = {len(_fields(line)) for line in filled}
    if len(widths) != 1 or not filled or widths == {1}:
        return False
    tags = [_fields(line)[-1] for line in filled]
    are_bio = all(re.fullmatch(r"O|[BIESLU]-\S+", tag) for tag in tags)
    first_tag_alone = any(re.fullmatch(r"B-\S+", tag) for tag in tags)
    one_word = all(" " not in field for line in filled for field in _fields(line))
    return one_word and (blank or (are_bio and first_tag_alone))


def _is_mark(line: str) -> bool:
    return line.startswith(DOCUMENT_MARK) or re.match(r"#( |$)", line) is not None


def _fields(line: str) -> list[str]:
    fields = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
    return [field for field in fields if field]


def _conll(path: Path, lines: Lines, sample: Sequence[str], reading: Reading) -> Iterator[Placed]:
    first = next(line for line in sample if line.strip() and not _is_mark(line))
    width = len(_fields(first))
    conllu = width == CONLLU_COLUMNS and _fields(first)[0].isdecimal()
    word, tag = (1, 3) if conllu else (0, width - 1)
    reading.note(
        f"{path}: words in {width} columns, as CoNLL has them: tokens are column {word + 1}, "
        f"tags column {tag + 1}"
    )
    start, block = 0, list[list[str]]()
    for line in lines:
        if line.strip() and not _is_mark(line):
            start = start or lines.number
            block.append(_fields(line))
            if len(block[-1]) != width:
                problem = f"line {lines.number} has {len(block[-1])} fields, the first {width}"
                reading.refuse(f"{path}:{start}", problem, "a word and its tag a line")
                start, block = 0, []
                _skip_block(lines)
        elif block and not _is_mark(line):
            yield _sentence(block, word, tag, conllu), f"{path}:{start}"
            start, block = 0, []
    if block:
        yield _sentence(block, word, tag, conllu), f"{path}:{start}"


def _skip_block(lines: Iterator[str]) -> None:
    """Go on to the blank line after a sentence that was refused."""
    for line in lines:
        if not line.strip():
            return


def _sentence(block: list[list[str]], word: int, tag: int, conllu: bool) -> dict[str, object]:
    # CoNLL-U also has lines for contracted (1-2) and left out (1.1) words, which have no tag
    kept = [fields for fields in block if not conllu or fields[0].isdecimal()]
    return {"tokens": [f[word] for f in kept], "tags": [f[tag] for f in kept]}


# ---- parallel files


def read_parallel(files: Sequence[Path], reading: Reading) -> Iterator[Placed]:
    """Line i of each file is one row, with a column for each file: its last suffix, and `text` and
    `target` for src and tgt.

    Raises DataError where one has more lines than another.
    """
    names = parallel_names(files)
    shown = ", ".join(file.name for file in files)
    reading.note(
        f"{files[0].parent}: {shown}: parallel files, line by line; the columns are "
        f"{' and '.join(names)}"
    )
    sides = [read_lines(file, reading) for file in files]
    number = 0
    while True:
        number += 1
        row = [next(side, None) for side in sides]
        if all(line is None for line in row):
            return
        if any(line is None for line in row):
            counts = _counts(sides, row, number)
            raise DataError(
                "; ".join(f"{f}: {n:,} lines" for f, n in zip(files, counts, strict=True)),
                hint="parallel files have the same number of lines",
            )
        cells = (line.rstrip("\r\n") for line in row if line is not None)
        yield dict(zip(names, cells, strict=True)), f"{files[0]}:{number}"


def _counts(sides: Sequence[Iterator[str]], row: Sequence[str | None], number: int) -> list[int]:
    return [
        number - 1 if line is None else number + sum(1 for _ in side)
        for side, line in zip(sides, row, strict=True)
    ]


PARALLEL = re.compile(r"(.+)\.([a-z]{2,3}|source|target)(?:\.txt)?(?:\.gz)?", re.IGNORECASE)
SIDES = {"src": "text", "source": "text", "tgt": "target", "target": "target"}


def parallel_names(files: Sequence[Path]) -> list[str]:
    """The columns of parallel files."""
    ends = [found[2] for file in files if (found := PARALLEL.fullmatch(file.name))]
    return [SIDES.get(end.lower(), end) for end in ends]


def parallel_pairs(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Files that differ in their last suffix only (train.en, train.de), two and two."""
    stems: dict[Path, list[Path]] = {}
    for file in files:
        if found := PARALLEL.fullmatch(file.name):
            stems.setdefault(file.with_name(found[1]), []).append(file)
    order = ["text", "target"]
    return [
        tuple(
            sorted(pair, key=lambda f: (order + parallel_names([f])).index(parallel_names([f])[0]))
        )
        for pair in stems.values()
        if len(pair) == 2
    ]
