"""Contacts, their consent and the numbers nobody may write to."""
