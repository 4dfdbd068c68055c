"""The read side: lists, the dashboard and progress, shaped for readers."""
