"""Help: the manual of docs/ in the panel, searched and rendered; what is installed, and under which terms."""
