"""Train and measure honestly: fit, backtest, funnel, compare, report."""
