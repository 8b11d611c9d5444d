"""MMBT: image tokens in front of the words of a BERT."""
