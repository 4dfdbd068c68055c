"""The store contract: a shop's marketing dashboard; contracts/store.md."""
