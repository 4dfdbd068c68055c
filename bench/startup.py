"""Start-up and idle memory."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from tests.integration.chaos.stack import eventually, free_port

from bench.common import Row, report


def seconds(*command: str) -> float:
    taken = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def resident(pid: int) -> float:
    """Resident memory in MB, from the kernel."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    command = str(Path(sys.executable).with_name("callboard"))
    rows = [
        Row(
            case="callboard --help",
            ours=seconds(command, "--help"),
            unit="s",
            limit=seconds(sys.executable, "-c", "pass"),
            limit_name="bare interpreter",
            goal="< 0.3 s",
        )
    ]
    port = free_port()
    process = subprocess.Popen(
        [command, "serve", "--port", str(port)],
        cwd=tempfile.mkdtemp(prefix="callboard-bench-"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == 200, within=30)
        time.sleep(3)
        rows.append(Row(case="idle API with in-process jobs", ours=resident(process.pid), unit="MB", goal="< 150 MB"))
    finally:
        process.terminate()
        process.wait(30)
    report("startup", rows, as_json=options.json)


if __name__ == "__main__":
    main()
