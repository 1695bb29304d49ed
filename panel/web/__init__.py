"""What all pages share. Only routes and `create_app` import it."""
