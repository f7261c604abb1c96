"""Evaluation and reports. Stands on all other layers."""
