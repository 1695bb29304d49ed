"""Serving: the parent of web and worker, the web server, and the queue between the two."""
