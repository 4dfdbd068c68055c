"""The demo: one command that fills a shop, sends a campaign through the provider twin and proves every number."""
