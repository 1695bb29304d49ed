"""Whether it works: for load balancers now, for people later."""
