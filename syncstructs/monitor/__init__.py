"""Looking at a node from outside: a page, JSON, and metrics for Prometheus, over HTTP.

`serve(node, "127.0.0.1:8080")` shows a running node, and with it the cluster as far as it knows, to
whoever gives the node's password, if it has one, or the page's own.
"""

from .metrics import render
from .server import Monitor, serve

__all__ = ["Monitor", "render", "serve"]
