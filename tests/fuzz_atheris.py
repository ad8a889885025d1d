"""libFuzzer on one of fuzz_targets.py, guided by its coverage of tunesmith.

    pip install atheris
    PYTHONPATH=src:tests python tests/fuzz_atheris.py data 150 /tmp/fuzz

An input that breaks a target is left in the folder; the corpus lies beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tunesmith"]):
    from fuzz_targets import SEEDS, feed


def main(target: str, seconds: int, folder: Path) -> None:
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[target]):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-rss_limit_mb=4096", "-timeout=60"]
    atheris.Setup(
        [sys.argv[0], *limits, f"-artifact_prefix={folder}/", str(corpus)],
        lambda data: feed(target, data, folder / "work"),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
