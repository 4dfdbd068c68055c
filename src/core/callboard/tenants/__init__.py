"""Tenants, their settings, and the credentials that stand for them."""
