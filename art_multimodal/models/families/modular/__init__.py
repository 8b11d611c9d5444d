"""Models over any modalities, put together from towers and a fusion."""
