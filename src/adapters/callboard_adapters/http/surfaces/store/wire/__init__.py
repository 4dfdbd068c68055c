"""What travels over the store surface, key for key; contracts/store.md and contracts/README.md section 4."""
