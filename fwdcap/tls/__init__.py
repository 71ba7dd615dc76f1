"""HTTPS for the pages: the certificate, and what nginx is told."""
