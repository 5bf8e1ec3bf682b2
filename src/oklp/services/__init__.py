"""Use cases: plain functions that take the transaction first, never commit, and never touch the network."""
