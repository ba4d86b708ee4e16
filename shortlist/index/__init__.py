"""Search: the best k of many, under a mask of what is allowed."""
