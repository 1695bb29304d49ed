"""What panel.mail promises, shown with real and with lying servers."""
