"""Write the demo's contacts to a CSV file: ``python examples/make_contacts_csv.py contacts.csv 10000``."""

from __future__ import annotations

import sys
from pathlib import Path

from callboard_app.demo.people import write_csv

if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "contacts.csv")
    write_csv(target, int(sys.argv[2]) if len(sys.argv) > 2 else 10_000)
    print(f"{target}: ready for `callboard contacts import {target}`")
