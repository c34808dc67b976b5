"""The bank: double-entry accounts, settlement of delivered energy, tokens and the transparency log."""
