"""Contrastive models of open_clip."""
