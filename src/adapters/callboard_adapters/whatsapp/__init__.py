"""WhatsApp Cloud API: client, wire shapes, error table, webhooks; providers.md section 1."""
