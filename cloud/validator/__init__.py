"""An independent validator: fetches, replays, checks, persists and cosigns what the operator signs."""
