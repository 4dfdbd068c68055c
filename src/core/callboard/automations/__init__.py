"""Automations: a message that follows an event of the shop or of time. Stored and edited; firing is a later step."""
