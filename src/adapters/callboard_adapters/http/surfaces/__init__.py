"""One folder per public contract; surfaces never import each other."""
