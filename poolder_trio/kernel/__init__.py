"""Trio primitives that the components share."""
