"""What a machine takes: measured, never counted."""
