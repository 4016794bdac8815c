"""Serves models over HTTP: a page to try them, and the API of LibreTranslate."""
