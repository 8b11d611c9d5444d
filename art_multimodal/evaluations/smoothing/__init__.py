"""A model that votes about parts of samples, as certifications and audits run it: settings, certificates, attacks."""
