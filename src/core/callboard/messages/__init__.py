"""Messages: the ledger, the gate, templates, dispatch and receipts. One row per recipient is the only truth."""
