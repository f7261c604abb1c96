"""What networks and graphs cost: counted, never measured."""
