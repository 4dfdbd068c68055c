"""Short links: made in the transaction of the message that carries them."""
