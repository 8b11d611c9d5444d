"""A classifier on the two embeddings of a dual encoder."""
