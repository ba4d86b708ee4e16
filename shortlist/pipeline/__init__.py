"""The stages in order. Only the pipeline changes a batch, and it knows no concrete part."""
