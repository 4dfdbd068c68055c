"""SMS by Mitto: client, wire shapes, error table, webhooks; providers.md section 7."""
