"""What every layer shares: the batch, the contracts, components, errors. Needs numpy only."""
