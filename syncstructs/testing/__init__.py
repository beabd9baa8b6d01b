"""Test what is replicated: simulated clusters, recorded histories, and checkers that judge them."""
