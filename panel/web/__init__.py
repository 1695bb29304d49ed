"""What all pages share. Only routes, forms and `create_app` import it."""
