"""Real adapters without a database, a broker or a provider: for embedders, tests and simulations.

Only the core and the standard library are imported, so they come with ``pip install callboard``. Nothing is written
to disk: when the process ends, everything is gone.
"""

from callboard_adapters.memory.channels import MemoryChannel, MemoryChannels, MemoryHints, Script, in_turn
from callboard_adapters.memory.clock import FixedClock, ManualClock, NoPauses
from callboard_adapters.memory.ids import CountingIds, RandomIds
from callboard_adapters.memory.scope import Checkpoint
from callboard_adapters.memory.store import MemoryStore, MemorySystemWork, MemoryWork

__all__ = [
    "Checkpoint",
    "CountingIds",
    "FixedClock",
    "ManualClock",
    "MemoryChannel",
    "MemoryChannels",
    "MemoryHints",
    "MemoryStore",
    "MemorySystemWork",
    "MemoryWork",
    "NoPauses",
    "RandomIds",
    "Script",
    "in_turn",
]
