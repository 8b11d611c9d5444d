"""One stream for the views of a skeleton, kept on the disk."""
