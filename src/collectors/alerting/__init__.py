"""Rules over samples and findings, the state machine behind them, and who is told."""
