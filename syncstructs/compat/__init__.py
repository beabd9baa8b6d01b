"""Adapters for programs written for other libraries; nothing else imports them."""
