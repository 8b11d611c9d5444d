"""ART evaluations: the audit."""
