"""Reading the files people have: CSV as it really occurs, and XLSX; reliability.md section 3."""

from callboard_adapters.files.ahead import read_ahead
from callboard_adapters.files.rows import Rows, open_rows

__all__ = ["Rows", "open_rows", "read_ahead"]
