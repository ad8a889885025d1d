"""The wheel holds all that an installed tunesmith needs; the image is built from what is here."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import tunesmith

ROOT = Path(__file__).parents[1]
PACKAGE = Path(tunesmith.__file__).parent


def test_the_wheel_holds_every_file_of_the_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    unbuilt = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(PACKAGE, source / "src" / "tunesmith", ignore=unbuilt)
    folder = source / "src"
    files = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", str(tmp_path)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (wheel,) = tmp_path.glob("tunesmith-*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert "tunesmith/py.typed" in files
    assert {name for name in files if name not in packed} == set()
    assert wheel.stat().st_size < 8_000_000


def test_the_docker_image_is_built_from_files_that_are_here() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()]
    assert {"src", "constraints.txt", "pyproject.toml"} <= {*copied}
    assert [name for name in copied if not (ROOT / name).exists()] == []
    user = text.index("\nUSER 1000\n")
    assert user < text.index('\nENTRYPOINT ["tunesmith"]')
