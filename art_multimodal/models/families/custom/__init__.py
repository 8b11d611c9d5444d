"""Models of the user: as callables, as loaded objects of a library, or made by a file of Python."""
