"""Attacks as ART ``Attack`` subclasses."""
