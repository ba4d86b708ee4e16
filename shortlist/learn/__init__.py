"""What neural parts share: loop, batches, negatives, losses, layers. Empty until the first neural part."""
