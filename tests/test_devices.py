"""Devices and amounts of memory that a training can be planned for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunesmith.devices import DEVICES, find_device, parse_memory
from tunesmith.errors import InputError


@pytest.mark.parametrize("name", ["RTX4090", "rtx 4090", "RTX-4090"])
def test_a_device_is_found_however_its_name_is_written(name: str) -> None:
    found = find_device(name)
    assert (found.name, found.memory) == ("RTX4090", 24_000_000_000)


def test_an_unknown_device_is_told_the_known_ones() -> None:
    with pytest.raises(InputError) as found:
        find_device("B300")
    assert "H200, H100, A100, L4, T4, RTX4090, RTX3090" in str(found.value)
    assert "--memory 24GiB" in str(found.value)


def test_every_device_names_the_source_of_its_figures() -> None:
    for name, device in DEVICES.items():
        assert name == device.name
        assert "NVIDIA" in device.source
        # FLOPs in the time of a byte: of all of them between 50 and 500, if the units are right
        assert 50 < device.flops_per_second / device.bytes_per_second < 500


@pytest.mark.parametrize(
    "text, num_bytes",
    [
        ("24GiB", 24 * 2**30),
        ("80 GB", 80_000_000_000),
        ("1.5tb", 1_500_000_000_000),
        ("512 MiB", 512 * 2**20),
        ("1024", 1024),
    ],
)
def test_an_amount_of_memory_is_read_with_its_unit(text: str, num_bytes: int) -> None:
    assert parse_memory(text) == num_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-3GiB", "0", "nanGiB", "inf", "24 apples", "1,5GB"])
def test_what_is_no_amount_of_memory_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="no amount of memory"):
        parse_memory(text)


def test_the_docs_list_every_device_with_its_figures() -> None:
    page = (Path(__file__).parents[1] / "docs" / "memory.md").read_text(encoding="utf-8")
    listed = [line for line in page.splitlines() if line.startswith("| ") and "NVIDIA" in line]
    assert listed == [
        f"| {found.name} | {found.memory / 1e9:g} | {found.flops_per_second / 1e12:g} | "
        f"{found.bytes_per_second / 1e9:g} | {found.source} |"
        for found in DEVICES.values()
    ]
