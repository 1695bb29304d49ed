"""The vault keeps the stored secrets: the only part that touches the key. It calls nothing above itself."""
