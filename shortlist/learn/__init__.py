"""What several parts learn with: factorisations, text as vectors, attributes as a matrix."""
