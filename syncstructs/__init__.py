"""Replicated Python data structures over one embedded Raft log."""
