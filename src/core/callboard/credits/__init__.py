"""Credits: an append-only ledger; the balance is its sum and is never below zero."""
